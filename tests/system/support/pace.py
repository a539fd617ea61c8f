"""How much slower than usual this machine is while something is measured, for times that are promised to people.

What is promised holds for a machine that has its cores and its disk for itself. The same piece of work, done again and
again beside what is measured, says how far it has not: a limit grows by that factor, and on a quiet machine not at all.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import threading
import time
from typing import Self

_ROUNDS = 80_000  # several turns of a scheduler: who needs less than one hardly waits, however many run beside it
_USUAL = 0.027  # seconds of a piece of work on a quiet machine of two slow cores
_USUAL_CPU = 0.020  # of them, those of a core
_PAUSE = 0.2


class Pace:
    """A context: measures from its beginning to its end.

    Most of a piece of work holds no lock of the interpreter, so that what the test does meanwhile slows it down no more
    than any other process would. every: seconds between two of them, and before the first; what ended earlier was not
    slow. With 0 the first is done at once, and five follow in a second.
    """

    def __init__(self, *, every: float = 0.0) -> None:
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace")
        self._samples: list[float] = []
        self._cpu_samples: list[float] = []
        self._begun = self._ended = 0.0

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self._ended - self._begun

    @property
    def slowness(self) -> float:
        """By what factor the work took longer than usual, on average; at least 1.

        Usual is also what follows from the CPU that it took here: quick cores that are shared are slower than alone.
        """
        if not self._samples:
            return 1.0
        usual = min(_USUAL, min(self._cpu_samples) * _USUAL / _USUAL_CPU)
        return max(1.0, statistics.fmean(self._samples) / usual)

    @property
    def cpu_slowness(self) -> float:
        """By what factor the work took more CPU than usual, as it does where cores are shared; at least 1."""
        return max(1.0, statistics.fmean(self._cpu_samples) / _USUAL_CPU)

    def took_less_than(self, seconds: float) -> bool:
        """Whether it would have ended within so many seconds on a quiet machine."""
        return self.seconds < seconds * self.slowness

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, on a machine that is {self.slowness:.1f} times slower than usual"

    def _run(self) -> None:
        if self._every and self._over.wait(self._every):
            return
        with tempfile.TemporaryFile() as file:
            while True:
                begun, cpu = time.monotonic(), time.thread_time()
                hashlib.pbkdf2_hmac("sha256", b"pace", b"pace", _ROUNDS)
                self._cpu_samples.append(time.thread_time() - cpu)
                os.write(file.fileno(), b"pace")
                os.fsync(file.fileno())
                self._samples.append(time.monotonic() - begun)
                if self._over.wait(self._every or _PAUSE):
                    return
