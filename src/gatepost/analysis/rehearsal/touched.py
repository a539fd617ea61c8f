"""The scope of a change of resources: connectors and rules by name, and the domains whose mail it may affect.

Called by `analysis.rehearsal.blast_radius`. Pure: two sets of resources in, names and patterns out. Domains are told
too widely rather than too narrowly: what is not among them is decided as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector
from gatepost.policy.connectors.values import ConnectorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.policy.connectors.resources import Resources


type _Part = InboundConnector | OutboundConnector | MailFlowRule | ContentHook

_NOTHING = Organization(name="nobody")
_WITHOUT_EFFECT = {"comment"}
_LABELS = {
    InboundConnector: "inbound connector",
    OutboundConnector: "outbound connector",
    MailFlowRule: "mail flow rule",
    ContentHook: "content hook",
}


@dataclass(slots=True)
class Touched:
    """parts: sign (+, -, ~), label, changed fields. senders, recipients: patterns of domains, or addresses.

    inbound, outbound: whether sessions, or routes and what they require, can be decided differently at all. content:
    whether other scanners are asked, or obeyed otherwise; what they would have said of past mail nobody knows.
    """

    parts: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    senders: set[str] = field(default_factory=set)
    recipients: set[str] = field(default_factory=set)
    inbound: bool = False
    outbound: bool = False
    content: bool = False


def touched(before: Resources, after: Resources) -> Touched:
    """Compare two sets of resources, as far as they affect decisions on mail."""
    result = Touched()
    old = {organization.name: organization for organization in before.organizations}
    new = {organization.name: organization for organization in after.organizations}
    for name in {**old, **new}:
        _organization(result, old.get(name), new.get(name))
    return result


def _organization(scope: Touched, old: Organization | None, new: Organization | None) -> None:
    if old == new:
        return
    owners = [organization for organization in (old, new) if organization]
    owner = owners[0].name
    _own_fields(scope, old, new)
    _domains(scope, old, new)
    was, now = old or _NOTHING, new or _NOTHING
    for inbound in _differing(scope, was.inbound_connectors, now.inbound_connectors, owner):
        scope.inbound = True
        _inbound_domains(scope, inbound, owners)
    for outbound in _differing(scope, was.outbound_connectors, now.outbound_connectors, owner):
        scope.outbound = True
        scope.recipients.update(outbound_domains(outbound, owners))
    for rule in _differing(scope, was.mail_flow_rules, now.mail_flow_rules, owner):
        scope.outbound = True
        scope.recipients.update(rule.recipients or ("*",))
        scope.senders.update(rule.senders or ("*",))
    for _ in _differing(scope, was.content_hooks, now.content_hooks, owner):
        scope.content = True


def _differing[P: (InboundConnector, OutboundConnector, MailFlowRule, ContentHook)](
    scope: Touched, before: tuple[P, ...], after: tuple[P, ...], owner: str
) -> Iterator[P]:
    """Each part that differs in more than what is for people, as it was and as it will be; noted in `found.parts`."""
    old, new = ({part.name: part for part in parts} for parts in (before, after))
    for name in {**old, **new}:
        was, now = old.get(name), new.get(name)
        if _changed(was, now):
            _note(scope, owner, was, now)
            yield from (part for part in (was, now) if part is not None)


def _changed(was: _Part | None, now: _Part | None) -> tuple[str, ...]:
    """Names of the fields that differ, but for those without effect; of a part that comes or goes, all."""
    part = was or now
    assert part is not None  # noqa: S101 - a part is in one of the two
    names = (name for name in type(part).model_fields if name not in _WITHOUT_EFFECT)
    return tuple(name for name in names if not was or not now or getattr(was, name) != getattr(now, name))


def _note(scope: Touched, owner: str, was: _Part | None, now: _Part | None) -> None:
    part = now or was
    assert part is not None  # noqa: S101 - a part is in one of the two
    label = f"{_LABELS[type(part)]} {part.name!r} of {owner}"
    sign = "+" if was is None else "-" if now is None else "~"
    scope.parts.append((sign, label, _changed(was, now) if sign == "~" else ()))


def _own_fields(scope: Touched, old: Organization | None, new: Organization | None) -> None:
    if old is None or new is None or (old.cleartext, old.home) != (new.cleartext, new.home):
        scope.recipients.add("*")
        scope.outbound = True
    if old is None or new is None or old.reject_direct_send != new.reject_direct_send:
        scope.senders.update(_accepted(organization for organization in (old, new) if organization))
        scope.inbound = True


def _domains(scope: Touched, old: Organization | None, new: Organization | None) -> None:
    """Accepted domains and mailboxes: who may send as one, and where mail to one goes."""
    before, after = ({domain.name: domain for domain in each.accepted_domains} if each else {} for each in (old, new))
    domains = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    boxes_before, boxes_after = (
        {mailbox.address: mailbox for mailbox in each.mailboxes} if each else {} for each in (old, new)
    )
    boxes = {name for name in {**boxes_before, **boxes_after} if boxes_before.get(name) != boxes_after.get(name)}
    # A domain's first mailbox, and its last, make a difference to every other address in it.
    first_or_last = _populated(boxes_before) ^ _populated(boxes_after)
    if domains or boxes:
        scope.inbound = scope.outbound = True
    if domains and (old or new):
        # Whose certificate name is an accepted domain is known by it whoever the sender is.
        owned = [
            connector
            for each in (old, new)
            if each
            for connector in each.inbound_connectors
            if connector.tls_sender_certificate_name
        ]
        scope.senders.update({"*"} if owned else domains)
    scope.recipients.update(domains | boxes | first_or_last)


def _populated(boxes: Iterable[str]) -> set[str]:
    return {address.rpartition("@")[2] for address in boxes}


def _inbound_domains(scope: Touched, part: InboundConnector, owners: list[Organization]) -> None:
    on_premises = part.connector_type is ConnectorType.ON_PREMISES
    if on_premises:
        # An organization's own server may send as anybody if its certificate tells whose it is.
        scope.senders.update({"*"} if part.tls_sender_certificate_name else _accepted(owners))
        scope.recipients.add("*")
        return
    scope.senders.update(part.sender_domains)
    scope.recipients.update(part.associated_accepted_domains or _accepted(owners))


def outbound_domains(part: OutboundConnector, owners: Sequence[Organization]) -> Iterator[str]:
    """Patterns of the domains whose mail it can have a say in. owners: its organization, before and after a change."""
    if part.route_all_messages_via_on_premises or part.is_transport_rule_scoped:
        yield "*"
        return
    yield from part.recipient_domains
    if part.all_accepted_domains:
        yield from _accepted(owners)
    if any(rule.route_via_connector.lower() == part.name.lower() for owner in owners for rule in owner.mail_flow_rules):
        yield "*"


def _accepted(owners: Iterable[Organization]) -> set[str]:
    return {domain.name for owner in owners for domain in owner.accepted_domains}
