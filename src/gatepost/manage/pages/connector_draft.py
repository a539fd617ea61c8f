"""A connector that is being made: its scenario, the answers so far, what these make of it, and what is wrong. Pure.

The scenarios are those of exchange.md section 11.1, with whether an organization needs one for each.

The wizard carries all answers from step to step in the address of each page, so that going back, a reload and a link
lose nothing, and this process keeps nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.language import _
from gatepost.manage.pages.text_filters import sentence, texts_by_field
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, PartKind
from gatepost.policy.connectors import values
from gatepost.policy.connectors.errors import FieldError, ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import covers
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.resources import PrefixLimits


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
    connector_type: values.ConnectorType
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
        Scenario("to-partner", _HERE, _PARTNER, OUTBOUND, values.ConnectorType.PARTNER, _OUT),
        Scenario("from-partner", _PARTNER, _HERE, INBOUND, values.ConnectorType.PARTNER, _IN),
        Scenario("to-own", _HERE, _OWN, OUTBOUND, values.ConnectorType.ON_PREMISES, _OUT),
        Scenario("from-own", _OWN, _HERE, INBOUND, values.ConnectorType.ON_PREMISES, _IN),
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
    relayed = [
        domain.name for domain in organization.accepted_domains if domain.type is values.DomainType.INTERNAL_RELAY
    ]
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
        if connector.enabled and connector.connector_type is values.ConnectorType.ON_PREMISES
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


ANSWERS: Final = {
    "name": ("name", "comment"),
    "use": (
        "use", "recipient_domains", "sender_domains", "known_by", "tls_sender_certificate_name",
        "sender_ip_addresses", "cloud_services_mail_enabled",
    ),
    "routing": ("routing", "smart_hosts"),
    "security": (
        "tls_settings", "tls_domain", "trust_anchors", "smtp_dane_mode", "min_key_exchange", "require_tls",
        "restrict_domains_to_certificate", "restrict_domains_to_ip_addresses",
        "tls_sender_certificate_name", "sender_ip_addresses",
        "implicit_tls", "login", "username", "mechanism", "client_id", "token_url", "scope",
    ),
    "check": ("recipients",),
    "save": ("mode", "note"),
}  # fmt: skip
"""What each step asks, by the names of its fields. A scenario's steps ask those that fit it."""

_NEXT_HOPS: Final = frozenset({"implicit_tls", "login", "username", "mechanism", "client_id", "token_url", "scope"})
"""Questions about smart hosts alone."""
_ALL: Final = frozenset({"scenario", "organization", "done"}.union(*ANSWERS.values()))
_LONGEST: Final = 8000
_ON: Final = "on"
_MODES: Final[dict[str, dict[str, Any]]] = {
    "enforce": {},
    "rehearse": {"mode": "rehearse"},
    "disabled": {"enabled": False},
}


@dataclass(frozen=True, slots=True)
class ConnectorDraft:
    """answers: by field, as they were typed; a switch that is off is not there."""

    answers: Mapping[str, str]

    def __getitem__(self, key: str) -> str:
        return self.answers.get(key, "")

    @property
    def scenario(self) -> Scenario | None:
        """None before one was chosen."""
        return SCENARIOS.get(self["scenario"])

    @property
    def organization(self) -> str:
        """The organization it belongs to, "" before one was chosen."""
        return self["organization"]

    @property
    def done(self) -> tuple[str, ...]:
        """Steps that were answered."""
        return tuple(self["done"].split(","))

    def with_done(self, step: str) -> ConnectorDraft:
        """The same, with that step answered."""
        done = [text for text in self.done if text and text != step]
        return ConnectorDraft({**self.answers, "done": ",".join([*done, step])})

    def is_on(self, key: str) -> bool:
        """Whether a switch is on."""
        return self[key] == _ON

    @property
    def has_smart_hosts(self) -> bool:
        """Whether mail goes to smart hosts, as far as it was answered."""
        scenario = self.scenario
        return scenario is not None and (
            scenario.key == "to-own" or (scenario.key == "to-partner" and self["routing"] == "smart-hosts")
        )

    @property
    def logs_in(self) -> bool:
        """Whether the gateway logs in to the smart hosts."""
        return self.has_smart_hosts and bool(self["login"])

    def fields_of(self, step: str) -> tuple[str, ...]:
        """Fields that a step has a say in, for this scenario."""
        scenario = self.scenario
        if scenario is None or step not in scenario.steps:
            return ()
        partner = scenario.key == "from-partner"
        restricting = {"tls_sender_certificate_name", "sender_ip_addresses"}
        return tuple(
            name
            for name in ANSWERS.get(step, ())
            if (name not in restricting or (step == "security") == partner or scenario.direction == "outbound")
            and (name not in _NEXT_HOPS | {"trust_anchors"} or scenario.direction == "outbound")
        )


