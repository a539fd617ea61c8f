"""The context of a drill: the stored resources, cut down to one connector, and a message that must take it.

Pure; used by `analysis.checks.drill`. The connector is looked at as if it were in force: enabled, enforced, the only
one of its organization. What that leaves out of real mail's way is said in `DrillContext.notes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatepost.analysis.checks.attacks import Demand, demand_of
from gatepost.mail.model.message import Recipient
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.selection import elsewhere
from gatepost.policy.connectors.values import AddressFamily, Mode, SmtpDaneMode, TlsSettings
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import MxRoute, Route, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.records import Organization, OutboundConnector
    from gatepost.policy.decisions.requirement import Requirement


_ANY_DOMAIN: Final = "partner.invalid"  # for connectors that take every domain (RFC 6761 section 6.4)


class DrillImpossible(Exception):  # noqa: N818 - it names what was found, and is no error of the program
    """The drill cannot be held, or shows nothing; the text says why and what to do, for an administrator."""


@dataclass(frozen=True, slots=True)
class DrillContext:
    """directory: the cut-down resources. organization: whose mail it is; connector: as it is stored.

    sender, recipient: of the message. demand: what the connector promises, by its own fields. demands: the next hops
    that the route planner names, at least one, and what it demands of each; they differ in the names expected. names:
    what a good certificate must bear, at least one. notes: what an administrator must know to read the result.
    """

    directory: Directory
    organization: str
    connector: OutboundConnector
    sender: str
    recipient: str
    demand: Demand
    demands: tuple[tuple[str, Requirement], ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def requirement(self) -> Requirement:
        """The requirement on the first next hop; of the others it is the same, except for the names."""
        return self.demands[0][1]


def make_context(
    directory: Directory, organization: Organization, connector: OutboundConnector, *, profile: str, marker: str
) -> DrillContext:
    """profile: the server's own TLS profile. marker: goes into both addresses. Raises DrillImpossible."""
    if connector.smtp_dane_mode is SmtpDaneMode.MANDATORY and connector.tls_settings is TlsSettings.OPPORTUNISTIC:
        raise DrillImpossible(
            f"connector {connector.name!r} demands DANE and nothing else of TLS, and the drill plays without DNSSEC: "
            "it would show what never happens. See what the partner publishes with: gatepost connector validate"
        )
    rules, notes = _rules(organization, connector)
    played = connector.model_copy(
        update={
            "enabled": True,
            "mode": Mode.ENFORCE,
            "smtp_dane_mode": SmtpDaneMode.NONE,  # the drill has a DNS of its own, in which nothing is published
            # The adversary sits on loopback, whatever address the gateway would call from.
            "source_ipv4_address": "",
            "source_ipv6_address": "",
            "address_family": AddressFamily.ANY,
            "is_transport_rule_scoped": connector.is_transport_rule_scoped and bool(rules),
            "recipient_domains": connector.recipient_domains or _domains(connector),
        }
    )
    alone = organization.model_copy(
        update={"outbound_connectors": (played,), "mail_flow_rules": rules, "mailboxes": (), "inbound_connectors": ()}
    )
    context = Directory(Resources((alone,)), directory.version)
    sender = f"drill-{marker}@{_own_domain(organization)}"
    domain = _sample(played, organization)
    recipient = f"drill-{marker}@{domain}"
    route = _route(context, organization.name, sender, recipient, profile)
    hops = [(hop.host, hop.requirement) for hop in route.hops] if isinstance(route, SmartHosts) else []
    if isinstance(route, MxRoute):
        hops = [(route.domain, route.requirement)]
    return DrillContext(
        context,
        organization.name,
        connector,
        sender,
        recipient,
        demand_of(connector, organization, profile=profile, rule_requires_tls=any(rule.require_tls for rule in rules)),
        tuple(hops),
        tuple(dict.fromkeys(name for host, requirement in hops for name in _expected(host, requirement))),
        (*_states(connector), *filter(None, [elsewhere(directory, organization, connector, domain)]), *notes),
    )


def _route(directory: Directory, organization: str, sender: str, recipient: str, profile: str) -> SmartHosts | MxRoute:
    """The one way that the message takes, which must be by the connector."""
    planner = RoutePlanner(directory, profile)
    ((route, _),) = planner.routes(organization, [Recipient(recipient)], reverse_path=sender)
    if isinstance(route, SmartHosts | MxRoute) and route.connector is not None:
        return route
    raise DrillImpossible(f"mail to {recipient} would not take the connector: {_where(route)}")


