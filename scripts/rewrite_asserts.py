"""Rewrites the assertions of all test files, as pytest does before it imports one, and keeps the result where it looks.

In a fresh clone each process of a run would rewrite every file, at the same time as the others: 20 s of CPU in each.
Here each file is rewritten once, in as many processes as there are cores. What is current already stays.

    .venv/bin/python scripts/rewrite_asserts.py [FOLDER]...     without any, tests/unit and tests/system
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _pytest.assertion import AssertionState
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, get_cache_dir
from _pytest.config import get_config

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tests/unit", "tests/system")
AT_ONCE = 20  # files that a process is given at a time


def rewrite(files: list[Path]) -> None:
    config = get_config()
    state = AssertionState(config, "rewrite")
    for file in files:
        kept = get_cache_dir(file) / f"{file.stem}{PYC_TAIL}"
        if _read_pyc(file, kept) is None:
            kept.parent.mkdir(exist_ok=True)
            digest, code = _rewrite_test(file, config)
            _write_pyc(state, code, digest, kept)


def main(folders: list[str]) -> None:
    files = [
        file
        for folder in folders or FOLDERS
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file.name == "conftest.py" or file.name.startswith("test_")
    ]
    shares = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(rewrite, shares))


if __name__ == "__main__":
    main(sys.argv[1:])
