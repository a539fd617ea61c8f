"""What lies under deploy/ is well-formed, fits the settings and keeps its promises: no root, drain on stop, no secret.

`deploy/helm/rendered.yaml` is what Helm made of the chart (make chart WRITE=1), and is compared with the chart here.
Nothing here starts a container: `test_compose.py` of the system tests does.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from gatepost.settings.loader import load
from gatepost.settings.store_url import role_of, secret_files, store_url, worker_url

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm/gatepost"
RENDERED = DEPLOY / "helm/rendered.yaml"
GATEWAYS = ("gateway1", "gateway2", "gateway3")
SQLITE = {"GATEPOST_STORE__URL": "sqlite:", "GATEPOST_STORE__WORKER_URL": ""}  # addresses are checked apart
WORKER = "gatepost_worker"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def chart():
    """The rendered resources by kind and name."""
    found = [one for one in yaml.safe_load_all(RENDERED.read_text()) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def stored_url(text, setting="url"):
    return re.search(rf'^\s*{setting} = "([^"]+)"$', text, re.MULTILINE)[1]


def workers_are_kept_apart(text, data):
    """Whether workers have a role of their own, and the secrets of the other one are where they cannot read them."""
    owner, worker = stored_url(text), stored_url(text, "worker_url")
    assert worker_url(worker) == worker
    assert (role_of(owner), role_of(worker)) == ("gatepost", WORKER)
    assert Path(secret_files(owner)["passfile"]).parent == Path(data)
    assert not Path(secret_files(worker)["passfile"]).is_relative_to(data)
    assert worker.partition("@")[2].split("&passfile=")[0] == owner.partition("@")[2].split("&passfile=")[0]
    return secret_files(owner)["passfile"], secret_files(worker)["passfile"]


# ------------------------------------------------------------------------------------------------------- compose


def test_three_nodes_without_privileges(compose):
    services = compose["services"]
    assert {name for name, one in services.items() if one["image"] == "gatepost"} == {*GATEWAYS, "prepare"}
    for name in (*GATEWAYS, "prepare"):
        one = services[name]
        assert one["user"] == "10001:10001"
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
    assert len({services[name]["environment"]["GATEPOST_SERVER__HOSTNAME"] for name in GATEWAYS}) == 3
    settings = "./compose/gatepost.toml:/etc/gatepost/gatepost.toml:ro"
    assert [services[name]["volumes"] for name in GATEWAYS] == [
        [f"{name}:/var/lib/gatepost", settings] for name in GATEWAYS
    ]
    published = [port for name in GATEWAYS for port in services[name]["ports"]]
    assert len({port.rpartition(":")[0] for port in published}) == len(published)


def test_nodes_start_after_their_tables_and_drain_on_stop(compose):
    settings = load(str(DEPLOY / "compose/gatepost.toml"), SQLITE)
    for name in GATEWAYS:
        one = compose["services"][name]
        assert one["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
        assert one["stop_grace_period"] == "2m"
        assert settings.server.drain + settings.server.drain_replies + 5 < 120
        assert f"http://{settings.metrics_address}/readyz" in one["healthcheck"]["test"][-1]
    assert compose["services"]["db2"]["depends_on"] == {"db1": {"condition": "service_healthy"}}


def test_addresses_of_the_database_are_safe(compose):
    url = compose["services"]["prepare"]["command"][-1]
    for one in (url, stored_url((DEPLOY / "compose/gatepost.toml").read_text())):
        assert store_url(one) == one
        assert "target_session_attrs=read-write" in one


def test_workers_have_a_role_of_their_own(compose):
    text = (DEPLOY / "compose/gatepost.toml").read_text()
    owners, workers = workers_are_kept_apart(text, load(str(DEPLOY / "compose/gatepost.toml"), SQLITE).server.data_dir)
    for name in GATEWAYS:
        secrets = compose["services"][name]["secrets"]
        assert {"source": "gateway_pgpass", "target": owners} in secrets
        assert Path(workers).name in secrets
        assert "gateway_pgpass" not in secrets, "workers read /run/secrets"
    assert "worker_password" in compose["services"]["db1"]["secrets"]
    assert f"ALTER ROLE {WORKER} PASSWORD" in (DEPLOY / "compose/primary.sh").read_text()


def test_the_server_takes_each_role_over_tls_with_a_password():
    rules = re.findall(r"^host.*$", (DEPLOY / "compose/primary.sh").read_text(), re.MULTILINE)
    assert [rule.split()[0] for rule in rules] == ["hostssl"] * 2
    assert {rule.split()[-1] for rule in rules} == {"scram-sha-256"}
    assert set(rules[0].split()[2].split(",")) == {"gatepost", WORKER, "gatepost_admin"}

    # What start.sh makes of the rules of a version without the role.
    edit = re.search(r"sed -i '([^']+)'", (DEPLOY / "compose/start.sh").read_text())[1]
    before = "local all postgres peer\nhostssl gatepost    gatepost,gatepost_admin  all    scram-sha-256\n"
    after = subprocess.run(["sed", edit], input=before, capture_output=True, text=True, check=True).stdout
    assert after.splitlines()[1].split() == rules[0].split()


def test_every_secret_is_a_file_that_prepare_makes(compose, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    shutil.copy(DEPLOY / "compose/prepare.sh", tmp_path)
    for _ in range(2):  # what is there stays
        done = subprocess.run([tmp_path / "prepare.sh"], capture_output=True, text=True, check=True)
        made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
        assert "unrecognized" not in done.stderr
    named = {Path(one["file"]) for one in compose["secrets"].values()}
    assert {path.parent for path in named} == {Path("compose/secrets")}
    assert {path.name for path in named} <= set(made)
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o644 if path.suffix == ".pem" else 0o600), path.name
    assert len(made["master.key"]) == 32
    assert made["gateway.pgpass"] == b"*:*:*:gatepost:" + made["gateway.password"] + b"\n"
    assert made["worker.pgpass"] == b"*:*:*:gatepost_worker:" + made["worker.password"] + b"\n"
    listed = [secret for one in compose["services"].values() for secret in one["secrets"]]
    used = {secret if isinstance(secret, str) else secret["source"] for secret in listed}
    assert used == set(compose["secrets"])
    verified = ["openssl", "verify", "-CAfile", "database-ca.pem", "-verify_hostname", "db2", "database.pem"]
    subprocess.run(verified, cwd=tmp_path / "secrets", check=True, capture_output=True)


def test_no_secret_is_in_the_repository(compose):
    ignored = (DEPLOY.parent / ".gitignore").read_text().split()
    assert "/deploy/compose/secrets/" in ignored
    for name, one in compose["services"].items():
        for variable, value in one.get("environment", {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), (name, value)


@pytest.mark.parametrize("script", ["prepare.sh", "start.sh", "primary.sh"])
def test_scripts_can_be_parsed(script):
    path = DEPLOY / "compose" / script
    shell = path.read_text().splitlines()[0].removeprefix("#!/bin/")
    subprocess.run([shell, "-n", path], check=True)


def test_the_container_runs_without_root():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert [line for line in lines if line.startswith("VOLUME")] == ["VOLUME /var/lib/gatepost"]
    assert lines.count("STOPSIGNAL SIGTERM") == 1
    assert [line for line in lines if line.startswith("ENTRYPOINT")] == [
        'ENTRYPOINT ["gatepost"]'
    ]  # it gets the signal
    copied = [word for line in lines if line.startswith("COPY") and "--from" not in line for word in line.split()[1:-1]]
    assert all((DEPLOY.parent / name).exists() for name in copied)


def instructions():
    """Each instruction of the Containerfile with its continuation lines."""
    text = (DEPLOY / "Containerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_the_containerfile_keeps_the_rules_of_linters():
    """Those of hadolint that apply: it is not in Debian."""
    last_stage = [index for index, (name, _) in enumerate(instructions()) if name == "FROM"][-1]
    for name, text in instructions():
        assert name != "ADD"  # COPY says what it does
        if name == "FROM":
            assert ":" in text
            assert ":latest" not in text
        if name == "RUN":
            assert "sudo" not in text
            assert "curl" not in text
            for command in re.findall(r"pip install [^&|;]*", text):
                assert "--require-hashes" in command or "--no-deps" in command
                assert "--no-cache-dir" in command
            if "apt-get install" in text:
                assert "--yes --no-install-recommends" in text
                assert "rm -rf /var/lib/apt/lists/*" in text
        if name in {"WORKDIR", "VOLUME"}:
            assert text.startswith("/")
    final = dict(instructions()[last_stage:])
    assert final["CMD"].startswith("[")
    assert final["HEALTHCHECK"].endswith('CMD ["gatepost", "status"]')


# ------------------------------------------------------------------------------------------------------- the chart


def test_the_rendered_chart_is_current():
    """As `find | sort | xargs sha256sum | sha256sum` has it; the same as `current_hash` of scripts/chart.py."""
    files = sorted(f"./{path.relative_to(CHART)}" for path in CHART.rglob("*") if path.is_file())
    sums = "".join(f"{hashlib.sha256((CHART / name).read_bytes()).hexdigest()}  {name}\n" for name in files)
    current = hashlib.sha256(sums.encode()).hexdigest()
    assert RENDERED.read_text().splitlines()[0] == f"# {current}", "run make chart WRITE=1"


def test_nodes_are_three_and_at_most_one_goes_at_a_time(chart):
    nodes, budget = chart["StatefulSet", "mail"], chart["PodDisruptionBudget", "mail"]
    assert nodes["spec"]["replicas"] == 3
    assert budget["spec"]["maxUnavailable"] == 1
    labels = nodes["spec"]["template"]["metadata"]["labels"]
    assert nodes["spec"]["selector"]["matchLabels"] == labels == budget["spec"]["selector"]["matchLabels"]
    for name in ("mail", "mail-nodes"):
        assert chart["Service", name]["spec"]["selector"] == labels
    assert nodes["spec"]["serviceName"] == "mail-nodes"


def pods(chart):
    return [one["spec"]["template"]["spec"] for kind, one in chart.items() if kind[0] in {"StatefulSet", "Job"}]


def test_no_root_and_nothing_to_write_to_but_volumes(chart):
    assert len(pods(chart)) == 2
    for pod in pods(chart):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        volumes = {one["name"] for one in pod["volumes"]} | {"data"}
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {one["name"] for one in container["volumeMounts"]} <= volumes
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440


def test_a_node_has_time_to_drain(chart, tmp_path):
    pod = chart["StatefulSet", "mail"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    settings = chart_settings(chart, tmp_path)
    assert pod["terminationGracePeriodSeconds"] > wait + settings.server.drain + settings.server.drain_replies + 8
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def chart_settings(chart, folder):
    path = folder / "gatepost.toml"
    path.write_text(chart["ConfigMap", "mail-settings"]["data"]["gatepost.toml"])
    return load(str(path), SQLITE)


def test_settings_of_the_chart_fit_its_ports_and_files(chart, tmp_path):
    settings = chart_settings(chart, tmp_path)
    (container,) = chart["StatefulSet", "mail"]["spec"]["template"]["spec"]["containers"]
    ports = {one["containerPort"] for one in container["ports"]}
    listening = [one.address for one in settings.listeners] + [settings.admin.address, settings.metrics_address]
    assert {int(address.rpartition(":")[2]) for address in listening} == ports
    names = {one["name"] for one in container["ports"]}
    assert {one["targetPort"] for one in chart["Service", "mail"]["spec"]["ports"]} <= names
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    for file in (settings.certificates[0].key, settings.store.master_key.removeprefix("file:")):
        assert str(Path(file).parent) in mounts
    assert str(Path(settings.server.data_dir).parent) in mounts, "the volume itself belongs to root"


def test_the_database_is_verified_and_prepared_before_the_nodes(chart):
    job = chart["Job", "mail-prepare"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:3] == ["store", "prepare", "--url"]
    for url in (container["args"][3], stored_url(chart["ConfigMap", "mail-settings"]["data"]["gatepost.toml"])):
        assert store_url(url) == url
    assert container["args"][4:] == ["--worker-role", WORKER]


def test_workers_of_the_chart_have_a_role_of_their_own(chart, tmp_path):
    data = chart_settings(chart, tmp_path).server.data_dir
    text = chart["ConfigMap", "mail-settings"]["data"]["gatepost.toml"]
    owners, workers = workers_are_kept_apart(text, data)
    pod = chart["StatefulSet", "mail"]["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts[owners]["subPath"] == "pgpass"
    in_memory = mounts[owners]["name"]
    assert volumes[in_memory] == {"name": in_memory, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    # What else is mounted is read by workers: it never had the password of the owner.
    copied, owner = pod["initContainers"]
    read = {one["name"] for place, one in mounts.items() if place != owners}
    assert in_memory not in read
    assert {one["name"] for one in copied["volumeMounts"]}.isdisjoint({in_memory, "database-owner"})
    assert volumes["database-owner"]["secret"]["items"] == [{"key": "pgpass", "path": "pgpass"}]
    assert [one["key"] for one in volumes["database"]["secret"]["items"]] == ["ca.pem"]
    (item,) = volumes["database-worker"]["secret"]["items"]
    assert item["path"] == Path(workers).name
    assert owners in owner["command"][-1]
    assert {one["name"] for one in owner["volumeMounts"]} == {"database-owner", in_memory, "data"}
