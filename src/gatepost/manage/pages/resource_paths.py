"""Addresses of resources: where a page stands that shows, changes or lists one. Used by pages and templates. Pure.

Names may hold any printable sign, a slash too: they come last, and are escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from gatepost.manage.use_cases.name_lookup import Part, PartKind


FOLDERS: Final = {
    "accepted_domain": "domains",
    "mailbox": "mailboxes",
    "dkim_key": "dkim",
    "mail_flow_rule": "rules",
    "content_hook": "hooks",
    "oauth_issuer": "issuers",
}
"""The first step of the addresses of each kind that has pages of its own, by its key."""


def number_of(text: str) -> int | None:
    """A number that an address or a form names something by, None if nothing of ours can have it (SQLite: 2**63)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def connector_path(organization: str, direction: str, name: str) -> str:
    """The page of a connector. direction: "inbound" or "outbound"."""
    return f"/connectors/{quote(organization, safe='')}/{direction}/{quote(name, safe='')}"


def validate_path(organization: str, direction: str, name: str) -> str:
    """Where a form starts the validation of a connector."""
    return f"/connectors/validate/{quote(organization, safe='')}/{direction}/{quote(name, safe='')}"


def trust_path(organization: str, name: str) -> str:
    """The page on which the issuer that a validation of an outbound connector saw is compared and trusted."""
    return f"/connectors/trust/{quote(organization, safe='')}/{quote(name, safe='')}"


def list_path(kind: PartKind) -> str:
    """The list of a kind."""
    return f"/{FOLDERS.get(kind.key, 'connectors')}"


def named_path(kind: PartKind, organization: str, name: str) -> str:
    """The page that shows the part of that name."""
    if kind.command == "connector":
        return connector_path(organization, kind.key.partition("_")[0], name)
    return f"{list_path(kind)}/view/{quote(organization, safe='')}/{quote(name, safe='')}"


def part_path(part: Part) -> str:
    """The page that shows a part."""
    return named_path(part.kind, part.organization.name, part.name)


def edit_path(part: Part) -> str:
    """The page that changes a part."""
    owner, name = quote(part.organization.name, safe=""), quote(part.name, safe="")
    if part.kind.command == "connector":
        return f"/connectors/edit/{owner}/{part.kind.key.partition('_')[0]}/{name}"
    return f"{list_path(part.kind)}/edit/{owner}/{name}"


def trace_path(identity: str) -> str:
    """The page of a message or session in the trace."""
    return f"/trace/{quote(identity, safe='')}"


def version_path(version: int) -> str:
    """The page of what one version changed."""
    return f"/history/{version}"


def organization_path(name: str, step: str = "view") -> str:
    """The page of an organization; step "edit" is the form that changes it."""
    return f"/organizations/{step}/{quote(name, safe='')}"
