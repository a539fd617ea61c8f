"""The table `authentication` of an outbound connector: how the gateway logs in to its smart hosts (RFC 4954).

A part of `policy.connectors.records`. The password, or the client secret, is never part of a resource: it is sealed in
the gateway's store (`pki.certificates.connector_secrets`), or in a file that only the gateway's owner can name. Which
connectors may have one is in `policy.connectors.next_hop_rules`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Access, FilePath, Form, Owned, Text
from gatepost.policy.connectors.names import https_url
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.values import AuthenticationMechanism


def _token_url(value: str) -> str:
    return https_url(value) if value else value


class Authentication(Record):
    """The log-in to the smart hosts of a connector. The secret is not part of it: gatepost connector secret NAME."""

    mechanism: AuthenticationMechanism = Field(
        default=AuthenticationMechanism.AUTO,
        description="auto: the strongest that the smart host offers: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN; "
        "with token_url OAUTHBEARER, XOAUTH2. Name one if the smart host offers a mechanism that it does not have for "
        "this user.",
    )
    username: Annotated[Text, Field(max_length=255)] = Field(default="", description="The user name, often an address.")
    token_url: Annotated[
        str,
        AfterValidator(_token_url),
        Field(max_length=1000),
        Form("https address"),
        Owned(lambda value: Access.NETWORK if value else None),
    ] = Field(
        default="",
        description="Address of the authorization server's token endpoint. The gateway fetches access tokens there "
        "with client_id and the secret (OAuth client credentials, RFC 6749 section 4.4). Empty: log in with a "
        "password.",
    )
    client_id: Annotated[Text, Field(max_length=255)] = Field(
        default="", description="With token_url: the gateway's name at the authorization server."
    )
    scope: Text = Field(
        default="",
        description='With token_url: the scope to ask for, such as "https://outlook.office365.com/.default".',
    )
    secret_file: Annotated[
        FilePath,
        Owned(lambda value: Access.MACHINE if value else None, "store the secret sealed: gatepost connector secret"),
    ] = Field(
        default="",
        description="File with the password or client secret on its first line, mode 0600. Only the gateway's owner "
        "can name it. Empty: the secret is encrypted in the store.",
    )
