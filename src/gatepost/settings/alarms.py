"""The settings of alarms: recipients and thresholds. The table `[alarms]`, a part of `settings.model`."""

from __future__ import annotations

from typing import Annotated

from gatepost.policy.connectors.fields import Duration, Form, Length, Range, Switch, Whole
from gatepost.policy.connectors.names import is_https
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import NoticeLanguage
from gatepost.settings.references import mail_address, secret_reference
from gatepost.settings.section import Checked, Section, setting


def _owner(value: str) -> str:
    if not value:
        raise ValueError("an empty text is no mail address; leave it out")
    return mail_address(value)


def _webhook(value: str) -> str:
    if value and not (is_https(value) and value.isascii()):
        raise ValueError(f"{value!r} is not an https address; write where alarms are posted, such as https://HOST/PATH")
    return value


class Alarms(Section):
    """Alarms about certificates, partners with mandatory TLS, the queue and TLS, and their recipients."""

    mail_to: Annotated[tuple[Annotated[str, Checked(_owner), Form("mail address")], ...], Length(most=20)] = setting(
        default=(),
        description="Recipients of alarms: critical ones at once, others in at most one message per day. Empty: "
        "server.postmaster, if set. The log and `gatepost alarms` show the same.",
    )
    language: NoticeLanguage = setting(
        default=NoticeLanguage.ENGLISH,
        description="Language of these messages: English, Swedish or German. Log and webhook stay in English.",
    )
    webhook: Annotated[str, Checked(_webhook), Form("https address")] = setting(
        default="",
        description="Address to which alarms are posted as JSON when they start, repeat and end. Empty: none.",
    )
    webhook_secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(
            default="",
            description="Secret that signs the posts (HMAC-SHA256, Standard Webhooks): 24 bytes or more, without line "
            "ends around them. Required with webhook.",
        )
    )
    webhook_private: Switch = setting(
        default=False,
        description="Allow a webhook at a private address, such as a monitoring server in your own network.",
    )
    look: Annotated[Duration, Range(1, 3600, format_duration)] = setting(
        default=60, description="Interval between checks of mail flow; certificates are checked at least every minute."
    )
    partner_failures: Annotated[Whole, Range(1, 1000)] = setting(
        default=3,
        description="Raise an alarm when this many attempts in a row to a partner were deferred because TLS did not "
        "meet a requirement,",
    )
    partner_failing: Annotated[Duration, Range(0, 86400, format_duration)] = setting(
        default=900, description="and have failed for at least this long (Exchange's first two retries: 30 minutes)."
    )
    queue_age: Annotated[Duration, Range(0, 1209600, format_duration)] = setting(
        default=14400,
        description="Raise an alarm when the oldest waiting message is older than this; 0: never. Held "
        "messages do not count.",
    )
    tls_failures: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=10,
        description="Raise an alarm when at least this many TLS sessions with a domain fail in a day and their share "
        "is three times that of the days before; 0: never.",
    )
