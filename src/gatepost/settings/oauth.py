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
    """The settings for fetching keys of OAuth issuers (docs/submission.md). The issuers themselves are resources."""

    private_issuers: Switch = Field(
        default=False,
        description="Fetch keys from issuers at private addresses too, such as a Keycloak of your own. Whoever may "
        "write resources can then make the gateway call hosts of your own network.",
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = Field(
        default=10, description="How long an issuer gets to tell its keys. Log-ins with its tokens wait meanwhile."
    )
    keys_kept: Annotated[Duration, Range(3600, 2592000, format_duration)] = Field(
        default=86400,
        description="How long keys are used that cannot be fetched again. They are fetched anew every hour, and when a "
        "token names one that is not known.",
    )
