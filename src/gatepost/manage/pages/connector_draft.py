"""A connector that is being made: what was answered so far, what that makes of it, and what is missing or wrong. Pure.

The wizard carries all answers from step to step in the address of each page, so that going back, a reload and a link
lose nothing, and this process keeps nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.language import _
from gatepost.manage.pages.scenarios import SCENARIOS
from gatepost.manage.pages.text_filters import sentence
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import AuthenticationMechanism, KeyExchange, TlsSettings
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.pages.scenarios import Scenario
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.resources import PrefixLimits


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
        table["min_key_exchange"] = str(KeyExchange.POST_QUANTUM)
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
    return {name: draft[name] for name in wanted if draft[name] not in {"", AuthenticationMechanism.AUTO}}


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
        for error in errors.errors:
            place = re.search(r"\.(\w+)(?:\[\d+\])*$", error.path)
            key = _QUESTIONS.get(place[1], place[1]) if place else ""
            if key in fields:
                result.setdefault(key, sentence(ours(error.message)))
    return result


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
    if "login" in step_fields and draft.logs_in and tls and tls != TlsSettings.DOMAIN_VALIDATION:
        open_["login"] = _(_LOGIN_NEEDS)
    if "implicit_tls" in step_fields and draft.is_on("implicit_tls") and tls == TlsSettings.OPPORTUNISTIC:
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
