"""The four scenarios of a connector (exchange.md section 11.1), and whether an organization needs one for each. Pure.

Used by the wizard: from a scenario follow its steps, the questions of each, and what their answers make of a connector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.language import _
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.values import ConnectorType, DomainType
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.name_lookup import PartKind
    from gatepost.policy.connectors.records import Organization


_HERE: Final = N_("This gateway")
_OWN: Final = N_("Your organization's email server")
_PARTNER: Final = N_("Partner organization")


class Need(NamedTuple):
    """level: "needed", "optional" or "not needed". why: in a sentence or two."""

    level: str
    why: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Mail from somebody to somebody, one of whom is this gateway. steps: keys, in their order."""

    key: str
    sender: str
    receiver: str
    kind: PartKind
    connector_type: ConnectorType
    steps: tuple[str, ...]

    @property
    def direction(self) -> str:
        """Either "inbound" or "outbound"."""
        return self.kind.key.partition("_")[0]

    @property
    def title(self) -> str:
        """From and to."""
        return f"{_(self.sender)} → {_(self.receiver)}"


_IN: Final = ("scenario", "name", "use", "security", "check", "save")
_OUT: Final = ("scenario", "name", "use", "routing", "security", "check", "save")

SCENARIOS: Final = {
    scenario.key: scenario
    for scenario in (
        Scenario("to-partner", _HERE, _PARTNER, OUTBOUND, ConnectorType.PARTNER, _OUT),
        Scenario("from-partner", _PARTNER, _HERE, INBOUND, ConnectorType.PARTNER, _IN),
        Scenario("to-own", _HERE, _OWN, OUTBOUND, ConnectorType.ON_PREMISES, _OUT),
        Scenario("from-own", _OWN, _HERE, INBOUND, ConnectorType.ON_PREMISES, _IN),
    )
}
"""By their key; Exchange's four combinations."""


_OPTIONAL: Final = {
    "to-partner": N_(
        "Without a connector, the gateway routes by MX records and uses TLS, DANE and MTA-STS wherever the partner "
        "supports them. Add a connector to require TLS, to require a certain certificate name, or to route through "
        "smart hosts."
    ),
    "from-partner": N_(
        "Without a connector, partners can send you mail, with TLS if they start it. Add a connector to refuse "
        "mail from a partner's domain without TLS, without the partner's certificate, or from other IP addresses."
    ),
}


def need(scenario: Scenario, organization: Organization) -> Need:
    """Whether the organization, as it is, needs a connector for that."""
    if why := _OPTIONAL.get(scenario.key):
        return Need("optional", _(why))
    return _to_own(organization) if scenario.key == "to-own" else _from_own(organization)


def _to_own(organization: Organization) -> Need:
    relayed = [domain.name for domain in organization.accepted_domains if domain.type is DomainType.INTERNAL_RELAY]
    if not relayed:
        return Need(
            "not needed",
            _(
                "All accepted domains are authoritative: this gateway has their mailboxes. Add a connector to send all "
                "mail through your own servers first, or to use it in a mail flow rule."
            ),
        )
    without = [name for name in relayed if not _is_routed(organization, name)]
    if without:
        return Need(
            "needed",
            _(
                "Recipients of %(some)s may have mailboxes on your own servers (internal relay), but no connector "
                "leads there. Their mail would follow the MX records, which may lead back to this gateway.",
                some=_some(without),
            ),
        )
    return Need(
        "optional", _("A connector already routes %(some)s. Add another one for other domains.", some=_some(relayed))
    )


def _is_routed(organization: Organization, name: str) -> bool:
    domain = name.removeprefix("*.")
    return any(
        connector.enabled
        and (
            connector.all_accepted_domains
            or connector.route_all_messages_via_on_premises
            or any(covers(pattern, domain) for pattern in connector.recipient_domains)
        )
        for connector in organization.outbound_connectors
    )


def _from_own(organization: Organization) -> Need:
    known = [
        connector.name
        for connector in organization.inbound_connectors
        if connector.enabled and connector.connector_type is ConnectorType.ON_PREMISES
    ]
    if known:
        return Need(
            "optional",
            _(
                "Connectors that already identify your servers: %(some)s. Add a connector for other servers.",
                some=_some(known),
            ),
        )
    return Need(
        "needed",
        _(
            "Without a connector, the gateway accepts mail from your own servers for your accepted domains only, and "
            "relays nothing to other domains. Not needed if your servers do not send through this gateway."
        ),
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (_(" and %(more)s more", more=more) if more > 0 else "")