def draft_of(given: Mapping[str, str]) -> ConnectorDraft:
    """Read a draft from an address or a form; unknown fields are left out, and very long answers are cut."""
    return ConnectorDraft(
        {name: text[:_LONGEST].strip() for name, text in given.items() if name in _ALL and text.strip()}
    )


def entries(text: str) -> list[str]:
    """The entries of a list: one a line, or with commas or blanks between."""
    return list(dict.fromkeys(part for part in re.split(r"[\s,;]+", text) if part))


def table_of(draft: ConnectorDraft, mode: str = "enforce") -> dict[str, Any]:
    """The connector as a resource file has it, without its name. mode: "enforce", "rehearse" or "disabled"."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    table: dict[str, Any] = {"connector_type": str(scenario.connector_type)}
    table |= _MODES[mode]
    table |= _outbound(draft, scenario) if scenario.direction == "outbound" else _inbound(draft, scenario)
    if draft.is_on("min_key_exchange"):
        table["min_key_exchange"] = str(values.KeyExchange.POST_QUANTUM)
    if draft["comment"]:
        table["comment"] = draft["comment"]
    return {key: value for key, value in table.items() if value not in ("", [], None)}


def _outbound(draft: ConnectorDraft, scenario: Scenario) -> dict[str, Any]:
    own, use = scenario.key == "to-own", draft["use"]
    table: dict[str, Any] = {
        "is_transport_rule_scoped": use == "rules" or None,
        "all_accepted_domains": (own and use == "accepted") or None,
        "recipient_domains": entries(draft["recipient_domains"]) if use == "domains" else [],
    }
    if draft.has_smart_hosts:
        table["smart_hosts"] = entries(draft["smart_hosts"])
        table["implicit_tls"] = draft.is_on("implicit_tls") or None
    table["tls_settings"] = draft["tls_settings"]
    if draft["tls_settings"] == "domain-validation":
        table["tls_domain"] = draft["tls_domain"]
    if draft["tls_settings"] in {"certificate-validation", "domain-validation"}:
        table["trust_anchors"] = draft["trust_anchors"].replace("\r\n", "\n")
    if draft["smtp_dane_mode"] == "mandatory":
        table["smtp_dane_mode"] = "mandatory"
    if draft.logs_in:
        table["authentication"] = _login(draft)
    table["cloud_services_mail_enabled"] = (own and draft.is_on("cloud_services_mail_enabled")) or None
    return table


def _login(draft: ConnectorDraft) -> dict[str, str]:
    """The table `authentication`. The secret is no part of the draft, which is in addresses."""
    wanted = (
        ("username", "mechanism") if draft["login"] == "password" else ("username", "client_id", "token_url", "scope")
    )
    return {name: draft[name] for name in wanted if draft[name] not in {"", values.AuthenticationMechanism.AUTO}}


def _inbound(draft: ConnectorDraft, scenario: Scenario) -> dict[str, Any]:
    name, addresses = draft["tls_sender_certificate_name"], entries(draft["sender_ip_addresses"])
    if scenario.key == "from-own":
        by_certificate = draft["known_by"] != "address"
        return {
            "tls_sender_certificate_name": name if by_certificate else "",
            "sender_ip_addresses": [] if by_certificate else addresses,
            "require_tls": draft.is_on("require_tls") or None,
            "cloud_services_mail_enabled": (by_certificate and draft.is_on("cloud_services_mail_enabled")) or None,
        }
    certificate, ip = draft.is_on("restrict_domains_to_certificate"), draft.is_on("restrict_domains_to_ip_addresses")
    return {
        "sender_domains": entries(draft["sender_domains"]),
        "require_tls": None if draft.is_on("require_tls") else False,
        "restrict_domains_to_certificate": certificate or None,
        "tls_sender_certificate_name": name if certificate else "",
        "restrict_domains_to_ip_addresses": ip or None,
        "sender_ip_addresses": addresses if ip else [],
    }


def problems(draft: ConnectorDraft, step: str, owner: Organization, prefixes: PrefixLimits) -> dict[str, str]:
    """Errors among the answers of a step, by field: what parsing the connector alone says."""
    result = _missing(draft, step)
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    names = {scenario.kind.name(connector).lower() for connector in scenario.kind.of(owner)}
    if step == "name" and draft["name"].lower() in names:
        name = repr(draft["name"])
        result["name"] = (
            _("Inbound connector %(name)s already exists. Choose another name.", name=name)
            if scenario.direction == "inbound"
            else _("Outbound connector %(name)s already exists. Choose another name.", name=name)
        )
    if result:
        return result  # what the model says of a question that was left open would say it again, in other words
    alone: dict[str, Any] = {
        "accepted_domain": [{"name": domain.name, "type": str(domain.type)} for domain in owner.accepted_domains],
        scenario.kind.key: [{"name": draft["name"] or "draft"} | table_of(draft)],
    }
    try:
        parse({"organization": {owner.name: alone}}, prefixes=prefixes)
    except ResourceErrors as errors:
        fields = draft.fields_of(step)
        said: list[tuple[str, FieldError]] = []
        for error in errors.errors:
            place = re.search(r"\.(\w+)(?:\[\d+\])*$", error.path)
            key = _QUESTIONS.get(place[1], place[1]) if place else ""
            if key in fields:
                said.append((key, error))
        return texts_by_field(said, lambda _key, error: sentence(ours(error.message)))
    return {}


def _missing(draft: ConnectorDraft, step: str) -> dict[str, str]:
    """Questions of the step that were left open."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    step_fields, open_ = draft.fields_of(step), {}
    certificate = scenario.key == "from-own" and draft["known_by"] != "address"
    conditions = {
        "name": True,
        "use": scenario.direction == "outbound",
        "recipient_domains": scenario.direction == "outbound" and draft["use"] == "domains",
        "sender_domains": scenario.key == "from-partner",
        "routing": scenario.key == "to-partner",
        "smart_hosts": scenario.key == "to-own" or draft["routing"] == "smart-hosts",
        "tls_settings": scenario.direction == "outbound",
        "tls_sender_certificate_name": certificate or draft.is_on("restrict_domains_to_certificate"),
        "sender_ip_addresses": (scenario.key == "from-own" and not certificate)
        or draft.is_on("restrict_domains_to_ip_addresses"),
        "username": draft.logs_in,
        "client_id": draft.logs_in and draft["login"] == "token",
        "token_url": draft.logs_in and draft["login"] == "token",
    }
    for name in step_fields:
        if conditions.get(name, False) and not draft[name]:
            open_[name] = _(_OPEN[name])
    tls = draft["tls_settings"]
    if "login" in step_fields and draft.logs_in and tls and tls != values.TlsSettings.DOMAIN_VALIDATION:
        open_["login"] = _(_LOGIN_NEEDS)
    if "implicit_tls" in step_fields and draft.is_on("implicit_tls") and tls == values.TlsSettings.OPPORTUNISTIC:
        open_["implicit_tls"] = _("Port 465 is always TLS. Choose a TLS requirement above.")
    return open_


_LOGIN_NEEDS: Final = N_(
    "The gateway logs in only where the smart host proves its name. "
    'Choose "TLS with a certificate for this name" above.'
)
_QUESTIONS: Final = {"use_mx_record": "smart_hosts", "authentication": "login"}
"""Questions whose answer another field of the connector has."""
_OPEN: Final = {
    "name": N_("Enter a name."),
    "use": N_("Choose when to use the connector."),
    "recipient_domains": N_("Enter at least one domain."),
    "sender_domains": N_("Enter at least one domain."),
    "routing": N_("Choose how to route messages."),
    "smart_hosts": N_("Enter at least one host."),
    "tls_settings": N_("Choose a TLS requirement."),
    "tls_sender_certificate_name": N_("Enter the name that the certificate must have."),
    "sender_ip_addresses": N_("Enter at least one address."),
    "username": N_("Enter the user name."),
    "client_id": N_("Enter the client ID."),
    "token_url": N_("Enter the address of the token endpoint."),
}
