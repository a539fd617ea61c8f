"""The kinds of parts that an organization has, and which organization, part or connector a name means.

A name that means none is refused, with what there is instead.

The case of a part's or connector's name makes no difference; organizations have lower-case names alone. Used by
whatever looks at or changes something that has a name. Reads values alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.names import covers, resource_label
from gatepost.policy.connectors.oauth import OauthIssuer
from gatepost.policy.connectors.record_base import Record, keys
from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.values import Mode
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.access.principal import Principal


@dataclass(frozen=True, slots=True)
class PartKind:
    """A kind of part.

    key: of its list in the organization's table. identity: the field that tells one from another. label: in sentences.
    command: the words behind `gatepost` that are about it.
    """

    key: str
    identity: str
    label: str
    command: str
    model: type[Record]

    def of(self, organization: Organization) -> tuple[Any, ...]:
        """The organization's parts of this kind."""
        attribute = next(name for name, field in Organization.model_fields.items() if field.alias == self.key)
        result: tuple[Any, ...] = getattr(organization, attribute)
        return result

    def name(self, record: Record) -> str:
        """Its identity: the name or address that tells it from others."""
        return str(getattr(record, self.identity))

    def one_form(self, name: str) -> str:
        """A name as it is stored, in lower case: Bücher.example is xn--bcher-kva.example."""
        info = keys(self.model)[self.identity]
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
            return str(adapter.validate_python(name)).lower()
        except ValidationError:
            return name.lower()


DOMAIN = PartKind("accepted_domain", "name", "accepted domain", "domain", AcceptedDomain)
MAILBOX = PartKind("mailbox", "address", "mailbox", "mailbox", Mailbox)
INBOUND = PartKind("inbound_connector", "name", "inbound connector", "connector", InboundConnector)
OUTBOUND = PartKind("outbound_connector", "name", "outbound connector", "connector", OutboundConnector)
DKIM = PartKind("dkim_key", "name", "DKIM key", "dkim", DkimKey)
RULE = PartKind("mail_flow_rule", "name", "mail flow rule", "rule", MailFlowRule)
ISSUER = PartKind("oauth_issuer", "name", "OAuth issuer", "issuer", OauthIssuer)
HOOK = PartKind("content_hook", "name", "content hook", "hook", ContentHook)

KINDS = {kind.key: kind for kind in (DOMAIN, MAILBOX, INBOUND, OUTBOUND, RULE, ISSUER, HOOK, DKIM)}
"""All kinds by the key of their list."""


def status_of(record: InboundConnector | OutboundConnector | MailFlowRule | ContentHook | OauthIssuer) -> str:
    """Whether it has an effect on mail: "enabled", "rehearsal" or "disabled"."""
    if not record.enabled:
        return "disabled"
    return "rehearsal" if getattr(record, "mode", None) is Mode.REHEARSE else "enabled"


class Part(NamedTuple):
    """A part and whose it is."""

    kind: PartKind
    organization: Organization
    record: Any

    @property
    def name(self) -> str:
        """Its identity: the name or address that tells it from others."""
        return self.kind.name(self.record)

    @property
    def label(self) -> str:
        """As sentences name it: "mail flow rule 'secrets' of contoso"."""
        return f"{self.kind.label} {self.name!r} of {self.organization.name}"

    @property
    def place(self) -> int:
        """Where it stands in the list of its organization."""
        return next(
            place for place, candidate in enumerate(self.kind.of(self.organization)) if candidate is self.record
        )


_NAMED = 20


class Chosen(NamedTuple):
    """A connector and whose it is."""

    organization: Organization
    connector: InboundConnector | OutboundConnector

    @property
    def direction(self) -> str:
        """Either "inbound" or "outbound"."""
        return "inbound" if isinstance(self.connector, InboundConnector) else "outbound"

    @property
    def label(self) -> str:
        """As sentences name it: "outbound connector 'hq' of contoso"."""
        return resource_label(f"{self.direction}_connector", self.connector.name, self.organization.name)

    @property
    def part(self) -> Part:
        """The same as a part."""
        return Part(INBOUND if self.direction == "inbound" else OUTBOUND, self.organization, self.connector)


def visible(resources: Resources, principal: Principal) -> Resources:
    """The organizations that are there for who asks."""
    if principal.is_of_gateway:
        return resources
    return Resources(
        tuple(organization for organization in resources.organizations if principal.sees(organization.name))
    )


