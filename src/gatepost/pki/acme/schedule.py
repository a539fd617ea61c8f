"""Schedule certificate orders: what is wanted, present, tried, and due now. Pure.

Used by `pki.acme.issuer` and `gatepost certificate acme`. Times are seconds since 1970 UTC, and parameters. An
authority is never hammered: what failed waits an hour, then two, up to a day, less near the certificate's end, or as
long as the authority says.

What came by ACME is presented at once, or waits: `pki.acme.issuer` asks, and who judges what a process asks to have
stored of it (`node.certificate_steps`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.settings.acme import Acme


def staged(fresh: Entry, entries: Mapping[str, Entry]) -> Entry:
    """A new certificate as the next one, in the place of ours for the same names and of those that it replaces."""
    ours = _of_same_names(fresh, entries)
    return course.stage(fresh, entries, [candidate for candidate in ours if candidate.state is State.CURRENT])


def placed(
    staged_entry: Entry, entries: Mapping[str, Entry], held: str, now: float
) -> tuple[Entry, list[Entry], list[Entry], str]:
    """The entry to be stored, what becomes of others, which ones go, and why it is not current, "" if it is.

    held: why it must not be presented yet, "" if it may be. now: seconds since 1970.
    """
    entry, *others = staged_entry, *()
    if not held:
        try:
            entry, *others = course.switch(staged_entry, entries, now=now)
        except course.Refused as refusal:
            held = str(refusal)
    ours = _of_same_names(entry, entries)
    ended = [candidate for candidate in ours if candidate.state is State.DEPRECATED and candidate.leaf.not_after < now]
    others += [course.withdraw(old, entries, now=now, early=True) for old in ended]
    gone = [candidate for candidate in ours if candidate.state is State.NEXT and candidate.id != entry.id]
    return entry, others, gone, held


def waits_alone(entry: Entry, entries: Mapping[str, Entry], now: float) -> bool:
    """Whether a certificate waits for a changeover, though nothing that is current bears one of its names."""
    if entry.origin is not Origin.ACME or entry.state is not State.NEXT or entry.switch_at:
        return False
    return entry.leaf.not_before <= now < entry.leaf.not_after and not course.bearers(entry, entries)


def _of_same_names(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    names = set(entry.leaf.dns_names)
    return [
        candidate
        for candidate in entries.values()
        if candidate.origin is Origin.ACME and set(candidate.leaf.dns_names) == names
    ]


AGAIN_SECONDS: Final = 3600.0
"""The first wait after a failure; each further one doubles it, up to a day, but near a certificate's end."""
SOONEST_SECONDS: Final = 900.0
"""The least wait after a failure: Let's Encrypt takes five failed validations of a name in an hour."""
ASK_SECONDS: Final = 43200.0
"""Between two questions for renewal information, if the authority does not say sooner."""
_LONGEST: Final = 86400.0
_PART_LEFT: Final = 24  # near its end, and soon after it, a wait is at most this part of the time to or from it
_INTERRUPTED_SECONDS: Final = 300.0
_SOONEST_ASK: Final = 60.0
_MOST_RETRY: Final = 7 * 86400.0
_INTERRUPTED: Final = "the gateway ended while it requested the certificate"


class Step(StrEnum):
    """The kind of a due step."""

    ISSUE = "issue"
    ASK = "ask"  # when the authority suggests renewing it


class Progress(msgspec.Struct, frozen=True):
    """The state of one list of names. Times 0.0 for never.

    failures: since the last success. not_before: the earliest time of the next attempt. error: the error of the last
    attempt, "" if it succeeded. tried, succeeded: when. renew_at: chosen within the window that the authority
    suggested, for `certificate` (the id of an entry). ask_at: when to ask for it again.
    """

    failures: int = 0
    not_before: float = 0.0
    error: str = ""
    tried: float = 0.0
    succeeded: float = 0.0
    certificate: str = ""
    renew_at: float = 0.0
    ask_at: float = 0.0


class Due(msgspec.Struct, frozen=True):
    """Something to do now, and why."""

    names: tuple[str, ...]
    step: Step
    why: str


def wanted(settings: Acme, hostname: str, policy_hosts: Iterable[str]) -> list[tuple[str, ...]]:
    """The certificates that there shall be, each as its names. policy_hosts: where our MTA-STS policies are served."""
    names = tuple(dict.fromkeys(settings.names or (hostname,)))
    return [names, *((host,) for host in sorted(set(policy_hosts)) if not _bears(host, names))]


def _bears(host: str, names: Sequence[str]) -> bool:
    return host in names or f"*.{host.partition('.')[2]}" in names


