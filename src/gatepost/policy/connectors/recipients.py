"""Find the mailbox of an address: by its own address, an alias, or the part before a separator (RFC 5233).

Built and asked by `policy.connectors.directory`. Whether mail for it is forwarded is for `policy.decisions.forwarding`
to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.values import RecipientValidation
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.policy.connectors.records import Mailbox, Organization


class MailboxMatch(msgspec.Struct, frozen=True):
    """A mailbox as one recipient means it.

    by: which of its addresses that is. forward_path: what a server that knows only `mailbox.address` is to be told: the
    address as it came, or instead of an alias the mailbox's, with what stood behind the separator.
    """

    mailbox: Mailbox
    by: str
    forward_path: str

    @property
    def is_alias(self) -> bool:
        """Whether it was found by another address than its own."""
        return self.by != self.mailbox.address


class MailboxIndex:
    """All mailboxes of all organizations, as far as they count (`policy.connectors.verification`)."""

    __slots__ = ("_known", "_separators", "domains")

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self._known: dict[str, tuple[Mailbox, str]] = {}
        self._separators: dict[str, str] = {}
        for organization in organizations:
            for box in organization.mailboxes:
                for address in (box.address, *box.aliases):
                    key = _key(parse_address(address))
                    self._known[key] = box, address
                    if organization.subaddress_separator:
                        self._separators[key.rpartition("@")[2]] = organization.subaddress_separator
        self.domains = frozenset(key.rpartition("@")[2] for key in self._known)
        """Domains with at least one address here."""

    def find(self, address: str) -> MailboxMatch | None:
        """The mailbox of an address, whatever its case, its quoting, and the form of its domain.

        A whole address goes before one with something behind a separator, and a longer one before a shorter.
        """
        mailbox = self._known.get(address.lower())
        if mailbox is not None:
            return _match(mailbox, address, "")
        if not self._separators and '"' not in address and address.isascii():
            return None
        try:
            path = parse_address(address)
        except GrammarError:
            return None
        for key, detail in _readings(path, self._separators.get(path.domain, "")):
            if (mailbox := self._known.get(key)) is not None:
                return _match(mailbox, address, detail)
        return None

    def without_detail(self, address: str) -> str:
        """The one form of an address without what stands behind a separator, whether it has a mailbox or not.

        So it tells nobody which addresses have one. What is not an address stays, in lower case.
        """
        try:
            path = parse_address(address)
        except GrammarError:
            return address.lower()
        *_, (key, _) = _readings(path, self._separators.get(path.domain, ""))
        return key


class RecipientLists:
    """The recipients of relayed domains, as `recipients` of the accepted domains lists them."""

    __slots__ = ("_lists", "_separators")

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self._lists: dict[str, frozenset[str]] = {}
        self._separators: dict[str, str] = {}
        for organization in organizations:
            for domain in organization.accepted_domains:
                if domain.recipients:
                    self._lists[domain.name] = frozenset(map(recipient_key, domain.recipients))
                if domain.recipients or domain.recipient_validation is not RecipientValidation.NONE:
                    self._separators[domain.name] = organization.subaddress_separator

    def holds(self, domain: str, recipient: Path) -> bool:
        """Whether the list of an accepted domain has a recipient, whatever its case, with or without a detail."""
        listed = self._lists.get(domain, frozenset())
        return any(key in listed for key in self.keys(domain, recipient))

    def keys(self, domain: str, recipient: Path) -> tuple[str, ...]:
        """The addresses in lower case of which a source must know one: the recipient's, and those without a detail."""
        return tuple(key for key, _ in _readings(recipient, self._separators.get(domain, "")))


def recipient_key(address: str) -> str:
    """The one form by which addresses are the same. Raises GrammarError."""
    return _key(parse_address(address))


def _readings(path: Path, separator: str) -> Iterator[tuple[str, str]]:
    """Yield the addresses that one may mean: a key, and the part after it, separator included."""
    yield _key(path), ""
    end = path.local_part.rfind(separator) if separator else -1
    while end > 0:
        yield f"{path.local_part[:end]}@{path.domain}".lower(), path.local_part[end:]
        end = path.local_part.rfind(separator, 0, end)


def _key(path: Path) -> str:
    return f"{path.local_part}@{path.domain}".lower()


def _match(found: tuple[Mailbox, str], address: str, detail: str) -> MailboxMatch:
    box, by = found
    if by == box.address:
        return MailboxMatch(box, by, address)
    local_part, _, domain = box.address.rpartition("@")
    detailed = f"{local_part}{detail}@{domain}"
    try:
        parse_address(detailed)
    except GrammarError:  # quoted, or too long with it: the mailbox matters more than the detail
        return MailboxMatch(box, by, box.address)
    return MailboxMatch(box, by, detailed)
