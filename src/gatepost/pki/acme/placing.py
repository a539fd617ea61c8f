"""The place of a certificate that came by ACME among the others: presented at once, or waiting. Pure.

Used by `pki.acme.issuer`, and by whoever judges what a process asks to have stored of it (`node.certificate_steps`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Origin, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.pki.certificates.entry import Entry


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
