"""Clients that keep sending while a test does something else."""

from __future__ import annotations

import threading
from typing import Self


class Senders:
    """A context: so many threads run `_run`, each with its number from 0 on, which ends when `_over` is set."""

    def __init__(self, count: int) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        raise NotImplementedError
