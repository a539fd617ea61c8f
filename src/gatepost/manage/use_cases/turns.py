"""Turns at work that asks the world and takes long: few at a time in this process, and fewer of one user or token.

For what its asker waits for, such as a look at gates. What runs on behind an answer is in `check_runs`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.refusal import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.principal import Principal


class Turns:
    """Those of one process, for any thread.

    at_a_time: of all. of_one: of one user or token. busy: what is said where there is none.
    """

    def __init__(self, at_a_time: int, of_one: int, busy: str) -> None:
        self._at_a_time = at_a_time
        self._of_one = of_one
        self._busy = busy
        self._taken: Counter[str] = Counter()
        self._changed = Condition()

    @contextmanager
    def turn(self, who: Principal, patience: float = 0.0) -> Iterator[None]:
        """Within it work may be done. patience: seconds to wait for it. Raises Busy if it does not come by then."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(who.name), patience):
                raise Busy(self._busy)
            self._taken[who.name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= Counter({who.name: 1})  # which forgets names at 0
                self._changed.notify_all()

    def _is_free(self, name: str) -> bool:
        return self._taken.total() < self._at_a_time and self._taken[name] < self._of_one
