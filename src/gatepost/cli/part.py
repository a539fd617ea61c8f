"""The parts an organization is made of, by kind: what each is called, and the one that a name on a command line means.

Used by the commands that list, show and change single resources. Reads values; changes are made in `cli.edit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gatepost.cli.chosen import chosen_organizations, instead, one_of
from gatepost.cli.options import BAD_INPUT, fail
from gatepost.connectors.fields import keys
from gatepost.connectors.model import (
    AcceptedDomain,
    ContentHook,
    DkimKey,
    InboundConnector,
    Mailbox,
    MailFlowRule,
    OauthIssuer,
    Organization,
    OutboundConnector,
    Resources,
)

if TYPE_CHECKING:
    from gatepost.connectors.fields import Record

__all__ = [
    "DKIM", "DOMAIN", "HOOK", "INBOUND", "ISSUER", "MAILBOX", "OUTBOUND", "RULE", "Kind", "Part", "choose_part",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
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
        found: tuple[Any, ...] = getattr(organization, attribute)
        return found

    def name(self, record: Record) -> str:
        """What tells it from others."""
        return str(getattr(record, self.identity))

    def one_form(self, name: str) -> str:
        """A name as it is stored, in lower case: Bücher.example is xn--bcher-kva.example."""
        info = keys(self.model)[self.identity]
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
            return str(adapter.validate_python(name)).lower()
        except ValidationError:
            return name.lower()


DOMAIN = Kind("accepted_domain", "name", "accepted domain", "domain", AcceptedDomain)
MAILBOX = Kind("mailbox", "address", "mailbox", "mailbox", Mailbox)
INBOUND = Kind("inbound_connector", "name", "inbound connector", "connector", InboundConnector)
OUTBOUND = Kind("outbound_connector", "name", "outbound connector", "connector", OutboundConnector)
DKIM = Kind("dkim_key", "name", "DKIM key", "dkim", DkimKey)
RULE = Kind("mail_flow_rule", "name", "mail flow rule", "rule", MailFlowRule)
ISSUER = Kind("oauth_issuer", "name", "OAuth issuer", "issuer", OauthIssuer)
HOOK = Kind("content_hook", "name", "content hook", "hook", ContentHook)


class Part(NamedTuple):
    """A part and whose it is."""

    kind: Kind
    organization: Organization
    record: Any

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.kind.name(self.record)

    @property
    def label(self) -> str:
        """As sentences name it: "mail flow rule 'secrets' of contoso"."""
        return f"{self.kind.label} {self.name!r} of {self.organization.name}"

    @property
    def place(self) -> int:
        """Where it stands in the list of its organization."""
        return next(place for place, one in enumerate(self.kind.of(self.organization)) if one is self.record)


def choose_part(resources: Resources, kind: Kind, name: str, organization: str = "") -> Part:
    """The part that is meant, whatever the case of its name; ends the command if there is none, or several."""
    owners = chosen_organizations(resources, organization)
    wanted = kind.one_form(name)
    parts = [Part(kind, owner, record) for owner in owners for record in kind.of(owner)]
    found = [part for part in parts if part.name.lower() == wanted]
    if not found:
        fail(BAD_INPUT, f"there is no {kind.label} {name!r}; {instead(name, [part.name for part in parts])}")
    if len(found) > 1:
        fail(BAD_INPUT, f"{one_of(name, [one.label for one in found])}. Say --organization")
    return found[0]
