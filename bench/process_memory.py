"""Measure the memory of each process of a gateway, at rest and after relaying: PSS in MB, and what of it is its own.

    PYTHONPATH=HARNESS .venv/bin/python bench/process_memory.py [--with NAME=PYTHON[:FILE]] [--messages N]

HARNESS is the folder of the benchmark harness, and --with as in bench/commit_latency.py. Root, as there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from commit_latency import template

_FIELDS: Final = ("Pss", "Rss", "Private_Dirty", "Shared_Dirty", "Shared_Clean")


def sizes(pid: int) -> dict[str, float]:
    """Megabytes of a process, by the kernel's names."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in text.splitlines())}
    return {name: int(kilobytes[name]) / 1024 for name in _FIELDS}


def show(heading: str, pids: Sequence[int]) -> float:
    """Print them; returns the sum of PSS."""
    total = 0.0
    print(f"{heading:40}" + "".join(f"{name:>15}" for name in _FIELDS))
    for pid in sorted(pids):
        with suppress(OSError):
            own = sizes(pid)
            total += own["Pss"]
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
            print(f"  process {pid}, {threads} threads".ljust(40) + "".join(f"{own[name]:15.1f}" for name in _FIELDS))
    print(f"  all: PSS {total:.1f} MB", flush=True)
    return total


def main() -> None:
    """Start each variant, look, relay, and look again."""
    from mailbench import certs, scenarios  # type: ignore[import-not-found]  # noqa: PLC0415 - as in bench/commit_latency.py
    from mailbench.adapters.base import Route  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
    from mailbench.adapters.gatepost import Gatepost  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser()
    parser.add_argument("--with", dest="variants", action="append", default=[])
    parser.add_argument("--messages", type=int, default=1200)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    variants = dict(text.partition("=")[::2] for text in arguments.variants) or {"now": sys.executable}
    with tempfile.TemporaryDirectory(prefix="memory-") as work:
        folder = Path(work)
        folder.chmod(0o755)
        options = scenarios.Options(work, work, certs.Certificates(str(folder / "certs")), None, None)
        for name, variant in variants.items():
            python, _, file = variant.partition(":")
            Gatepost.template = str(template(folder, name, python, file))
            sink = scenarios.SinkProcess(options, options.certificates.partner())
            gateway: Any = options.gateway(Gatepost, routes=[Route(scenarios.PARTNER, sink.port)])
            gateway.setup.workers = arguments.workers
            try:
                gateway.start()
                time.sleep(4)
                show(f"{name}, idle", gateway.pids())
                for size, per_connection in ((4096, 1), (4096, 100), (65536, 1)):
                    units = arguments.messages if size == 4096 else arguments.messages // 4
                    figures = scenarios.measure(
                        options,
                        gateway,
                        units,
                        sink=sink,
                        messages=units,
                        conns=20,
                        per_conn=per_connection,
                        size=size,
                        domain=scenarios.PARTNER,
                    )
                    show(
                        f"{name}, after {units} of {size}, peak {figures['peak_pss_mb']:.0f}",
                        gateway.pids(),
                    )
                    print(
                        f"  CPU {figures['cpu_ms']:.3f} ms a message; missing {figures['missing']}, {figures['errors']}"
                    )
            finally:
                options.finish(gateway)
                sink.close()


if __name__ == "__main__":
    main()
