"""The settings of OpenID Connect login to the admin centre: the table `[oidc]`.

A part of `settings.model`, read with it; used by `net.lookups.openid` and `manage.access.claims_mapping`. Whom the
gateway itself knows is in `access.db`.
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
    """A group of users and its role. If a user is in several groups, the first in the settings counts."""

    name: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        description="As the claim writes it; Entra ID writes the object id of the group."
    )
    role: GroupRole = Field(description="Their role.")
    organizations: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = Field(
        default=(), description="Those that they see. Empty: the whole gateway."
    )


class Oidc(Record):
    """Log-in to the admin centre by OpenID Connect, off unless issuer is written (docs/admin-centre.md)."""

    issuer: Annotated[str, AfterValidator(lambda text: https_issuer(text) if text else ""), Form("https address")] = (
        Field(
            default="",
            description='The issuer, to the letter as its tokens say it: "https://login.example/realms/staff".',
        )
    )
    client_id: Text = Field(default="", max_length=200, description="What the issuer calls this gateway.")
    client_secret: Annotated[
        str, AfterValidator(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')
    ] = Field(default="", description="The secret that goes with it. Empty: a public client, which PKCE protects.")
    scopes: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = Field(
        default=("openid", "profile"), description="What is asked for; some issuers tell groups only if asked."
    )
    name_claim: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        default="preferred_username", description="The claim that becomes the user's name at the first log-in."
    )
    groups_claim: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        default="groups", description="The claim with the person's groups, a list of texts."
    )
    groups: tuple[OidcGroup, ...] = Field(default=(), alias="group", description="[[oidc.group]]")
    private_issuer: Switch = Field(
        default=False, description="Whether the issuer is at a private address, such as a Keycloak of your own."
    )
    trust_anchors: FilePath = Field(
        default="", description="File with the authority of the issuer's certificate, PEM. Empty: tls.trust_anchors."
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = Field(
        default=10, description="How long the issuer gets for all that is asked of it at a log-in."
    )
