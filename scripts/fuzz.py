"""Fuzz the parsers of tests/fuzz for long: `make fuzz SECONDS=3600 TARGETS="smtp-server header"`.

Each target runs in a process of its own, with atheris, which sees what code an input reaches; without it with mutations
of the seeds alone. An input that crashes is written below tests/fuzz/corpus, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import time
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FUZZ = Path(__file__).resolve().parents[1] / "tests" / "fuzz"
FOUND = FUZZ.parents[1] / ".fuzz"  # what reached new code, to go on from next time
_OPTIONS = ("-max_len=16384", "-timeout=10", "-rss_limit_mb=1024", "-verbosity=0")


def main() -> int:
    """Run all, and say what crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(FUZZ))
    if arguments.alone:
        work = _with_atheris if find_spec("atheris") else _with_mutations
        return work(arguments.targets[0], arguments.seconds)
    crashed = []
    for name in arguments.targets or import_module("targets").TARGETS:
        command = [sys.executable, __file__, "--alone", "--seconds", str(arguments.seconds), name]
        if subprocess.run(command, check=False).returncode:
            crashed.append(name)
    print("crashed: " + ", ".join(crashed) if crashed else "nothing crashed", file=sys.stderr)
    return int(bool(crashed))


def _with_atheris(name: str, seconds: float) -> int:
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["gatepost"]):
        target = import_module("targets").TARGETS[name]
    found, corpus = FOUND / name, FUZZ / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (found / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    corpus.mkdir(exist_ok=True)
    limits = (f"-max_total_time={seconds:.0f}", f"-artifact_prefix={FUZZ / 'corpus' / name}/", *_OPTIONS)
    print(f"{name}: {seconds:.0f} s with atheris", file=sys.stderr)
    atheris.Setup([name, *limits, str(found), str(corpus)], target.run)
    atheris.Fuzz()  # ends the process
    return 0


def _with_mutations(name: str, seconds: float) -> int:
    target, mutated = import_module("targets").TARGETS[name], import_module("mutation").mutated
    chance, end, tried = random.Random(), time.monotonic() + seconds, 0  # noqa: S311 - inputs
    while time.monotonic() < end:
        data, tried = mutated(chance, target.seeds), tried + 1
        try:
            target.run(data)
        except Exception:  # noqa: BLE001 - that is what is looked for
            traceback.print_exc()
            file = FUZZ / "corpus" / name / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
            print(f"{name}: {file}", file=sys.stderr)
            return 1
    print(f"{name}: {tried:,} inputs in {seconds:.0f} s, nothing crashed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
