"""Combine the mail flow rules of all organizations that have a part in a message.

Asked by `policy.decisions.route` for each recipient. Pure. Rules of one organization are in
`policy.connectors.mail_flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.mail_flow import RuleSet
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand, Demand
from gatepost.policy.decisions.requirement import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.mail_flow import Content, MailFlow
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.decisions.parties import Parties


class Ruling(NamedTuple):
    """The combined actions of mail flow rules.

    via: name of the connector that `routed_by` sends the mail by, "" if none does. sender_via, sender_routed_by:
    likewise of the sender's own rules, where another organization chooses the route. required: the sources that require
    TLS. rehearsed: those in rehearsal that would. content: the demands on the message itself.
    """

    via: str
    routed_by: str
    required: tuple[Source, ...]
    rehearsed: tuple[Source, ...]
    reasons: tuple[str, ...]
    content: ContentDemand = NO_DEMAND
    sender_via: str = ""
    sender_routed_by: str = ""

    @property
    def acts(self) -> bool:
        """Whether it is more than a rehearsal."""
        return bool(self.via or self.required or self.sender_via)


class Rulings:
    """The rules of all organizations."""

    def __init__(self, organizations: Iterable[Organization]) -> None:
        sets = ((organization.name, RuleSet(organization)) for organization in organizations)
        self._rules = {name: rules for name, rules in sets if rules}
        self.asks_header = any(rules.header_names for rules in self._rules.values())

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def header_names(self, organizations: Iterable[str]) -> frozenset[str]:
        """The fields of a message, by name in lower case, that the rules of some organizations ask for."""
        name_sets = (self._rules[name].header_names for name in organizations if name in self._rules)
        return frozenset[str]().union(*name_sets)

    def ruling(self, parties: Parties, reverse_path: str, recipient: str, content: Content) -> Ruling | None:
        """Combine the rules of all organizations that take part; None if none matches."""
        ruling = Ruling("", "", (), (), ())
        for name in parties.rule_owners:
            if (rules := self._rules.get(name)) is not None:
                flow = rules.flow(reverse_path, recipient, content)
                # The organization whose mail it is need not be named: the record is its own.
                ruling = _joined(ruling, flow, name, parties)
        return ruling if ruling.reasons else None

    def content(self, organization: str, reverse_path: str, recipient: str, content: Content) -> ContentDemand:
        """The demands of the rules of the organization whose mail it is on the message itself."""
        rules = self._rules.get(organization)
        return NO_DEMAND if rules is None else _demand(rules.flow(reverse_path, recipient, content), "")


def _joined(known: Ruling, flow: MailFlow, name: str, parties: Parties) -> Ruling:
    other = name if parties.sender and name != parties.sender else ""
    made = known._replace(
        required=(*known.required, *(Source("rule", rule, other) for rule in flow.require_tls)),
        rehearsed=(*known.rehearsed, *(Source("rule", rule, other) for rule in flow.rehearsed_tls)),
        content=known.content.joined(_demand(flow, other)),
        reasons=(*known.reasons, *flow.reasons),
    )
    if flow.connector is None:
        return made
    if name == parties.router:
        return made._replace(via=flow.connector.name, routed_by=flow.routed_by)
    why = (
        f"connector {flow.connector.name!r} of {name} does not carry it, as {parties.owner} accepts the domain and "
        "decides where its mail goes; the connector's demands apply"
    )
    return made._replace(sender_via=flow.connector.name, sender_routed_by=flow.routed_by, reasons=(*made.reasons, why))


def _demand(flow: MailFlow, organization: str) -> ContentDemand:
    return ContentDemand(
        Demand.of("rule", *flow.encrypt, organization=organization),
        Demand.of("rule", *flow.sign, organization=organization),
    )
