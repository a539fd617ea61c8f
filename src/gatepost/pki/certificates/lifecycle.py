"""The lifecycle of a certificate: what a changeover does to the inventory, and what it refuses to do. Pure.

Used by `analysis.checks.changeover` and `gatepost certificate changeover`; the states are those of
`pki.certificates.entry`. Whether it is wise to switch is for the gates (`analysis.checks.gates`); here is what must
never be: a name that nobody covers any more, a certificate in two places, a way back to a key that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.protocols.tls.names import matches
from gatepost.times import second_text
from gatepost.values import replace

ROLL_BACK_SECONDS: Final = 86400.0
"""For so long after a switch one command takes it back."""

_SHOWN: Final = 10  # names in a sentence
_IN_FILES: Final = frozenset({Origin.SETTINGS, Origin.FILES})  # whose keys are in no store


class Refused(ValueError):  # noqa: N818 - it names what was said
    """A step that the course does not have; the text says why, and what to do instead.

    options: names of what would allow it, such as a reason in "force".
    """

    def __init__(self, text: str, *, options: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.options = options


# what covers what


def names_of(entry: Entry) -> tuple[str, ...]:
    """The names that a certificate bears: subjectAltName, names before addresses."""
    return (*entry.leaf.dns_names, *entry.leaf.ip_addresses)


def is_covered(name: str, entries: Iterable[Entry]) -> bool:
    """Whether one of them bears a name; a wildcard covers names one label below it, and is covered by itself alone."""
    if name.startswith("*."):
        return any(name in entry.leaf.dns_names for entry in entries)
    return any(matches(name, entry.leaf) for entry in entries)


def bearers(entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """The current ones of its purpose, of any kind of key, that bear one of its names.

    Where there is none, nothing is presented for its names: no gate can protect what is there, and each day without it
    is one without STARTTLS.
    """
    kin = (
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and candidate.purpose is entry.purpose
    )
    others = [candidate for candidate in kin if candidate.id != entry.id]
    return tuple(candidate for candidate in others if any(is_covered(name, [candidate]) for name in names_of(entry)))


def replaced(entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """The current ones that `entry` would take the place of.

    Those that were named for it, and by themselves: of a server those with the same kind of key that bear a name which
    `entry` covers; of a client those of the same organization and label, by which connectors name them.
    """
    kin = [
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and candidate.id != entry.id and candidate.purpose is entry.purpose
    ]
    return tuple(candidate for candidate in kin if candidate.id in entry.replaces or _same_place(entry, candidate))


def _same_place(entry: Entry, other: Entry) -> bool:
    if entry.organization != other.organization:
        return False
    if entry.purpose is Purpose.CLIENT:
        return entry.label == other.label
    shared = any(is_covered(name, [entry]) for name in names_of(other))
    return shared and entry.key_family == other.key_family


def after_switch(entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """The certificates of its purpose that would be current, `entry` first; if it is current, those that are."""
    gone = {old.id for old in _to_go(entry, entries)}
    stay = (
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and candidate.purpose is entry.purpose
    )
    return (entry, *(candidate for candidate in stay if candidate.id not in gone and candidate.id != entry.id))


def lost_names(entry: Entry, entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """Names that are covered now and would not be any more. Of a client certificate its subject is what counts."""
    if entry.purpose is Purpose.CLIENT:
        return ()
    left = after_switch(entry, entries)
    names = (name for old in _to_go(entry, entries) for name in names_of(old))
    return tuple(dict.fromkeys(name for name in names if not is_covered(name, left)))


def _to_go(entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    return replaced(entry, entries) if entry.state is State.NEXT else ()


def successor(entry: Entry, entries: Mapping[str, Entry]) -> Entry | None:
    """The current one that took the place of a deprecated one and could still be rolled back to it, None if none is."""
    took = (
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and entry.id in candidate.replaces
    )
    return next(took, None)


def roll_back_until(entry: Entry) -> float:
    """Until when a current one can be rolled back, seconds since 1970; 0.0 if it took nobody's place."""
    return entry.current_from + ROLL_BACK_SECONDS if entry.replaces and entry.current_from else 0.0


# the steps; each gives the entries that it changes


def stage(entry: Entry, entries: Mapping[str, Entry], named: Sequence[Entry] = ()) -> Entry:
    """Have it take the place of `named` beside those that it replaces by itself. Raises Refused."""
    _must_be_next(entry, "staged anew")
    for old in named:
        if old.state is not State.CURRENT or old.purpose is not entry.purpose:
            raise Refused(f"{old.id} is not a current {entry.purpose} certificate, but a {old.state} {old.purpose} one")
    chosen = replace(entry, replaces=tuple(old.id for old in named))
    return replace(chosen, replaces=tuple(old.id for old in replaced(chosen, entries)))


def revive(entry: Entry, entries: Mapping[str, Entry], *, now: float) -> Entry:
    """A deprecated one becomes a next one: the way back to it when it is too late for `roll_back`. Raises Refused."""
    if _key_is_gone(entry):
        raise Refused(f"{entry.id} cannot be staged again: its key was destroyed")
    if entry.state is not State.DEPRECATED:
        raise Refused(f"{entry.id} is {entry.state}: only a deprecated certificate is staged again")
    newer = successor(entry, entries)
    if newer is not None and can_roll_back(newer, entries, now=now):
        raise Refused(
            f"you can still roll back to {entry.id} at once: gatepost certificate changeover roll-back {newer.id}"
        )
    return replace(entry, state=State.NEXT, since=now, current_from=0.0, current_until=0.0, replaces=(), told=())


