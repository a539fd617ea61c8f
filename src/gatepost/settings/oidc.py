"""The settings of OpenID Connect login to the admin centre: the table `[oidc]`.

A part of `settings.model`, read with it; used by `net.lookups.openid` and `manage.use_cases.issuer_login`. Whom the
gateway itself knows is with its accounts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from gatepost.policy.connectors.fields import Duration, FilePath, Form, Length, Range, Switch, Text
from gatepost.policy.connectors.names import https_issuer
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.references import secret_reference
from gatepost.settings.section import Checked, Section, setting


def _issuer(value: str) -> str:
    return https_issuer(value) if value else ""


class GroupRole(StrEnum):
    """The role in the admin centre that a group gives."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class OidcGroup(Section):
    """The role of a group's members. For members of several groups, the first one in the file counts."""

    name: Annotated[Text, Length(1, 200)] = setting(
        description="The group's name as in the claim. Entra ID uses the group's object ID."
    )
    role: GroupRole = setting(description="Role of the group's members.")
    organizations: tuple[Annotated[Text, Length(1, 200)], ...] = setting(
        default=(), description="Organizations that they can see. Empty: the whole gateway."
    )


class Oidc(Section):
    """Log-in to the admin centre by OpenID Connect, off unless issuer is set (docs/admin-centre.md)."""

    issuer: Annotated[str, Checked(_issuer), Form("https address")] = setting(
        default="",
        description='The exact issuer as in its tokens, such as "https://login.example/realms/staff".',
    )
    client_id: Annotated[Text, Length(most=200)] = setting(
        default="", description="The gateway's client ID at the issuer."
    )
    client_secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(default="", description="The client secret. Empty: a public client, which PKCE protects.")
    )
    scopes: tuple[Annotated[Text, Length(1, 200)], ...] = setting(
        default=("openid", "profile"), description="Scopes to request; some issuers send groups only on request."
    )
    name_claim: Annotated[Text, Length(1, 200)] = setting(
        default="preferred_username", description="The claim that becomes the user's name at the first log-in."
    )
    groups_claim: Annotated[Text, Length(1, 200)] = setting(
        default="groups", description="The claim with the user's groups, a list of texts."
    )
    groups: tuple[OidcGroup, ...] = setting(default=(), alias="group", description="[[oidc.group]]")
    private_issuer: Switch = setting(
        default=False, description="Allow an issuer at a private address, such as your own Keycloak."
    )
    trust_anchors: FilePath = setting(
        default="", description="PEM file with the roots for the issuer's certificate. Empty: tls.trust_anchors."
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = setting(
        default=10, description="Time limit for all requests to the issuer during a log-in."
    )
