"""Decide how loaded a worker is, and what that leaves to clients that nobody knows. Pure.

`node.load` measures and asks once in a while; `mail.inbound.source_limits` applies the limits. Known clients keep
their limits at every level: what strangers must leave is theirs.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors.match import Attribution
from gatepost.policy.connectors.units import measured_size
from gatepost.policy.decisions.decision import InboundVerdict

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.replies import Reply

LEAST_SHARE: Final = 0.02
"""What is left of the limits of strangers at worst."""
CALM_SECONDS: Final = 5.0
"""Without load until limits become wider again."""
HANDSHAKE_SECONDS: Final = 60.0
"""Within which a TLS handshake must be complete: one that stops holds more memory than a session."""

_TIGHTER: Final = (0.75, 0.5)  # what the share is multiplied by in a second: at a mark, and far above it
_WIDER: Final = 1.1  # and in a second of calm
_OVERLOADED: Final = 0.25  # the share from which on a worker is called that
_FOR_KNOWN: Final = 0.1  # of connections at a time, which strangers never have
_LEAST_HANDSHAKE: Final = 10.0
_EASED: Final = 0.8  # of a mark: what is measured must be below that for limits to become wider


class Level(IntEnum):
    """The load of a worker, in a word."""

    NORMAL = 0
    BUSY = 1
    OVERLOADED = 2

    @property
    def label(self) -> str:
        """The level in words."""
        return self.name.lower()


class RateLimit(StrEnum):
    """Events that are counted a minute, by the name of their settings in [rates]."""

    CONNECTIONS = "connections"
    HANDSHAKES = "handshakes"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    ERRORS = "errors"
    FAILED_LOGINS = "failed_logins"
    REFUSALS = "refusals"

    @property
    def noun(self) -> str:
        """The events as a reply names them."""
        return _NOUNS.get(self, str(self))


_NOUNS: Final = {RateLimit.HANDSHAKES: "TLS handshakes", RateLimit.FAILED_LOGINS: "failed log-ins"}


class Measurements(msgspec.Struct, frozen=True):
    """The resources of a worker, as measured. None for what cannot be.

    memory: the share in use of what its machine or container has, 0.0 to 1.0. disk: bytes left for the queue. commit:
    seconds for which messages waited for the disk or the database. delay: seconds by which the worker was late, most of
    the time, because of its own work. behind: whether so much of bodies waits for the disk that they are not read.
    """

    memory: float | None = None
    disk: float | None = None
    commit: float | None = None
    delay: float | None = None
    behind: bool = False


class LoadMarks(msgspec.Struct, frozen=True):
    """From when on limits become tighter; in the units of `Measurements`, 0 for never. disk: `store.free_space`.

    The mark of the disk is four times that. Far above its mark is four times a time, the upper half of what is left of
    memory, and twice `disk`.
    """

    memory: float = 0.9
    disk: float = 128 << 20
    commit: float = 1.0
    delay: float = 0.002


class LoadState(msgspec.Struct, frozen=True):
    """share: what is left of the limits of strangers, `LEAST_SHARE` to 1.0. reason: what was measured, "" for 1.0.

    calm: seconds without load.
    """

    share: float = 1.0
    reason: str = ""
    calm: float = 0.0

    @property
    def level(self) -> Level:
        """The share in a word."""
        if self.share >= 1.0:
            return Level.NORMAL
        return Level.BUSY if self.share > _OVERLOADED else Level.OVERLOADED


def next_state(state: LoadState, measured: Measurements, marks: LoadMarks, seconds: float = 1.0) -> LoadState:
    """The state after this measurement. seconds: since the one before.

    Above a mark limits become tighter with each measurement, at most so far that what strangers do fits again. They
    become wider when all has been clearly below its mark for a while, and more slowly: so they settle near the mark
    and do not change to and fro.
    """
    pressure, reason = max(_pressures(measured, marks), default=(0.0, ""))
    if pressure >= 1.0:
        share = state.share * _TIGHTER[pressure >= 2.0] ** seconds
        return LoadState(max(share, LEAST_SHARE), reason)
    if pressure >= _EASED or state.share >= 1.0:
        return LoadState(state.share, state.reason)
    calm = state.calm + seconds
    if calm < CALM_SECONDS:
        return LoadState(state.share, state.reason, calm)
    share = min(state.share * _WIDER**seconds, 1.0)
    return LoadState(share, state.reason if share < 1.0 else "", calm)


def _pressures(measured: Measurements, marks: LoadMarks) -> list[tuple[float, str]]:
    """Each measurement as 1.0 at its mark and 2.0 far above it, with what to say of it."""
    pressures = [(2.0, "the disk is behind with message bodies")] if measured.behind else []
    if measured.memory is not None and marks.memory:
        left = max(1.0 - marks.memory, 0.001)
        over = 1.0 + 2.0 * (measured.memory - marks.memory) / left
        pressures.append((over, f"{measured.memory:.0%} of memory is in use"))
    if measured.disk is not None and marks.disk:
        pressures.append(
            (4 * marks.disk / max(measured.disk, 1.0), f"{measured_size(int(measured.disk))} of disk left")
        )
    for seconds, mark, text in (
        (measured.commit, marks.commit, "messages wait {:.2g} s to be stored"),
        (measured.delay, marks.delay, "the worker is {:.2g} s behind"),
    ):
        if seconds is not None and mark:
            ratio = seconds / mark
            pressures.append((ratio if ratio < 1.0 else 1.0 + (ratio - 1.0) / 3.0, text.format(seconds)))
    return pressures


def rate_at(limit: int, share: float) -> int:
    """The part of a limit a minute that strangers have; 0 is no limit, whatever the share."""
    return max(1, int(limit * share)) if limit else 0


def connections_at(total: int, per_source: int, share: float) -> tuple[int, int]:
    """Connections that strangers may have at a time, all together and each source; 0 is no limit."""
    return (max(1, int(total * (1.0 - _FOR_KNOWN) * share + 0.5)) if total else 0), rate_at(per_source, share)


def handshake_seconds(share: float) -> float:
    """Within which the handshake of a stranger must be complete."""
    return max(_LEAST_HANDSHAKE, HANDSHAKE_SECONDS * share)


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
