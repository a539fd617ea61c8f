"""Defer due deliveries of a destination where they lie, as their next hop takes nobody: the request, and its SQL.

Made by `mail.queue.sweeper`. Such a deferral changes the attempts, the last error and the time of the next attempt, as
an attempt without a result would; both engines do it in one statement. Whatever needs more than that (a row of the
trace, a notice, its expiry, a return, a journal copy) is left alone, so that it is leased and concluded.
"""

from __future__ import annotations

from typing import Final

SPREAD: Final = 0.1
"""The part by which a wait is longer or shorter at most."""

# Few values, and messages that share one share the next: what was deferred together stays together in the tables and in
# the index of what is due, so that a commit writes few pages (docs/decisions/0173).
_MIXED: Final = 1_000_003
_LEVELS: Final = 16
_STEP: Final = 5  # from an attempt to the next; through all of them

JITTER: Final = f"((message % {_MIXED} + (attempts + 1) * {_STEP}) % {_LEVELS} / {_LEVELS - 1}.0)"
"""`jitter_of` in SQL, for the attempt after those that are stored."""

NOTHING_ELSE: Final = (
    "attempts > 0 AND returned = '' AND NOT dropped AND instr(recipients, '\"held\":true') = 0"
    " AND instr(recipients, '\"journal\":') = 0"
)
"""In SQL, whether a deferral changes no more of a row than its attempts, last error and time, unless it is late.

Quotes within a string of JSON have a backslash before them, so that what stands here is never a part of one.
"""

ALL_DELAYED: Final = "length(recipients) - length(replace(recipients, '\"delayed\":true', '')) = 14 * {number}"
"""In SQL, whether each recipient's sender has had a delay notice. number: of the recipients, in the engine's SQL."""

NO_DELAY_WANTED: Final = (
    "length(recipients) - length(replace(recipients, '\"notify\":\"', '')) = 10 * {number}"
    " AND instr(recipients, 'DELAY') = 0"
)
"""In SQL, whether each recipient has a NOTIFY, and nothing of them has the word DELAY. number: as of `ALL_DELAYED`."""


class Suspension:
    """A request to defer due deliveries of a destination without an attempt, and its result.

    limit: the longest due ones that are looked at. now, received_after: seconds since 1970; what was received before is
    due a delay notice, nothing where it is 0. waits: seconds between attempts, the last repeats. reply: the text of
    what other mail met. deferred: how many were.
    """

    __slots__ = ("deferred", "destination", "limit", "now", "received_after", "reply", "waits")

    def __init__(
        self, destination: str, limit: int, now: float, *, waits: tuple[float, ...], received_after: float, reply: str
    ) -> None:
        self.destination = destination
        self.limit = limit
        self.now = now
        self.waits = waits
        self.received_after = received_after
        self.reply = reply
        self.deferred = 0


def jitter_of(message: int, attempts: int) -> float:
    """From 0 to 1, the same for all deliveries of a message: deferred together they return together.

    So they may share a transaction again. attempts: this one included.
    """
    return (message % _MIXED + attempts * _STEP) % _LEVELS / (_LEVELS - 1)
