"""The parts an organization is made of, by kind: what each is called, and where it stands.

Used by whatever lists, shows and changes single resources. Which part a name means is in `choice`; changes are made in
`resources`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.oauth import OauthIssuer
from gatepost.policy.connectors.record_base import keys
from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
from gatepost.policy.connectors.values import Mode

if TYPE_CHECKING:
    from gatepost.policy.connectors.record_base import Record


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


def status_of(record: InboundConnector | OutboundConnector | MailFlowRule | ContentHook) -> str:
    """Whether it has an effect on mail: "enabled", "rehearsal" or "disabled"."""
    if not record.enabled:
        return "disabled"
    return "rehearsal" if record.mode is Mode.REHEARSE else "enabled"


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
