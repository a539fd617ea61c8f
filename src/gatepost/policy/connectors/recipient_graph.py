"""The table `recipient_graph` of an accepted domain: Microsoft Graph, which knows the recipients of Exchange Online.

A part of `policy.connectors.accepted_domain`. The client secret is never part of a resource: it is sealed in the
gateway's store (`pki.certificates.directory_secrets`), or in a file. Tenants name one of Microsoft's clouds; any other
address is the gateway owner's alone, since the gateway connects to it and shows it a token.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Access, FilePath, Form, Owned, Text
from gatepost.policy.connectors.names import https_url
from gatepost.policy.connectors.record_base import Record

GLOBAL_CLOUD: Final = "https://graph.microsoft.com"
CLOUDS: Final = {
    GLOBAL_CLOUD: "https://login.microsoftonline.com",
    "https://graph.microsoft.us": "https://login.microsoftonline.us",
    "https://dod-graph.microsoft.us": "https://login.microsoftonline.us",
    "https://microsoftgraph.chinacloudapi.cn": "https://login.chinacloudapi.cn",
}
"""Microsoft's addresses of Graph, each with the one that issues tokens (learn.microsoft.com/graph/deployments)."""

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)
_OF_NO_TENANT: Final = frozenset({"common", "organizations", "consumers"})
_MICROSOFTS: Final = frozenset(CLOUDS) | frozenset(CLOUDS.values())


def _tenant(value: str) -> str:
    if value and (not _TENANT.fullmatch(value) or value.lower() in _OF_NO_TENANT):
        raise ValueError(
            f"{value!r} is not a tenant: write the directory (tenant) ID of the app registration, or a domain"
        )
    return value


def _address(value: str) -> str:
    if not value:
        return value
    address = https_url(value).rstrip("/").lower()
    if "?" in address or address.count("/") > 2:
        raise ValueError(f"{value!r} has more than a host: the gateway adds the path; write https://HOST")
    return address


def _of_the_owner(value: str) -> Access | None:
    return Access.MACHINE if value and value not in _MICROSOFTS else None


class RecipientGraph(Record):
    """Microsoft Graph, asked with the permissions of an app registration whether a recipient exists."""

    tenant_id: Annotated[str, AfterValidator(_tenant), Form("tenant ID")] = Field(
        default="", description="ID of the Microsoft Entra tenant with the app registration, or one of its domains."
    )
    client_id: Annotated[Text, Field(max_length=255)] = Field(
        default="",
        description="Application (client) ID. The app needs the application permissions User.Read.All and "
        "GroupMember.Read.All, with an administrator's consent.",
    )
    secret_file: Annotated[
        FilePath,
        Owned(lambda value: Access.MACHINE if value else None, "store the secret sealed: gatepost domain password"),
    ] = Field(
        default="",
        description="File with the client secret on its first line, mode 0600. Only the gateway's owner can name it. "
        "Empty: the secret is encrypted in the store (`gatepost domain password NAME`).",
    )
    url: Annotated[
        str,
        AfterValidator(_address),
        Field(min_length=1, max_length=300),
        Form("https address"),
        Owned(_of_the_owner, "write the address of one of Microsoft's clouds"),
    ] = Field(
        default=GLOBAL_CLOUD,
        description="Address of Microsoft Graph. National clouds: https://graph.microsoft.us (US Government), "
        "https://dod-graph.microsoft.us (DoD), https://microsoftgraph.chinacloudapi.cn (21Vianet). Only the gateway's "
        "owner can name another one.",
    )
    login_url: Annotated[
        str,
        AfterValidator(_address),
        Field(max_length=300),
        Form("https address"),
        Owned(_of_the_owner, "leave it out"),
    ] = Field(
        default="",
        description="Address of the server that issues tokens. Empty: the one of Microsoft's cloud in url. Only the "
        "gateway's owner can name another one.",
    )

    @property
    def token_url(self) -> str:
        """The token endpoint of the tenant."""
        return f"{self.login_url or CLOUDS.get(self.url, '')}/{self.tenant_id}/oauth2/v2.0/token"

    @property
    def scope(self) -> str:
        """The scope of tokens: all permissions that the app was given."""
        return f"{self.url}/.default"

    @property
    def is_microsofts(self) -> bool:
        """Whether no address was named that only the gateway's owner may name."""
        return self.url in CLOUDS and self.login_url in {"", *CLOUDS.values()}
