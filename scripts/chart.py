"""Checks the Helm chart as Helm and Kubernetes read it: make chart (WRITE=1 renews deploy/helm/rendered.yaml).

The chart is linted and rendered by Helm's own library (no program of Helm is needed, and no cluster is asked), with its
defaults and with values that reach every branch. What comes out must fit the schemas of several versions of Kubernetes,
unknown fields refused; and rendered.yaml, which the unit tests read, must be what the defaults make.
Runs in an environment of its own, .chart, with requirements/chart.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any, Final

import helm_python  # type: ignore[import-not-found]  # of .chart
import kubernetes_validate  # type: ignore[import-not-found]  # of .chart
import yaml  # type: ignore[import-untyped]  # of .chart

HELM: Final = Path(__file__).resolve().parents[1] / "deploy/helm"
CHART: Final = HELM / "gatepost"
RENDERED: Final = HELM / "rendered.yaml"
VERSIONS: Final = ("1.25", "1.30", "1.37")
"""Of Kubernetes: the oldest that Chart.yaml allows, one between, and the newest with a schema here."""

_WARNING: Final = 2
VALUES: Final[dict[str, dict[str, Any]]] = {
    "the defaults": {},
    "a service in the cluster alone": {"service": {"type": "ClusterIP"}},
    "annotations, class of storage, tag": {
        "service": {"annotations": {"example.com/balancer": "internal"}},
        "storage": {"className": "fast", "size": "1Gi"},
        "image": {"tag": "1.2.3"},
    },
    "workers without a role of their own": {"database": {"workerRole": ""}},
    "kept values of a version without that role": {
        "database": {"workerRole": None},
        "secrets": {"databaseWorker": None},
    },
    "five nodes with other settings": {
        "replicas": 5,
        "drain": 5,
        "drainReplies": 5,
        "settings": '[log]\nlevel = "info"\n',
    },
}


def current_hash() -> str:
    """Of the chart's files: the first line of rendered.yaml, which tests/unit/test_deploy.py compares."""
    files = sorted(f"./{path.relative_to(CHART)}" for path in CHART.rglob("*") if path.is_file())
    sums = "".join(f"{hashlib.sha256((CHART / name).read_bytes()).hexdigest()}  {name}\n" for name in files)
    return hashlib.sha256(sums.encode()).hexdigest()


def lint() -> list[str]:
    """What `helm lint --strict` finds."""
    found: dict[str, Any] = helm_python.lint(CHART, strict=True, kube_version=f"v{VERSIONS[0]}.0")
    told = [f"{one['path']}: {one['error']}" for one in found["messages"] if one["severity"] >= _WARNING]
    return [*map(str, found["errors"]), *told]


def render(values: dict[str, Any], *, upgrade: bool = False) -> dict[str, str]:
    """Each template's text without the notes, as `helm template mail` makes it. upgrade: of a release that is there."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(values, name="mail", namespace="default", is_upgrade=upgrade)
    return {name: text for name, text in texts.items() if name.endswith(".yaml")}


def upgrade_problems() -> list[str]:
    """What is wrong with an upgrade of a release without a secret for the role of workers: none is there here.

    With `helm upgrade --reuse-values` not even the names of the role and of the secret are there.
    """
    made = resources(list(render({}, upgrade=True).values()))
    kept = resources(list(render(VALUES["kept values of a version without that role"]).values()))
    without = resources(list(render(VALUES["workers without a role of their own"]).values()))
    wrong = "an upgrade without the secret for the role of workers does not go on as it was"
    return [wrong] if made != without or kept != without else []


def resources(texts: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name."""
    found = [one for text in texts for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def misfits(made: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """Where a resource is none that Kubernetes knows."""
    wrong = []
    for (kind, name), one in made.items():
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                wrong.append(f"{kind} {name}, Kubernetes {version}: {str(error).splitlines()[0]}")
    return wrong


def write(texts: dict[str, str]) -> None:
    """Renew rendered.yaml."""
    lines = [f"# {current_hash()}", "# Rendered by scripts/chart.py from the chart beside it; tests read it."]
    for name in sorted(texts):
        lines += ["---", f"# Source: {name}", texts[name].strip()]
    RENDERED.write_text("\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the Helm chart.")
    parser.add_argument("--write", action="store_true", help="renew deploy/helm/rendered.yaml")
    if parser.parse_args().write:
        write(render({}))
    wrong = lint() + upgrade_problems()
    for name, values in VALUES.items():
        made = resources(list(render(values).values()))
        wrong += [f"{name}: {one}" for one in misfits(made)]
        if not values and made != resources([RENDERED.read_text()]):
            wrong.append("deploy/helm/rendered.yaml is not what the chart makes: make chart WRITE=1")
    for one in wrong:
        print(f"chart: {one}", file=sys.stderr)
    if not wrong:
        helm = helm_python.helm_sdk_version()
        print(f"chart: Helm {helm}, {len(VALUES)} sets of values, Kubernetes {', '.join(VERSIONS)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