def choose_organization(resources: Resources, name: str) -> Organization:
    """The organization of that name. Raises Refusal (MISSING)."""
    result = resources.organization(name)
    if result is None:
        names = [organization.name for organization in resources.organizations]
        raise Refusal(RefusalKind.MISSING, f"there is no organization {name!r}; {instead(name, names)}")
    return result


def chosen_organizations(resources: Resources, name: str) -> Sequence[Organization]:
    """The organization of that name, or all where none is named. Raises Refusal (MISSING)."""
    return [choose_organization(resources, name)] if name else resources.organizations


def choose_part(resources: Resources, kind: PartKind, name: str, organization: str = "") -> Part:
    """The part that is meant. Raises Refusal: MISSING if there is none, INPUT if it could be several."""
    owners = chosen_organizations(resources, organization)
    wanted = kind.one_form(name)
    parts = [Part(kind, owner, record) for owner in owners for record in kind.of(owner)]
    matches = [part for part in parts if part.name.lower() == wanted]
    if not matches:
        there = instead(name, [part.name for part in parts])
        raise Refusal(RefusalKind.MISSING, f"there is no {kind.label} {name!r}; {there}")
    if len(matches) > 1:
        text = f"{one_of(name, [part.label for part in matches])}. Say which organization is meant"
        raise Refusal(RefusalKind.INPUT, text, options=["organization"])
    return matches[0]


def choose_connector(resources: Resources, name: str, organization: str = "", direction: str | None = None) -> Chosen:
    """The connector that is meant. Raises Refusal: MISSING if there is none, INPUT if it could be several."""
    owners = chosen_organizations(resources, organization)
    known = [
        chosen
        for owner in owners
        for connectors in (owner.inbound_connectors, owner.outbound_connectors)
        for connector in connectors
        if direction in {None, (chosen := Chosen(owner, connector)).direction}
    ]
    matches = [candidate for candidate in known if candidate.connector.name.lower() == name.lower()]
    if not matches:
        names = [candidate.connector.name for candidate in known]
        there = instead(name, names)
        label = {"inbound": INBOUND.label, "outbound": OUTBOUND.label}.get(direction or "", N_("connector"))
        raise Refusal(RefusalKind.MISSING, f"there is no {label} {name!r}; {there}")
    if len(matches) > 1:
        labels = [match.label for match in matches]
        text = f"{one_of(name, labels)}. Say which organization or direction is meant"
        raise Refusal(RefusalKind.INPUT, text, options=["organization", "direction"])
    return matches[0]


def owner_of(resources: Resources, organization: str, domain: str = "") -> Organization:
    """Owner of a new part: the organization named, or the one whose domain it is, or the only one there is.

    Raises Refusal: MISSING if that is not there, INPUT if it is not clear.
    """
    if organization:
        return choose_organization(resources, organization)
    known = resources.organizations
    if domain:
        matches = [(each, owner) for owner in known for each in owner.accepted_domains if covers(each.name, domain)]
        if matches:
            return max(matches, key=lambda pair: pair[0].verified)[1]
        text = f"no organization accepts {domain}; add it first: gatepost domain add {domain}"
        raise Refusal(RefusalKind.INPUT, text)
    if not known:
        raise Refusal(RefusalKind.INPUT, "there is no organization yet; make one first: gatepost organization add NAME")
    if len(known) > 1:
        names = ", ".join(owner.name for owner in known)
        raise Refusal(RefusalKind.INPUT, f"say whose it is; there are: {names}", options=["organization"])
    return known[0]


def instead(name: str, names: Iterable[str]) -> str:
    """Suggestions for a name that does not exist: all names, or the nearest of many."""
    known = list(dict.fromkeys(names))
    if len(known) > _NAMED:
        import difflib  # noqa: PLC0415 - for mistakes alone

        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        return f"the nearest of {len(known)}: {', '.join(map(repr, near)) or 'none'}"
    return f"there are: {', '.join(map(repr, known)) or 'none'}"


def one_of(name: str, labels: list[str]) -> str:
    """Candidates for an ambiguous name, at most as many as a person reads."""
    more = len(labels) - _NAMED
    return f"{name!r} could be each of: {'; '.join(labels[:_NAMED])}" + (f" and {more} more" if more > 0 else "")
