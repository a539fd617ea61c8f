"""Fields of an organization about quarantine, subaddresses and authentication, a part of `policy.connectors.records`.

What authentication means for a message is decided in `policy.decisions.authentication`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Form, Range, Switch, Whole
from gatepost.policy.connectors.values import AuthenticationResults, NoticeLanguage, QuarantineRelease

QuarantineDays = Annotated[
    Whole,
    Range(1, 30),
    Field(
        description="How many days messages stay in the organization's quarantine before the gateway deletes them "
        "(docs/quarantine.md). It applies to messages that arrive from now on."
    ),
]
QuarantineReleaseField = Annotated[
    QuarantineRelease,
    Field(
        description="Who may release messages from the organization's quarantine. administrators: also the "
        "organization's own administrators and operators. gateway: only administrators and operators of the whole "
        "gateway, and only they can change this back."
    ),
]
QuarantineDigest = Annotated[
    Switch,
    Field(description="Once a day, send each mailbox a message that lists what is new in quarantine for it."),
]
QuarantineLanguage = Annotated[
    NoticeLanguage,
    Field(description="Language of that daily message: English, Swedish or German."),
]
SubaddressSeparator = Annotated[
    str,
    Form("+, -, =, _, #, ~ or nothing"),
    Field(
        pattern=r"^[-+=_#~]?$",
        description='"+": mail for ann+tag goes to the mailbox ann, unless there is a mailbox ann+tag (RFC 5233). '
        "Empty: no subaddresses.",
    ),
]
AuthenticationField = Annotated[
    AuthenticationResults,
    Field(
        description="Who checks SPF, DKIM, DMARC and ARC of mail from others. The results are added in an "
        "Authentication-Results header field; no mail is refused because of them. gateway: the gateway checks. "
        "rspamd: the organization's rspamd content hook checks. With both the gateway removes forged results, and "
        "seals mail that it forwards or relays with a DKIM key of the organization (ARC; docs/authentication.md)."
    ),
]
