"""Queue ids: 63 bits, unique in the installation and growing with time; how they are printed and read.

From the top: 41 bits of milliseconds since 2020 (until 2089), 10 bits of shard, 12 bits of counter. The counter borrows
from the next millisecond when it runs over, so ids never repeat and never go back, whatever the clock does.
"""

from __future__ import annotations

from collections.abc import Callable

SHARDS = 1 << 10
_EPOCH = 1_577_836_800.0  # 2020-01-01T00:00:00Z
_COUNTER_BITS = 12
_SHARD_BITS = 10
_TICK_SHIFT = _SHARD_BITS + _COUNTER_BITS
_COUNTERS = 1 << _COUNTER_BITS
_HIGHEST = (1 << 63) - 1
_DIGITS = 16
_HEXADECIMAL = frozenset("0123456789abcdef")


def format_id(number: int) -> str:
    """The id as people see it: 16 lower-case hexadecimal digits. Sorting the text sorts by time."""
    return f"{number:016x}"


def parse_id(text: str) -> int:
    """The reverse of `format_id`; capital digits are read too. Raises ValueError with a sentence for the user."""
    digits = text.lower()
    if len(digits) != _DIGITS or not _HEXADECIMAL.issuperset(digits) or digits >= "8":
        raise ValueError(f"{text[:40]!r} is not a queue id: 16 hexadecimal digits, the first below 8")
    return int(digits, 16)


def made_at(number: int) -> float:
    """The time at which an id was made, seconds since 1970; a little later than that if very many were made at once."""
    return _EPOCH + (number >> _TICK_SHIFT) / 1000


def shard_of(number: int) -> int:
    """The shard that made an id."""
    return number >> _COUNTER_BITS & (SHARDS - 1)


def last_id(at: float) -> int:
    """The highest id that any shard can have made until `at`, seconds since 1970; 0 for times before 2020.

    Of times beyond 2089, any: the highest id that there is.
    """
    return min(((max(0, int((at - _EPOCH) * 1000)) + 1) << _TICK_SHIFT) - 1, _HIGHEST) if at > _EPOCH else 0


class IdSource:
    """Makes the ids of one shard."""

    __slots__ = ("_clock", "_counter", "_shard", "_tick")

    def __init__(self, shard: int, after: int = 0, *, clock: Callable[[], float]) -> None:
        """`shard`: 0 to 1023, different for every open shard. `after`: the highest id given out so far.

        clock: seconds since 1970.
        """
        if not 0 <= shard < SHARDS:
            raise ValueError(f"shard {shard} is not between 0 and {SHARDS - 1}")
        self._clock = clock
        self._shard = shard << _COUNTER_BITS
        self._tick = after >> _TICK_SHIFT
        self._counter = _COUNTERS - 1  # the first id is of a later millisecond than `after`

    def skip(self, number: int) -> None:
        """Make no id up to `number` any more: it is in use."""
        if number >> _TICK_SHIFT >= self._tick:
            self._tick, self._counter = number >> _TICK_SHIFT, _COUNTERS - 1

    def __call__(self) -> int:
        """A fresh id, above all earlier ones of this source."""
        tick = int((self._clock() - _EPOCH) * 1000)
        if tick > self._tick:
            self._tick, self._counter = tick, 0
        else:
            self._counter += 1
            if self._counter == _COUNTERS:
                self._tick, self._counter = self._tick + 1, 0
        return (self._tick << _TICK_SHIFT) | self._shard | self._counter
