"""Measure what the pace of commits costs and saves: milliseconds from MAIL to 250, and CPU a message, at several rates.

    PYTHONPATH=HARNESS .venv/bin/python bench/commit_latency.py [--with NAME=PYTHON[:FILE]] [--rounds N] [--what WORDS]

HARNESS is the folder of the benchmark harness (docs/performance.md). Each variant is the interpreter of an installation
of gatepost, and a file that is executed before gatepost starts (to change a constant, say). All variants run at the
same time on one core and are loaded in turn, so that what else the machine does meets each of them. Root, for the
mounts of the harness.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import tempfile
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

HERE: Final = Path(__file__).resolve()
LOADS: Final[dict[str, dict[str, Any]]] = {
    "20 a second": {"messages": 120, "conns": 20, "rate": 20},
    "200 a second": {"messages": 800, "conns": 40, "rate": 200},
    "200 a second, kept connections": {"messages": 800, "conns": 40, "rate": 200, "per_conn": 100},
    "1 connection": {"messages": 200, "conns": 1},
    "10 connections": {"messages": 600, "conns": 10},
    "50 connections": {"messages": 600, "conns": 50},
    "1 kept connection": {"messages": 600, "conns": 1, "per_conn": 100},
    "10 kept connections": {"messages": 1500, "conns": 10, "per_conn": 100},
    "50 kept connections": {"messages": 1500, "conns": 50, "per_conn": 100},
}


def serve() -> None:
    """Stand in place of gatepost: execute the variant's file, then gatepost."""
    _, _, file, *arguments = sys.argv
    if file:
        exec(compile(Path(file).read_text(encoding="utf-8"), file, "exec"), {})  # noqa: S102 - the caller's own file
    sys.argv = ["gatepost", *arguments]
    runpy.run_module("gatepost", run_name="__main__", alter_sys=True)


def template(folder: Path, name: str, python: str, file: str) -> Path:
    """The harness's template of a variant."""
    settings = json.loads((HERE.parent / "gatepost.json").read_text(encoding="utf-8"))
    settings["command"] = [python, str(HERE), "serve", file, "serve", "--config", "{dir}/gatepost.toml"]
    settings["prepare"] = [
        [word.replace("{template_dir}", str(HERE.parent)).replace("{python}", python) for word in command]
        for command in settings["prepare"]
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def main() -> None:
    """Start all, load them in turn, and print what they took."""
    from mailbench import certs, scenarios  # type: ignore[import-not-found]  # noqa: PLC0415 - gatepost's interpreter runs this file, too
    from mailbench.adapters.base import Route  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
    from mailbench.adapters.gatepost import Gatepost  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser()
    parser.add_argument("--with", dest="variants", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenario", choices=("accept", "relay"), default="accept")
    parser.add_argument("--what", default="")
    arguments = parser.parse_args()
    variants = dict(text.partition("=")[::2] for text in arguments.variants) or {"now": sys.executable}
    loads = {name: load for name, load in LOADS.items() if not arguments.what or name in arguments.what.split(",")}
    with tempfile.TemporaryDirectory(prefix="latency-") as work:
        folder = Path(work)
        folder.chmod(0o755)
        options = scenarios.Options(work, work, certs.Certificates(str(folder / "certs")), [0], [1])
        options.pin_load()
        relays = arguments.scenario == "relay"
        domain = scenarios.PARTNER if relays else scenarios.NULL
        gateways, sinks, names = {}, {}, list(variants)
        try:
            for name, variant in variants.items():
                python, _, file = variant.partition(":")
                Gatepost.template = str(template(folder, name, python, file))
                if relays:
                    sinks[name] = scenarios.SinkProcess(options, options.certificates.partner())
                    gateways[name] = options.gateway(Gatepost, routes=[Route(domain, sinks[name].port)])
                else:
                    gateways[name] = options.gateway(Gatepost, discard=[domain])
                gateways[name].start()
                scenarios.warm_up(options, gateways[name], domain, sinks.get(name))
            figures = defaultdict(list)
            for turn in range(arguments.rounds):
                order = names[turn % len(names) :] + names[: turn % len(names)]
                for (load, spec), name in product(loads.items(), order):
                    to = {"sink": sinks.get(name), "size": 4096, "domain": domain}
                    result = scenarios.measure(options, gateways[name], spec["messages"], **to, **spec)
                    figures[load, name].append(result)
                    if result["errors"]:
                        print(load, name, result["errors"], flush=True)
            report(figures, names)
        finally:
            for gateway in gateways.values():
                options.finish(gateway)
            for sink in sinks.values():
                sink.close()


def report(figures: dict[tuple[str, str], list[dict[str, float]]], variants: list[str]) -> None:
    """Medians; and the CPU against the first variant's of the same round."""
    for (load, name), rounds in figures.items():
        first = figures[load, variants[0]]
        ratio = median(one["cpu_ms"] / other["cpu_ms"] for one, other in zip(rounds, first, strict=True))
        p50, p99, cpu, rate = (
            median(one[key] for one in rounds) for key in ("wait_p50_ms", "wait_p99_ms", "cpu_ms", "accept_per_s")
        )
        print(
            f"{load:32} {name:12} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  CPU {cpu:6.3f} ms ({ratio:.3f})"
            f"  {rate:6.0f} a second",
            flush=True,
        )


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["serve"] else main()
