"""Find on-premises connectors by a client's address, and remember whose they are: thousands may hold one address.

Built by `policy.connectors.directory`, read by `policy.connectors.match`. Each MAIL of a client asks for the same: what
was found for an address is put in order once, and who goes first for a domain is found once. Any thread may ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from gatepost.newest import Newest
from gatepost.policy.connectors.values import AddressSenders, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.policy.connectors.records import InboundConnector, Organization


_KEPT: Final = 64  # sets of networks whose connectors are kept
_DOMAINS: Final = 1000  # for which it is kept who goes first at one address


class _Entry(Protocol):
    """An inbound connector as a directory has it: see `InboundEntry`."""

    @property
    def organization(self) -> Organization: ...

    @property
    def connector(self) -> InboundConnector: ...

    @property
    def networks(self) -> tuple[tuple[int, int, int], ...]: ...

    def associated(self, domain: str) -> bool: ...


type First[E: _Entry] = tuple[E, E]
"""The connector that goes first, and the first that is in force: the same one where none is."""


class AddressHolders[E: _Entry]:
    """The on-premises connectors that hold one address, each once.

    entries: the lowest priority number first, then the narrowest network, then the first by name. claims: the same as
    `Attribution.claims` has them. organizations: names of their owners.
    """

    __slots__ = ("_alone", "_by_organization", "_first", "claims", "entries", "organizations")

    def __init__(self, found: Iterable[tuple[int, E]]) -> None:
        """found: each with the bits behind the prefix of its network."""
        self.entries: tuple[E, ...] = tuple(dict.fromkeys(entry for _, entry in sorted(found, key=_order)))
        self.claims = tuple(("address", entry) for entry in self.entries)
        self._by_organization: dict[str, list[E]] = {}
        for entry in self.entries:
            self._by_organization.setdefault(entry.organization.name, []).append(entry)
        self.organizations = self._by_organization.keys()
        self._first: dict[tuple[str, str], First[E] | None] = {}
        self._alone: dict[bool, First[E] | None] = {}

    def first(self, organization: str, domain: str) -> First[E] | None:
        """Return who goes first of an organization's connectors for a domain ("" for none); None without any."""
        key = organization, domain
        try:
            return self._first[key]
        except KeyError:
            entries = [entry for entry in self._by_organization.get(organization, ()) if entry.associated(domain)]
            first = _first_of(entries)
        if len(self._first) >= _DOMAINS:
            self._first.clear()
        self._first[key] = first
        return first

    def first_by_address_alone(self, *, null: bool) -> First[E] | None:
        """Return who goes first of those to whom the address is enough (`senders_by_address`); None without any.

        null: for the null reverse-path, else for one of nobody's domain.
        """
        if null not in self._alone:  # at most two, never removed
            enough = {AddressSenders.ANY, AddressSenders.NULL} if null else {AddressSenders.ANY}
            self._alone[null] = _first_of(
                [entry for entry in self.entries if entry.connector.senders_by_address in enough]
            )
        return self._alone[null]


def _first_of[E: _Entry](entries: Sequence[E]) -> First[E] | None:
    if not entries:
        return None
    return entries[0], next((entry for entry in entries if entry.connector.mode is Mode.ENFORCE), entries[0])


class AddressIndex[E: _Entry]:
    """All on-premises connectors of a directory by the networks that they hold."""

    __slots__ = ("_holders", "_networks")

    def __init__(self) -> None:
        self._networks: dict[tuple[int, int], dict[int, list[E]]] = {}
        self._holders: Newest[tuple[tuple[int, int], ...], AddressHolders[E]] = Newest(_KEPT)

    def add(self, entry: E) -> None:
        """Take in a connector, before the first question."""
        for version, shift, prefix in entry.networks:
            self._networks.setdefault((version, shift), {}).setdefault(prefix, []).append(entry)

    def find(self, address: tuple[int, int] | None) -> AddressHolders[E]:
        """The connectors that hold an address (`address_key`); those at the same networks are kept."""
        if address is None:
            return NOBODY
        version, number = address
        networks = tuple(
            (shift, number >> shift)
            for (network_version, shift), by_prefix in self._networks.items()
            if network_version == version and number >> shift in by_prefix
        )
        if not networks:
            return NOBODY
        key = ((version, 0), *networks)
        if (holders := self._holders.get(key)) is None:
            holders = AddressHolders(
                (shift, entry) for shift, prefix in networks for entry in self._networks[version, shift][prefix]
            )
            self._holders.keep(key, holders)
        return holders


def _order(candidate: tuple[int, _Entry]) -> tuple[int, int, str]:
    shift, entry = candidate
    return entry.connector.priority, shift, entry.connector.name


NOBODY: Final[AddressHolders[Any]] = AddressHolders(())
"""No connector holds the address."""
