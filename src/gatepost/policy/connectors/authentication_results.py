"""The setting that says who authenticates mail of others to an organization.

A part of `policy.connectors.records`, in a module of its own. What it means for a message is decided in
`policy.decisions.authentication`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field


class AuthenticationResults(StrEnum):
    """The party that checks SPF, DKIM, DMARC and ARC of mail from others (RFC 8601)."""

    NONE = "none"
    GATEWAY = "gateway"
    RSPAMD = "rspamd"


AuthenticationField = Annotated[
    AuthenticationResults,
    Field(
        description="Who checks SPF, DKIM, DMARC and ARC of mail from others. The results are added in an "
        "Authentication-Results header field; no mail is refused because of them. gateway: the gateway checks. "
        "rspamd: the organization's rspamd content hook checks. With both the gateway removes forged results, and "
        "seals mail that it forwards or relays with a DKIM key of the organization (ARC; docs/authentication.md)."
    ),
]
