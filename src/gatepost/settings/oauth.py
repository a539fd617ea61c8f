"""The settings for fetching the keys of OAuth issuers: the table `[oauth]`.

A part of `settings.model`, read with it; used by `net.lookups.issuer_keys`. Which issuers there are is in the resources
(`policy.connectors.oauth`), since each belongs to an organization.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Duration, Range, Record, Switch
from gatepost.policy.connectors.units import format_duration


class Oauth(Record):
    """Fetching the keys of OAuth issuers (docs/submission.md). The issuers themselves are resources."""

    private_issuers: Switch = Field(
        default=False,
        description="Also fetch keys from issuers at private addresses, such as your own Keycloak. Anyone who can "
        "change resources can then make the gateway connect to hosts of your network.",
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = Field(
        default=10, description="Time limit for an issuer to return its keys. Log-ins with its tokens wait meanwhile."
    )
    keys_kept: Annotated[Duration, Range(3600, 2592000, format_duration)] = Field(
        default=86400,
        description="How long to use keys that cannot be fetched again. The gateway fetches keys every hour, and when "
        "a token names an unknown key.",
    )
