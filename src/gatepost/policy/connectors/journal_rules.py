"""The rule that journal mail stays here or leaves over verified TLS, by the resources as they are written.

Called by `policy.connectors.rules` with drafts, so that no interface saves another journal address, nor a connector
that would weaken the way to one. When the mail leaves, `policy.decisions.journaling` judges its way once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.directory import OutboundIndex
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.selection import connector_for
from gatepost.policy.connectors.values import Mode, SmtpDaneMode, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.reader import OrganizationDraft
    from gatepost.policy.connectors.records import Mailbox, Organization, OutboundConnector


_STEPS = 10  # mailboxes that forward one to the next
_INSTEAD = "or name a mailbox of the organization"
_SAME = "is the address of the journal itself; name another mailbox, or leave this out: the copies then wait"
_NO_EFFECT = "has no effect, as nothing is journaled; write journal_to here or in a mail flow rule, or leave this out"


class _Ways(msgspec.Struct, frozen=True):
    """What says where mail goes: mailboxes by address, connectors, accepted domains."""

    mailboxes: dict[str, Mailbox]
    connectors: OutboundIndex
    domains: tuple[str, ...]


def check_journal(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Yield an error for each address of a journal to which mail would not be sent over verified TLS."""
    places = [
        place for place in _addresses(draft) if place[1] not in place[0].bad and getattr(place[0].value, place[1])
    ]
    yield from _alternate(draft, {getattr(part.value, key).lower() for part, key in places if key == "journal_to"})
    if not places or any(part.bad for part in (*draft.outbound, *draft.mailboxes, *draft.domains)):
        return
    ways = _ways(draft)
    for part, key in places:
        if why := _unprotected(getattr(part.value, key), ways):
            yield part.error(key, why)


def _addresses(draft: OrganizationDraft) -> Iterator[tuple[Draft[Organization] | Draft[MailFlowRule], str]]:
    yield draft.own, "journal_to"
    yield draft.own, "journal_failures_to"
    for rule in draft.mail_flow:
        if rule.value.enabled:
            yield rule, "journal_to"


def _alternate(draft: OrganizationDraft, journals: set[str]) -> Iterator[FieldError]:
    failures = draft.own.value.journal_failures_to.lower()
    if not failures or "journal_failures_to" in draft.own.bad:
        return
    if failures in journals:
        yield draft.own.error("journal_failures_to", _SAME)
    elif not any(rule.value.journal_to for rule in draft.mail_flow) and not draft.own.value.journal_to:
        yield draft.own.error("journal_failures_to", _NO_EFFECT)


def _ways(draft: OrganizationDraft) -> _Ways:
    mailboxes = {
        address.lower(): mailbox.value
        for mailbox in draft.mailboxes
        for address in (mailbox.value.address, *mailbox.value.aliases)
    }
    connectors = OutboundIndex(connector.value for connector in draft.outbound)
    return _Ways(mailboxes, connectors, tuple(domain.value.name for domain in draft.domains))


def _unprotected(address: str, ways: _Ways) -> str:
    """Why mail for an address may leave without verified TLS, "" if it does not leave, or never without."""
    by = ""
    for _ in range(_STEPS):
        mailbox = ways.mailboxes.get(address.lower())
        if mailbox is None:
            break
        if not mailbox.forwarding_smtp_address:
            return ""
        by, address = (
            f"{mailbox.address} forwards to {mailbox.forwarding_smtp_address}: ",
            mailbox.forwarding_smtp_address,
        )
    domain = address.rpartition("@")[2]
    accepted = any(covers(pattern, domain) for pattern in ways.domains)
    connector = connector_for(ways.connectors, domain, accepted=accepted)
    if connector is None:
        return (
            f"{by}no outbound connector takes mail for {domain}, so journal mail would leave with opportunistic TLS; "
            f'write an outbound connector for {domain} with tls_settings = "domain-validation", {_INSTEAD}'
        )
    if proves_its_host(connector):
        return ""
    return (
        f"{by}outbound connector {connector.name!r} takes mail for {domain} and does not force verified TLS; write "
        f'tls_settings = "domain-validation" and mode = "enforce" there, {_INSTEAD}'
    )


def proves_its_host(connector: OutboundConnector) -> bool:
    """Whether all mail by a connector goes over TLS to hosts that prove their names."""
    if connector.mode is Mode.REHEARSE:
        return False
    if connector.tls_settings is TlsSettings.DOMAIN_VALIDATION or connector.smtp_dane_mode is SmtpDaneMode.MANDATORY:
        return True
    if connector.tls_settings is not TlsSettings.CERTIFICATE_VALIDATION or connector.use_mx_record:
        return False
    return not any(host.is_address for host in connector.smart_hosts)
