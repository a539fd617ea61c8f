"""Read and write resources: a document of organizations becomes values or a list of all its errors.

`parse` is the one way in and `dump` the one out, for the file, the command line, the API and the admin centre. The
fields are declared in `policy.connectors.records` and offered here too; rules across them are in
`policy.connectors.rules`; what a set of resources means for mail is in `policy.connectors.match`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatepost.policy.connectors import rules
from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.errors import Draft, FieldError, ResourceErrors, unknown_key
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.names import Claim
from gatepost.policy.connectors.oauth import OauthIssuer
from gatepost.policy.connectors.reader import PLACEHOLDERS, OrganizationDraft, read, tables
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
from gatepost.policy.connectors.resources import PrefixLimits, Resources

MOST_ENTRIES: Final = 10_000
"""Entries of a list of a connector, such as its domains, in what is to be stored."""


def parse(
    document: Mapping[str, Any], *, prefixes: PrefixLimits | None = None, most_entries: int | None = None
) -> Resources:
    """Read resources from a document as TOML or JSON gives it.

    document: {"organization": {NAME: {FIELD: VALUE}}} with the fields of docs/resources.md; None is not a value.
    prefixes: how wide a network in sender_ip_addresses may be; the default is /24 of IPv4 and /48 of IPv6.
    most_entries: of a list of a connector (`MOST_ENTRIES`); None for any number, as what is stored must be readable
    whatever an earlier version let in.

    Raises ResourceErrors with everything that is wrong: in single fields and across the fields of an organization. That
    two organizations accept the same is refused when it is saved (`policy.connectors.verification`): what is stored
    must be readable whatever an earlier version let in.
    """
    if not isinstance(document, Mapping):
        raise ResourceErrors([FieldError("document", "must be a table, which has one key: organization")])
    errors = [
        FieldError(str(key), unknown_key(str(key), ["organization"])) for key in document if key != "organization"
    ]
    named = document.get("organization", {})
    if not isinstance(named, Mapping):
        errors.append(FieldError("organization", "must be a table: write [organization.NAME] headings"))
        named = {}
    read_drafts = (_organization(str(name), table, errors, most_entries) for name, table in named.items())
    drafts = [draft for draft in read_drafts if draft is not None]
    for draft in drafts:
        errors.extend(rules.check_organization(draft, prefixes or PrefixLimits()))
    if errors:
        # A domain whose name cannot be read claims nothing.
        claims = [
            Claim(draft.own.value.name, domain.value.name, domain.value.verified and "name" not in domain.bad)
            for draft in drafts
            for domain in draft.domains
        ]
        raise ResourceErrors(errors, claims)
    return Resources(tuple(draft.assembled() for draft in drafts))


def dump(resources: Resources) -> dict[str, Any]:
    """Resources as a document of plain values, ready for TOML or JSON: what was written, in its one form.

    `parse(dump(resources))` equals `resources`. Fields that were left to their defaults are left out.
    """
    return {
        "organization": {
            organization.name: organization.model_dump(
                mode="json", by_alias=True, exclude_unset=True, exclude_none=True, exclude={"name"}
            )
            for organization in resources.organizations
        }
    }


_PARTS = (
    "accepted_domain", "mailbox", "inbound_connector", "outbound_connector", "mail_flow_rule", "oauth_issuer",
    "content_hook", "dkim_key",
)  # fmt: skip


def _organization(
    name: str, table: object, errors: list[FieldError], most_entries: int | None
) -> OrganizationDraft | None:
    path = f"organization.{name}"
    if not isinstance(table, Mapping):
        errors.append(FieldError(path, f"must be a table: write its keys under [{path}]"))
        return None
    if "name" in table:
        errors.append(FieldError(f"{path}.name", f"leave this key out: the name stands in the heading, [{path}]"))
    own = {key: value for key, value in table.items() if key not in _PARTS and key != "name"}

    def parts[M: Record](
        model: type[M], key: str, placeholders: Mapping[str, Any] = PLACEHOLDERS, most: int | None = None
    ) -> list[Draft[M]]:
        placed = tables(table.get(key, []), f"{path}.{key}", errors)
        drafts = (read(model, part, here, errors, placeholders, most) for here, part in placed)
        return [draft for draft in drafts if draft is not None]

    draft = read(Organization, {**own, "name": name}, path, errors)
    assert draft is not None  # noqa: S101 - the name, its only obligatory key, has a placeholder
    return OrganizationDraft(
        own=draft,
        domains=parts(AcceptedDomain, "accepted_domain"),
        mailboxes=parts(Mailbox, "mailbox"),
        inbound=parts(InboundConnector, "inbound_connector", most=most_entries),
        outbound=parts(OutboundConnector, "outbound_connector", most=most_entries),
        mail_flow=parts(MailFlowRule, "mail_flow_rule"),
        oauth=parts(OauthIssuer, "oauth_issuer"),
        hooks=parts(ContentHook, "content_hook"),
        dkim=parts(DkimKey, "dkim_key", placeholders={}),
    )
