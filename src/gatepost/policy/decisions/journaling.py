"""Decide which organizations journal a message, where their copies go, and what each may say of its recipients.

Called by `mail.inbound.journaling` before a message is accepted. Pure. Two organizations that have a part in a message
journal it each by their own setting (docs/decisions/0096): the sender's sees all recipients, as it named them; another
one sees its own recipients, and no others that the header does not name.

What a copy requires of its next hop is TLS, and proof that the host is the one that is meant;
`policy.decisions.published` joins it to all that is asked of the host otherwise. The connector was checked when it was
saved (`policy.connectors.journal_rules`); this holds whatever it says by the time the copy leaves. A copy for which no
host is fit waits: none of the shortfalls is for good.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.values import JournalDirection, JournalForm, RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Identity, Requirement, Shortfall, Source
from gatepost.protocols.tls.names import is_address_literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.policy.connectors.journal_index import JournalTarget, OrganizationJournal
    from gatepost.policy.connectors.mail_flow import Content


_SOURCE = Source("journal")
_STATUS = "4.7.10"
_TITLE = "Encryption needed (journal)"


def journal_demand(requirement: Requirement, host: str, domain: str, *, here: bool) -> Authenticated | Shortfall | None:
    """The requirement in addition to `requirement`; None if the copy does not leave this machine.

    A certificate name that the connector expects, TLSA records and MTA-STS policies are proof enough. Else the host
    bears its own name, which must then be known. domain: the one whose MX record names the host without proof, else "".
    """
    if here or host.startswith("/"):
        return None
    if isinstance(requirement, Authenticated) and (proofs := tuple(filter(_names_host, requirement.proofs))):
        return Authenticated((_SOURCE,), proofs, requirement.profile, revocation=RevocationCheck.NONE)
    if domain:
        return _unknown(
            host,
            f"the host proved to be that of {domain}",
            f"an MX record that neither DNSSEC nor MTA-STS proves, and no connector that proves {domain}",
        )
    if is_address_literal(host):
        return _unknown(host, "a host with a name to prove", f"{host}, an IP address, and no name in the connector")
    return Authenticated((_SOURCE,), (Identity((host,)),), requirement.profile, revocation=RevocationCheck.NONE)


def _names_host(proof: object) -> bool:
    return not isinstance(proof, Identity) or bool(proof.names)


def _unknown(host: str, expected: str, presented: str) -> Shortfall:
    detail = (
        f"Expected: {expected}. Presented: {presented}. Journal mail leaves only over verified TLS: write "
        f'tls_settings = "domain-validation" in the outbound connector that takes it to {host}. Set by journal.'
    )
    return Shortfall(None, _STATUS, "JournalNeedsVerifiedTls", detail, _TITLE)


_BETWEEN = re.compile(r"""[\s<>,;:"()]+""")
_FIELDS = ("to", "cc")


class JournaledRecipient(msgspec.Struct, frozen=True):
    """A forward-path of a message. organization: that accepts its domain, "" for none.

    forwarded: where its mailbox sends the message on, () if it does not.
    """

    address: str
    organization: str
    forwarded: tuple[str, ...] = ()


class JournaledMail(msgspec.Struct, frozen=True):
    """A message as far as its journaling depends on it. sender: the organization whose own mail it is, "" for none."""

    sender: str
    reverse_path: str
    recipients: tuple[JournaledRecipient, ...]


class JournalCopy(msgspec.Struct, frozen=True):
    """One copy of a message.

    rules: the mail flow rules that say so, () if only the organization's setting does. author: the From address of a
    report. lines: of a report, one for each recipient, as Exchange writes them: "To: ann@contoso.example". before: the
    journals that the message is itself a copy of, in lower case.
    """

    organization: str
    address: str
    form: JournalForm
    rules: tuple[str, ...]
    author: str
    lines: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """For the trace of the message, which only the organization itself sees."""
        record: dict[str, object] = {"to": self.address, "form": str(self.form)}
        return record | {"rules": list(self.rules)} if self.rules else record


