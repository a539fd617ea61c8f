"""Renews the hash-pinned locks under requirements/ from pyproject.toml, for every Python and platform that it allows.

    make lock                                   keeps the pins that still fit
    .venv/bin/python scripts/lock.py --upgrade  takes the newest of everything

The locks name no package index, so that they work with whichever one a machine is set up for: this script refuses to
write an address. Nothing is changed unless all locks could be made.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
OPTIONS = (
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--quiet",
    "--python-version",
    "3.12",
)
# What stands in a lock: requirement, hash, comment. Anything else (an index, a link, a path) is refused.
_LINE = re.compile(
    r"""(?: [A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+ (?: [ ];[ ][^:/\\]+ )? [ ]\\
      | [ ]{4}--hash=sha256:[0-9a-f]{64} (?: [ ]\\ )?
      | [ ]{4}\#[ ][^/\\]+
    )""",
    re.VERBOSE,
)


class LockError(Exception):
    """A lock could not be made, or it holds what must not stand in it."""


def sources() -> dict[str, tuple[list[str], str]]:
    """For each lock: what `uv pip compile` is given, and its standard input."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        build: list[str] = tomllib.load(file)["build-system"]["requires"]
    return {
        "run.txt": (["pyproject.toml"], ""),
        # With an optional extra each; the tests need all of them.
        "acme.txt": (["pyproject.toml", "--extra", "acme"], ""),
        "otel.txt": (["pyproject.toml", "--extra", "otel"], ""),
        "pdf.txt": (["pyproject.toml", "--extra", "pdf"], ""),
        "postgres.txt": (["pyproject.toml", "--extra", "postgres"], ""),
        "sso.txt": (["pyproject.toml", "--extra", "sso"], ""),
        # What packages contain: all extras in versions that fit together, as tested.
        "all.txt": (["pyproject.toml", "--extra", "all"], ""),
        "dev.txt": (["pyproject.toml", "--all-extras", "--group", "dev"], ""),
        "uv.txt": (["-"], "uv\n"),
        # Helm's library and the schemas of Kubernetes, for scripts/chart.py alone.
        "chart.txt": (["-"], "helm-python-sdk\nkubernetes-validate\n"),
        # For `make fuzz` alone.
        "fuzz.txt": (["-"], "atheris\n"),
        # An editable install needs "editables" beside the build backend.
        "build.txt": (["-"], "".join(f"{requirement}\n" for requirement in [*build, "editables"])),
    }


def compile_lock(name: str, target: Path, *, upgrade: bool) -> None:
    """Make one lock in `target`, which holds the old pins to keep."""
    arguments, given = sources()[name]
    uv = ROOT / ".venv/bin/uv"
    command = [str(uv), "pip", "compile", *arguments, *OPTIONS, "--output-file", str(target)]
    if upgrade:
        command.append("--upgrade")
    done = subprocess.run(command, input=given, text=True, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise LockError(f"{name}: uv ended with {done.returncode}")
    strange = [line for line in target.read_text().splitlines() if not _LINE.fullmatch(line)]
    if strange:
        raise LockError(f"{name} must hold pins, hashes and comments alone, and not: {strange[0].strip()[:40]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Renew requirements/*.txt from pyproject.toml.")
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest versions instead of keeping pins that fit"
    )
    upgrade: bool = parser.parse_args().upgrade
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in sources():
                target = Path(folder, name)
                if (REQUIREMENTS / name).exists():
                    shutil.copy(REQUIREMENTS / name, target)
                compile_lock(name, target, upgrade=upgrade)
        except LockError as error:
            print(f"lock: {error}", file=sys.stderr)
            return 1
        for name in sources():
            new, old = Path(folder, name), REQUIREMENTS / name
            changed = not old.exists() or new.read_bytes() != old.read_bytes()
            if changed:  # else its time stays, by which make tells that the environment is up to date
                shutil.copy(new, old)
            print(f"requirements/{name}: {'renewed' if changed else 'as it was'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
