"""The authorization servers whose access tokens log users of an organization in: `oauth_issuer` (RFC 7628).

A part of `policy.connectors.records`. What a token of one may do is in `policy.decisions.oauth`, its keys are found by
`net.lookups.issuer_keys`; nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatepost.policy.connectors import fields
from gatepost.policy.connectors.names import ENTRA, https_issuer, https_url
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration


class TokenAlgorithm(StrEnum):
    """A signature algorithm of tokens (RFC 7518 section 3.1, RFC 8037): only those with a public and a private key."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


def _https_or_none(value: str) -> str:
    return https_url(value) if value else value


Word = Annotated[fields.Text, Field(min_length=1, max_length=200)]


class OauthIssuer(Record):
    """An authorization server: users log in to the mailboxes of this organization, and of no other, with its tokens.

    Tokens are JWTs (RFC 9068), signed with a key that the server publishes. See docs/submission.md.
    """

    name: fields.Label = Field(description="A name that is unique among the OAuth issuers of the organization.")
    enabled: fields.Switch = Field(default=True, description="Users cannot log in with tokens of a disabled issuer.")
    issuer: Annotated[
        str,
        AfterValidator(https_issuer),
        Field(max_length=500),
        fields.Form("https address"),
        fields.Owned(lambda _: fields.Access.NETWORK),
    ] = Field(
        description='The exact value of the claim "iss" in its tokens, such as '
        '"https://login.microsoftonline.com/TENANT-ID/v2.0".'
    )
    audiences: Annotated[tuple[Word, ...], Field(min_length=1, max_length=20)] = Field(
        description='The claim "aud" of a token must contain one of these values. Do not use a value that other '
        "services use too: they could log in with tokens that users gave them."
    )
    jwks_url: Annotated[
        str,
        AfterValidator(_https_or_none),
        Field(max_length=1000),
        fields.Form("https address"),
        fields.Owned(lambda value: fields.Access.NETWORK if value else None),
    ] = Field(
        default="",
        description="Address of its public keys. Empty: the gateway finds it in the issuer's metadata, at "
        "ISSUER/.well-known/openid-configuration or as RFC 8414 says.",
    )
    username_claim: Word = Field(
        default="email",
        description="The claim with the user's mail address: the full address or alias of a mailbox. Choose a claim "
        'that users cannot change themselves, such as "upn" for Microsoft Entra. With "email", '
        "email_verified must not be false.",
    )
    required_scopes: Annotated[tuple[Word, ...], Field(max_length=20)] = Field(
        default=(),
        description='Scopes that every token must have, in "scope" or "scp". This excludes ID tokens, which have none.',
    )
    algorithms: Annotated[tuple[TokenAlgorithm, ...], Field(min_length=1)] = Field(
        default=tuple(TokenAlgorithm),
        description="Accepted signature algorithms. Algorithms with a shared secret are never accepted.",
    )
    leeway: Annotated[fields.Duration, fields.Range(0, 300, format_duration)] = Field(
        default=60, description="Accepted difference between the issuer's clock and the gateway's."
    )
    trust_anchors: fields.TrustAnchorsText = Field(
        default="",
        description='Roots for its HTTPS server: "system", certificates in PEM, or a file or directory. Only the '
        "gateway's owner can name a file or directory. Empty: the server's setting.",
    )
    comment: fields.Text = Field(default="", description="A note without effect.")


def configuration_urls(issuer: str) -> tuple[str, str]:
    """The URLs of an issuer's metadata: by OpenID Connect Discovery 1.0 section 4, and by RFC 8414 section 3.1."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        f"https://{parts.netloc}/.well-known/oauth-authorization-server{path}",
    )


def lint(issuer: OauthIssuer, label: str) -> Iterator[str]:
    """Warn of settings that are allowed but probably not meant."""
    if urlsplit(issuer.issuer).hostname in {ENTRA, "sts.windows.net"} and issuer.username_claim == "email":
        yield (
            f'{label}: in Microsoft Entra anyone, even a guest of the tenant, can set "email" to any address; write '
            'username_claim = "upn" and add that claim to the access token'
        )
    if not issuer.required_scopes:
        yield (
            f"{label}: without required_scopes any token for these audiences logs in, an ID token too; name the scope "
            "that mail programs ask for"
        )