def _where(route: Route) -> str:
    if isinstance(route, MxRoute):
        return "no connector matches it. A connector for all accepted domains needs an accepted domain"
    return getattr(route, "detail", "") or f"its route is {type(route).__name__}"


def _rules(organization: Organization, connector: OutboundConnector) -> tuple[tuple[MailFlowRule, ...], list[str]]:
    """The rule by which a rule-scoped connector is reached, without its conditions; a note for what is left out."""
    enabled = sorted(
        (flow_rule for flow_rule in organization.mail_flow_rules if flow_rule.enabled),
        key=lambda flow_rule: flow_rule.priority,
    )
    mine = [
        mail_flow_rule
        for mail_flow_rule in enabled
        if mail_flow_rule.route_via_connector.lower() == connector.name.lower()
    ]
    if connector.is_transport_rule_scoped and mine:
        # Of several the one that protects least: the connector is no better than what it does for that one's mail.
        weakest = min(
            mine, key=lambda mail_flow_rule: (mail_flow_rule.mode is Mode.REHEARSE, mail_flow_rule.require_tls)
        )
        rule = weakest.model_copy(
            update={
                "mode": Mode.ENFORCE,
                "senders": (),
                "except_senders": (),
                "recipients": (),
                "except_recipients": (),
                "header_name": "",
                "header_contains": (),
            }
        )
        asking = ", which requires TLS" if rule.require_tls else ""
        notes = [f"the message is sent by mail flow rule {rule.name!r}{asking}; its conditions count as met"]
        if weakest.mode is Mode.REHEARSE:
            notes.append(f"mail flow rule {rule.name!r} is in rehearsal: no real mail takes the connector by it yet")
        return (rule,), notes
    if connector.is_transport_rule_scoped:
        return (), ["no mail flow rule in force routes mail to this connector: no real mail takes it"]
    asking_too = [mail_flow_rule.name for mail_flow_rule in enabled if mail_flow_rule.require_tls]
    if asking_too:
        names = ", ".join(map(repr, asking_too))
        return (), [f"mail flow rules that require TLS ({names}) are left out: the drill shows the connector alone"]
    return (), []


def _states(connector: OutboundConnector) -> list[str]:
    """In what way real mail is not treated as the drill's message is."""
    notes = []
    if not connector.enabled:
        notes.append("the connector is disabled: no real mail takes it")
    if connector.mode is Mode.REHEARSE:
        notes.append("the connector is in rehearsal: its demands are only reported, REAL MAIL IS NOT PROTECTED YET")
    if connector.smtp_dane_mode is SmtpDaneMode.MANDATORY:
        notes.append('DANE is left out: smtp_dane_mode = "mandatory" protects from more than this shows')
    return notes


def _domains(connector: OutboundConnector) -> tuple[str, ...]:
    """For connectors that are reached by something else than a domain: any domain, so that the message finds them."""
    return () if connector.all_accepted_domains or connector.route_all_messages_via_on_premises else ("*",)


def _sample(connector: OutboundConnector, organization: Organization) -> str:
    """A domain that the connector takes in: an exact name if it has one."""
    patterns = connector.recipient_domains
    for pattern in patterns:
        if "*" not in pattern:
            return pattern
    for pattern in patterns:
        if pattern.startswith("*.") and len(pattern) < 240:
            return f"drill.{pattern[2:]}"
    if connector.all_accepted_domains and not patterns:
        return _own_domain(organization)
    return _ANY_DOMAIN


def _own_domain(organization: Organization) -> str:
    """The organization's first accepted domain, as an address can bear it."""
    names = [domain.name for domain in organization.accepted_domains]
    exact = [name for name in names if not name.startswith("*.")]
    return (exact or [f"drill.{name[2:]}" for name in names] or ["sender.invalid"])[0]


def _expected(host: str, requirement: Requirement) -> Sequence[str]:
    """The names that a good certificate of a next hop bears: all that are required, else the host's own."""
    expected = [name for group in getattr(requirement, "names", ()) for name in group] or [host]
    names: list[str] = []
    for name in expected:
        bare = name.removeprefix("[").removesuffix("]")
        bare = bare[5:] if bare[:5].lower() == "ipv6:" else bare
        names += [bare.removeprefix("*."), bare] if bare.startswith("*.") else [bare]
    return names