def journal_sentences(copies: Sequence[JournalCopy]) -> tuple[str, ...]:
    """The copies of a message as reasons that `policy.decisions.explain` shows, each with its organization's name."""
    return tuple(
        f"{copy.organization} journals it to {copy.address} as a {copy.form}"
        + (f", by mail flow rule {', '.join(map(repr, copy.rules))}" if copy.rules else "")
        for copy in copies
    )


def concerned(
    journals: Mapping[str, OrganizationJournal], mail: JournaledMail
) -> Iterator[tuple[OrganizationJournal, Sequence[JournaledRecipient]]]:
    """The journals of the organizations that take part in a message, each with the recipients that it may name."""
    names = dict.fromkeys((mail.sender, *(recipient.organization for recipient in mail.recipients)))
    for journal in (journals[name] for name in names if name in journals):
        own = mail.sender == journal.name
        yield journal, [each for each in mail.recipients if own or each.organization == journal.name]


def header_names(journals: Mapping[str, OrganizationJournal], mail: JournaledMail) -> frozenset[str]:
    """The header fields, in lower case, that `journal_copies` needs to know; none if nobody journals the message."""
    names = [journal.header_names for journal, _ in concerned(journals, mail)]
    return frozenset(_FIELDS).union(*names) if names else frozenset()


def journal_copies(
    journals: Mapping[str, OrganizationJournal], mail: JournaledMail, content: Content
) -> tuple[JournalCopy, ...]:
    """The copies of a message: one for each organization and address, whatever its recipients and rules.

    A recipient that is the journal mailbox itself is no reason for a copy: it gets the message.
    """
    named: dict[str, frozenset[str]] | None = None
    copies = []
    for journal, recipients in concerned(journals, mail):
        targets = _targets(journal, mail, recipients, content)
        if targets and named is None:
            named = {field: _addresses(content.header.get(field, ())) for field in _FIELDS}
        for same in targets.values():
            report = any(target.form is JournalForm.REPORT for target in same)
            lines = tuple(_lines(journal.name, recipients, named or {})) if report else ()
            rules = tuple(dict.fromkeys(target.rule for target in same if target.rule))
            form = JournalForm.REPORT if report else JournalForm.COPY
            copies.append(JournalCopy(journal.name, same[0].address, form, rules, journal.author, lines))
    return tuple(copies)


def _targets(
    journal: OrganizationJournal, mail: JournaledMail, recipients: Sequence[JournaledRecipient], content: Content
) -> dict[str, list[JournalTarget]]:
    """What is journaled, by address in lower case."""
    targets: dict[str, list[JournalTarget]] = {}
    for recipient in recipients:
        direction = _direction(journal.name, mail.sender, recipient.organization)
        for target in journal.targets(direction, mail.reverse_path, recipient.address, content):
            same = targets.setdefault(target.address.lower(), [])
            if recipient.address.lower() != target.address.lower() and target not in same:
                same.append(target)
    return {address: same for address, same in targets.items() if same}


def _direction(organization: str, sender: str, owner: str) -> JournalDirection:
    """The direction of a message to a recipient for an organization that is the sender's, the recipient's or both."""
    if sender != organization:
        return JournalDirection.INCOMING
    return JournalDirection.INTERNAL if owner == organization else JournalDirection.OUTGOING


def _addresses(values: Sequence[str]) -> frozenset[str]:
    """Everything in the values of a field that has the form of an address, in lower case."""
    return frozenset(word for value in values for word in _BETWEEN.split(value.lower()) if "@" in word)


def _lines(
    organization: str, recipients: Sequence[JournaledRecipient], named: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    for recipient in recipients:
        address = recipient.address.lower()
        kind = next((field.capitalize() for field in _FIELDS if address in named.get(field, ())), "Bcc")
        yield f"{kind}: {recipient.address}"
        if recipient.organization == organization:
            yield from (f"{kind}: {target}, Forwarded: {recipient.address}" for target in recipient.forwarded)
