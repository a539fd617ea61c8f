"""Decide how loaded a worker is, and what that leaves to clients that nobody knows. Pure.

`node.load` measures and asks once in a while; `mail.inbound.source_limits` applies the limits. Known clients keep
their limits at every level: what strangers must leave is theirs.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors.match import Attribution
from gatepost.policy.decisions.decision import InboundVerdict

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.replies import Reply

FIRST_HOLD: Final = 20.0
"""Seconds without load until a level is left."""
LONGEST_HOLD: Final = 640.0
"""What that becomes, doubled each time that the load is back at once."""

_TIGHTER: Final = (1, 4, 16)  # what rates of strangers are divided by, by level
_LEFT_TO_STRANGERS: Final = (0.9, 0.5, 0.25)  # of connections at a time, by level
_EASED: Final = 0.8  # of a mark: what is measured must fall below that before a level is left


class Level(IntEnum):
    """How loaded a worker is."""

    NORMAL = 0
    BUSY = 1
    OVERLOADED = 2

    @property
    def label(self) -> str:
        """The level in words."""
        return self.name.lower()


class RateLimit(StrEnum):
    """What is counted a minute, by the name of its settings in [rates]."""

    CONNECTIONS = "connections"
    HANDSHAKES = "handshakes"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    ERRORS = "errors"
    FAILED_LOGINS = "failed_logins"

    @property
    def noun(self) -> str:
        """What there are too many of, in a reply."""
        return _NOUNS.get(self, str(self))


_NOUNS: Final = {RateLimit.HANDSHAKES: "TLS handshakes", RateLimit.FAILED_LOGINS: "failed log-ins"}


class Measurements(msgspec.Struct, frozen=True):
    """What a worker has to do with. None for what cannot be measured.

    memory: the share in use of what its machine or container has, 0.0 to 1.0. disk: bytes left for the queue. commit:
    seconds for which messages waited for the disk or the database. delay: seconds by which the worker was late
    because of its own work.
    """

    memory: float | None = None
    disk: float | None = None
    commit: float | None = None
    delay: float | None = None


class LoadMarks(msgspec.Struct, frozen=True):
    """From when on a worker is busy; in the units of `Measurements`, 0 for never. disk: the mark of `store.free_space`.

    It is overloaded at four times a time, in the upper half of what is left of memory, and at twice the disk's mark.
    """

    memory: float = 0.9
    disk: float = 128 << 20
    commit: float = 1.0
    delay: float = 0.25


class LoadState(msgspec.Struct, frozen=True):
    """level: in force. reason: what was measured that led to it, "" for normal. left_at: when a higher one was left.

    busy_at: when something was last above what the level is left at. hold: seconds after that until it is left.
    """

    level: Level = Level.NORMAL
    reason: str = ""
    left_at: float | None = None
    busy_at: float = 0.0
    hold: float = FIRST_HOLD


def next_state(state: LoadState, measured: Measurements, marks: LoadMarks, now: float) -> LoadState:
    """The state after this measurement. now: seconds on a clock that never goes back.

    A level is entered at once. It is left, one step at a time, once all is clearly below its mark for `hold` seconds;
    what comes back soon after that is held for twice as long, so that limits do not change to and fro.
    """
    level, reason = _judge(measured, marks, 1.0)
    if level > state.level:
        is_back = state.left_at is not None and now - state.left_at < 2 * state.hold
        hold = min(2 * state.hold, LONGEST_HOLD) if is_back else FIRST_HOLD
        return LoadState(level, reason, None, now, hold)
    if _judge(measured, marks, _EASED)[0] >= state.level > Level.NORMAL:
        return LoadState(state.level, reason or state.reason, state.left_at, now, state.hold)
    if state.level > Level.NORMAL and now - state.busy_at >= state.hold:
        lower = Level(state.level - 1)
        return LoadState(lower, state.reason if lower else "", now, now, state.hold)
    return state


def _judge(measured: Measurements, marks: LoadMarks, factor: float) -> tuple[Level, str]:
    """The highest level that something has, and what it is. factor: of what a mark is multiplied by."""
    worst = Level.NORMAL, ""
    for pressure, text in _pressures(measured, marks):
        level = Level((pressure >= factor) + (pressure >= 2 * factor))
        if level > worst[0]:
            worst = level, text
    return worst


def _pressures(measured: Measurements, marks: LoadMarks) -> list[tuple[float, str]]:
    """Each measurement as 1.0 where a worker is busy and 2.0 where it is overloaded, with what to say of it."""
    pressures = []
    if measured.memory is not None and marks.memory:
        left = max(1.0 - marks.memory, 0.001)
        over = 1.0 + 2.0 * (measured.memory - marks.memory) / left
        pressures.append((over, f"{measured.memory:.0%} of memory is in use"))
    if measured.disk is not None and marks.disk:
        pressures.append((4 * marks.disk / max(measured.disk, 1.0), f"{measured.disk / (1 << 20):.0f} MB of disk left"))
    for seconds, mark, text in (
        (measured.commit, marks.commit, "messages wait {:.1f} s to be stored"),
        (measured.delay, marks.delay, "the worker is {:.1f} s behind"),
    ):
        if seconds is not None and mark:
            ratio = seconds / mark
            pressures.append((ratio if ratio < 1.0 else 1.0 + (ratio - 1.0) / 3.0, text.format(seconds)))
    return pressures


def rate_at(limit: int, level: Level) -> int:
    """What strangers may do of a limit a minute; 0 is no limit, at no level."""
    return max(1, limit // _TIGHTER[level]) if limit else 0


def connections_at(total: int, per_source: int, level: Level) -> tuple[int, int]:
    """Connections that strangers may have at a time, all together and each source; 0 is no limit, at no level."""
    return max(1, int(total * _LEFT_TO_STRANGERS[level] + 0.5)) if total else 0, rate_at(per_source, level)


def identifies(basis: str) -> bool:
    """Whether what a verdict rests on shows who the client is, and not only what it says. basis: of `Attribution`."""
    return basis not in {"", "none", "sender"}


def refused_for_rate(directory: Directory, reply: Reply, limit: RateLimit) -> InboundVerdict:
    """The refusal of what exceeds a limit a minute, as the trace has it."""
    reasons = (f"too many {limit.noun} in a minute ([rates] {limit})",)
    attribution = Attribution("none", None, None, "none", reasons)
    return InboundVerdict(
        False, reply, "", "none", "", "opportunistic", reasons, attribution, configuration=directory.version
    )
