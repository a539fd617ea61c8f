"""The settings of OpenID Connect login to the admin centre: the table `[oidc]`.

A part of `settings.model`, read with it; used by `net.lookups.openid` and `manage.use_cases.issuer_login`. Whom the
gateway itself knows is with its accounts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Duration, FilePath, Form, Range, Record, Switch, Text
from gatepost.policy.connectors.oauth import https_issuer
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.references import secret_reference


class GroupRole(StrEnum):
    """The role in the admin centre that a group gives."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class OidcGroup(Record):
    """The role of a group's members. For members of several groups, the first one in the file counts."""

    name: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        description="The group's name as in the claim. Entra ID uses the group's object ID."
    )
    role: GroupRole = Field(description="Role of the group's members.")
    organizations: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = Field(
        default=(), description="Organizations that they can see. Empty: the whole gateway."
    )


class Oidc(Record):
    """Log-in to the admin centre by OpenID Connect, off unless issuer is set (docs/admin-centre.md)."""

    issuer: Annotated[str, AfterValidator(lambda text: https_issuer(text) if text else ""), Form("https address")] = (
        Field(
            default="",
            description='The exact issuer as in its tokens, such as "https://login.example/realms/staff".',
        )
    )
    client_id: Text = Field(default="", max_length=200, description="The gateway's client ID at the issuer.")
    client_secret: Annotated[
        str, AfterValidator(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')
    ] = Field(default="", description="The client secret. Empty: a public client, which PKCE protects.")
    scopes: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = Field(
        default=("openid", "profile"), description="Scopes to request; some issuers send groups only on request."
    )
    name_claim: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        default="preferred_username", description="The claim that becomes the user's name at the first log-in."
    )
    groups_claim: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        default="groups", description="The claim with the user's groups, a list of texts."
    )
    groups: tuple[OidcGroup, ...] = Field(default=(), alias="group", description="[[oidc.group]]")
    private_issuer: Switch = Field(
        default=False, description="Allow an issuer at a private address, such as your own Keycloak."
    )
    trust_anchors: FilePath = Field(
        default="", description="PEM file with the roots for the issuer's certificate. Empty: tls.trust_anchors."
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = Field(
        default=10, description="Time limit for all requests to the issuer during a log-in."
    )