def schedule(entry: Entry, at: float, *, now: float, forced: str = "") -> Entry:
    """Have it become current at a time. forced: why, though gates may be red then. Raises Refused."""
    _must_be_next(entry, "scheduled")
    _must_be_valid(entry, max(at, now))
    return replace(entry, switch_at=at, forced=forced, held="")


def cancel(entry: Entry) -> Entry:
    """Forget the time. Raises Refused."""
    _must_be_next(entry, "cancelled")
    if not entry.switch_at:
        raise Refused(f"no switch to {entry.id} is scheduled")
    return replace(entry, switch_at=0.0, forced="", held="")


def hold(entry: Entry, why: str) -> Entry:
    """Hold back a scheduled certificate that was not switched when its time came. why: a sentence."""
    return replace(entry, switch_at=0.0, forced="", held=why)


def switch(entry: Entry, entries: Mapping[str, Entry], *, now: float, losing: bool = False) -> tuple[Entry, ...]:
    """`entry` becomes current, those that it replaces deprecated. losing: names may be lost. Raises Refused."""
    _must_be_next(entry, "switched to")
    _must_be_valid(entry, now)
    lost = lost_names(entry, entries)
    if lost and not losing:
        raise Refused(
            f"no certificate would cover {', '.join(lost[:_SHOWN])} any more; get a certificate with all names, or "
            "give a reason for switching anyway",
            options=("force",),
        )
    olds = replaced(entry, entries)
    new = replace(
        entry,
        state=State.CURRENT,
        since=now,
        current_from=now,
        current_until=0.0,
        switch_at=0.0,
        forced="",
        held="",
        replaces=tuple(old.id for old in olds),
    )
    return (new, *(replace(old, state=State.DEPRECATED, since=now, current_until=now) for old in olds))


def roll_back(entry: Entry, entries: Mapping[str, Entry], *, now: float) -> tuple[Entry, ...]:
    """Those that `entry` replaced become current again, and it is the next one again. Raises Refused."""
    if entry.state is not State.CURRENT:
        raise Refused(f"{entry.id} is {entry.state}: only a current certificate is rolled back")
    if not entry.replaces:
        raise Refused(f"{entry.id} replaced nothing, so there is nothing to roll back to; stage another certificate")
    if now > roll_back_until(entry):
        raise Refused(
            f"the switch to {entry.id} was at {second_text(entry.current_from)}, more than 24 hours ago: "
            f"run gatepost certificate changeover stage {entry.replaces[0]}, and switch to it"
        )
    olds = [_to_come_back(number, entries, now) for number in entry.replaces]
    new = replace(entry, state=State.NEXT, since=now, current_from=0.0, current_until=0.0)
    return (new, *(replace(old, state=State.CURRENT, since=now, current_until=0.0) for old in olds))


def _to_come_back(number: str, entries: Mapping[str, Entry], now: float) -> Entry:
    old = entries.get(number)
    if old is None:
        raise Refused(f"the replaced certificate {number} is no longer in the inventory")
    if _key_is_gone(old):
        raise Refused(f"{number} cannot be restored: its key was destroyed")
    if old.state is not State.DEPRECATED:
        raise Refused(f"{number} cannot be restored: it is {old.state}")
    _must_be_valid(old, now)
    return old


def _key_is_gone(entry: Entry) -> bool:
    return entry.state is State.RETIRED or (entry.origin in _IN_FILES and not entry.key_file)


def can_roll_back(entry: Entry, entries: Mapping[str, Entry], *, now: float) -> bool:
    """Whether `roll_back` would do it."""
    try:
        roll_back(entry, entries, now=now)
    except Refused:
        return False
    return True


def withdraw(entry: Entry, entries: Mapping[str, Entry], *, now: float, early: bool = False) -> Entry:
    """A deprecated one is retired, for good: its key goes. early: though it could still be rolled back to.

    Raises Refused.
    """
    if entry.state is not State.DEPRECATED:
        raise Refused(f"{entry.id} is {entry.state}: only a deprecated certificate is withdrawn{_instead(entry)}")
    newer = successor(entry, entries)
    if newer is not None and now <= roll_back_until(newer) and not early:
        raise Refused(
            f"its key is needed to roll back the switch to {newer.id}, until {second_text(roll_back_until(newer))}; "
            "wait, or give a reason",
            options=("force",),
        )
    return replace(entry, state=State.RETIRED, since=now)


def tell(entry: Entry, partners: Iterable[str]) -> Entry:
    """Remember that partners were told of it. Raises Refused for one that is neither next nor current."""
    if entry.state not in {State.NEXT, State.CURRENT}:
        raise Refused(f"{entry.id} is {entry.state}: partners need no notice of it")
    return replace(entry, told=tuple(sorted({*entry.told, *partners})))


def _instead(entry: Entry) -> str:
    match entry.state:
        case State.CURRENT:
            return "; switch to another one first"
        case State.NEXT:
            return "; to forget one that was never presented: gatepost certificate remove"
        case _:
            return ""


def _must_be_next(entry: Entry, what: str) -> None:
    if entry.state is not State.NEXT:
        raise Refused(f"{entry.id} is {entry.state}: only a next certificate can be {what}")


def _must_be_valid(entry: Entry, at: float) -> None:
    if at >= entry.leaf.not_after:
        raise Refused(f"{entry.id} expires at {second_text(entry.leaf.not_after)}: get a new certificate")
    if at < entry.leaf.not_before:
        raise Refused(f"{entry.id} is valid from {second_text(entry.leaf.not_before)} on: switch then", options=("at",))