def latest(names: Sequence[str], entries: Iterable[Entry]) -> Entry | None:
    """Our newest certificate from ACME for exactly these names, current or next; None if there is none."""
    ours = [
        entry
        for entry in entries
        if entry.origin is Origin.ACME
        and entry.purpose is Purpose.SERVER
        and entry.state in {State.CURRENT, State.NEXT}
    ]
    matches = [entry for entry in ours if set(entry.leaf.dns_names) == set(names)]
    return max(matches, key=lambda entry: (entry.leaf.not_after, entry.added, entry.id), default=None)


def renewal_at(entry: Entry, progress: Progress, renew_before: float) -> float:
    """The time to renew a certificate: the authority's, else that long before its end (0.0: in its last third)."""
    if progress.certificate == entry.id and progress.renew_at:
        return min(progress.renew_at, entry.leaf.not_after)
    life = entry.leaf.not_after - entry.leaf.not_before
    # More than the whole life would renew without end: with the shortest certificates half of it is left at least.
    return entry.leaf.not_after - (min(renew_before, life / 2) if renew_before else life / 3)


def step(
    names: tuple[str, ...], entry: Entry | None, progress: Progress, renew_before: float, now: float
) -> Due | None:
    """The step that is due for one list of names, None if there is none."""
    if now < progress.not_before <= now + max(_LONGEST, _MOST_RETRY):  # later ones are of a clock that was ahead
        return None
    if entry is None:
        return Due(names, Step.ISSUE, "there is none yet")
    if now >= renewal_at(entry, progress, renew_before):
        by_authority = progress.certificate == entry.id and progress.renew_at
        why = "the authority suggests renewing it" if by_authority else "it ends soon"
        return Due(names, Step.ISSUE, why)
    if progress.certificate != entry.id or now >= progress.ask_at:
        return Due(names, Step.ASK, "")
    return None


def plan(
    lists: Iterable[tuple[str, ...]],
    entries: Iterable[Entry],
    progress: Mapping[tuple[str, ...], Progress],
    renew_before: float,
    now: float,
) -> list[Due]:
    """All that is due, what has no certificate first."""
    known = list(entries)
    steps = [step(names, latest(names, known), progress.get(names, Progress()), renew_before, now) for names in lists]
    return sorted(
        (candidate for candidate in steps if candidate is not None), key=lambda planned: planned.step is Step.ASK
    )


def begun(progress: Progress, ends: float, now: float) -> Progress:
    """An attempt begins. Whoever ends in the middle of it again and again waits longer and longer all the same.

    ends: the end of the certificate that is to be renewed, 0.0 if there is none.
    """
    wait = _wait(_INTERRUPTED_SECONDS, progress.failures, ends - now)
    return msgspec.structs.replace(
        progress, failures=progress.failures + 1, not_before=now + wait, error=_INTERRUPTED, tried=now
    )


def failed(progress: Progress, error: str, retry_after: float, ends: float, now: float) -> Progress:
    """The attempt that had begun failed. retry_after: seconds that the authority wants us to wait, 0.0 if unsaid.

    ends: as for `begun`.
    """
    wait = _wait(AGAIN_SECONDS, max(0, progress.failures - 1), ends - now)
    wait = max(wait, min(retry_after, _MOST_RETRY))
    return msgspec.structs.replace(progress, not_before=now + wait, error=error)


def _wait(first: float, failures: int, left: float) -> float:
    near = max(SOONEST_SECONDS, abs(left) / _PART_LEFT)
    return min(_LONGEST, near, first * 2.0 ** min(failures, 20))


def is_under_way(progress: Progress, now: float) -> bool:
    """Whether an attempt began and did not end: nobody can tell one that runs from one that was killed just now."""
    return progress.error == _INTERRUPTED and now < progress.not_before


def done(before: Progress, certificate: str, lifetime: float, now: float) -> Progress:
    """It was issued. before: the attempt. lifetime: of the certificate, seconds.

    What is to be renewed again at once (the authority says so without end, a clock is wrong) waits like a failure: an
    hour, then two, up to a day, and never more than a quarter of the lifetime.
    """
    waited = before.not_before - before.succeeded if before.not_before and not before.error else 0.0
    wait = min(max(AGAIN_SECONDS, 2 * waited), _LONGEST, lifetime / 4)
    not_before = now + wait if 0 <= now - before.succeeded < 2 * wait else 0.0
    return Progress(tried=now, succeeded=now, certificate=certificate, not_before=not_before)


def with_renewal_info(progress: Progress, certificate: str, renew_at: float, ask_at: float, now: float) -> Progress:
    """Renewal information came, or could not be fetched. renew_at: 0.0 for unknown. ask_at: as told, 0.0 if not."""
    again = min(max(ask_at, now + _SOONEST_ASK), now + ASK_SECONDS) if ask_at else now + ASK_SECONDS
    return msgspec.structs.replace(progress, certificate=certificate, renew_at=renew_at, ask_at=again)
