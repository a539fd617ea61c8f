"""Measure what a commit of the SQLite queue costs: CPU a message, and the longest that one waits, by cache and WAL.

    .venv/bin/python bench/commit_cost.py [--folder FOLDER] [--rounds N] [CACHE:PAGES ...]

CACHE: megabytes of pages that the writer keeps in memory; PAGES: of the WAL, at which it is copied into the database.
The first is what others are compared with. All are measured in turn, on files in FOLDER. Messages that are settled are
removed with the commit behind theirs, as while mail is relayed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Final

import apsw

from gatepost.store.sqlite.rows import CommitPlan
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings, make_queue_tables, open_database

_LOADS: Final = {  # octets of a message, messages, and how many share a commit
    "4 KB": (4096, 6000, 7),
    "64 KB": (65536, 1200, 5),
}
_FACTS: Final = '{"facts": "%s"}' % ("f" * 600)
_RECIPIENTS: Final = '[{"address": "user@partner.test"}]'


class Queue:
    """A queue that is written without the rest of a gateway."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        file = folder / QUEUE_FILE
        self._connection = open_database(file, settings, shrinking=True)
        make_queue_tables(self._connection, file)
        self._pages, self._most = 0, settings.checkpoint_pages
        self._connection.set_wal_hook(self._committed)
        self._last: list[int] = []
        self._next = 1

    def _committed(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def commit(self, body: bytes, messages: int, *, settle: bool) -> None:
        """Store messages, and remove those of the commit before."""
        plan = CommitPlan()
        if settle:
            plan.finished = [(number, number + 1) for number in self._last]
        self._last = [self._next + 3 * index for index in range(messages)]
        self._next += 3 * messages
        for number in self._last:
            plan.messages.append((number, len(body), None, _FACTS))
            plan.bodies.append((number, body))
            plan.deliveries.append((number, number + 1, "o/partner.test", 0.0, 0, 2e9, "", _RECIPIENTS, 0, ""))
        self._connection.execute("BEGIN IMMEDIATE")
        plan.execute(self._connection)
        self._connection.execute("COMMIT")
        if self._pages >= self._most:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._pages = 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def measure(parent: Path, settings: StoreSettings, load: str, *, settle: bool) -> tuple[float, float]:
    """Microseconds of CPU a message, and milliseconds of the longest commit."""
    size, messages, together = _LOADS[load]
    body = b"0123456789abcdef" * (size // 16)
    with tempfile.TemporaryDirectory(dir=parent, prefix="commits-") as folder:
        queue = Queue(Path(folder), settings)
        queue.commit(body, together, settle=settle)
        longest, used = 0.0, time.process_time()
        for _ in range(messages // together):
            begun = time.perf_counter()
            queue.commit(body, together, settle=settle)
            longest = max(longest, time.perf_counter() - begun)
        used = time.process_time() - used
        queue.close()
    return used / messages * 1e6, longest * 1e3


def main() -> None:
    """Measure each variant in turn, and print the least CPU and the median of the longest waits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("variants", nargs="*", default=["32:4000", "8:1000"])
    arguments = parser.parse_args()
    figures = defaultdict(list)
    cases = [(load, settle) for load in _LOADS for settle in (False, True)]
    for _ in range(arguments.rounds):
        for variant in arguments.variants:
            cache, _, pages = variant.partition(":")
            settings = StoreSettings(cache_bytes=int(cache) << 20, checkpoint_pages=int(pages))
            for load, settle in cases:
                figures[load, settle, variant].append(measure(arguments.folder, settings, load, settle=settle))
    for (load, settle, variant), rounds in sorted(figures.items(), key=lambda item: cases.index(item[0][:2])):
        cpu, longest = min(used for used, _ in rounds), median(waited for _, waited in rounds)
        print(f"{load:6} {'settled' if settle else 'kept':8} {variant:10} {cpu:6.1f} us, longest {longest:5.1f} ms")


if __name__ == "__main__":
    main()
