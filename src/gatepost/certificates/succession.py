"""Which certificates a new one takes the place of, and how a place changes hands. Values in, values out.

Used by `certificates.watch` (files that others renew) and `certificate add`. A place is a set of names and a kind of
key for listeners, an organization's label for client identities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatepost.certificates.entry import Purpose, State
from gatepost.tls.names import matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.certificates.entry import Entry
    from gatepost.tls.facts import CertificateFacts

__all__ = ["deprecated", "lost_names", "made_current", "place_is_free", "predecessors"]


def lost_names(before: CertificateFacts, after: CertificateFacts) -> list[str]:
    """The names and addresses that `before` bears and `after` does not, a wildcard counting for what it covers."""
    names = [name for name in before.dns_names if name not in after.dns_names and not _covered(name, after)]
    return names + [address for address in before.ip_addresses if address not in after.ip_addresses]


def _covered(name: str, leaf: CertificateFacts) -> bool:
    return not name.startswith("*") and matches(name, leaf)


def predecessors(entry: Entry, entries: Iterable[Entry]) -> list[Entry]:
    """The current ones whose place `entry` would take: all their names are in it, and the key is of the same kind."""
    others = [one for one in entries if one.state is State.CURRENT and one.id != entry.id]
    if entry.purpose is Purpose.CLIENT:
        return [one for one in others if _identity(one) == _identity(entry)]
    servers = [one for one in others if one.purpose is Purpose.SERVER and one.key_family == entry.key_family]
    return [one for one in servers if not lost_names(one.leaf, entry.leaf)]


def place_is_free(entry: Entry, entries: Iterable[Entry]) -> bool:
    """Whether nothing current bears any of its names with a key of its kind: no changeover is needed to present it."""
    others = [one for one in entries if one.state is State.CURRENT and one.id != entry.id]
    if entry.purpose is Purpose.CLIENT:
        return not any(_identity(one) == _identity(entry) for one in others)
    servers = [one for one in others if one.purpose is Purpose.SERVER and one.key_family == entry.key_family]
    return not any(_shared(one.leaf, entry.leaf) for one in servers)


def _shared(one: CertificateFacts, other: CertificateFacts) -> bool:
    """Whether a client could be shown either of them under one name. Without any name they stand for all names."""
    if not one.dns_names or not other.dns_names:
        return True
    return len(lost_names(one, other)) < len(one.dns_names) + len(one.ip_addresses) or (
        len(lost_names(other, one)) < len(other.dns_names) + len(other.ip_addresses)
    )


def _identity(entry: Entry) -> tuple[str, str, str]:
    return str(entry.purpose), entry.organization, entry.label


def made_current(entry: Entry, replaced: Iterable[Entry], now: float) -> Entry:
    """`entry`, presented from now on in the place of `replaced`."""
    before = tuple(dict.fromkeys((*entry.replaces, *(one.id for one in replaced))))
    return replace(
        entry, state=State.CURRENT, since=now, current_from=now, current_until=0.0, switch_at=0.0, replaces=before
    )


def deprecated(entry: Entry, now: float) -> Entry:
    """`entry`, not presented any more; when it was keeps the dates of the published table."""
    begun = entry.current_from or now
    return replace(entry, state=State.DEPRECATED, since=now, current_from=begun, current_until=now, switch_at=0.0)
