"""The settings of alarms: recipients and thresholds. The table `[alarms]`, a part of `settings.model`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Duration, Form, Range, Record, Switch, Whole
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.references import mail_address, secret_reference


def _owner(value: str) -> str:
    if not value:
        raise ValueError("an empty text is no mail address; leave it out")
    return mail_address(value)


def _webhook(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = not value or (parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc)
        _ = parts.port
    except ValueError:
        good = False
    if not good or not value.isascii():
        raise ValueError(f"{value!r} is not an https address; write where alarms are posted, such as https://HOST/PATH")
    return value


class Alarms(Record):
    """The recipients and thresholds of alarms: about our certificates, forced partners, the queue and TLS."""

    mail_to: Annotated[
        tuple[Annotated[str, AfterValidator(_owner), Form("mail address")], ...], Field(max_length=20)
    ] = Field(
        default=(),
        description="Who gets mail about it: at once for what is critical, else one message a day at most. Empty: "
        "server.postmaster, if that is set. The log and `gatepost alarms` say the same.",
    )
    webhook: Annotated[str, AfterValidator(_webhook), Form("https address")] = Field(
        default="",
        description="Where alarms are posted as JSON when they begin, are repeated or are over. Empty: nowhere.",
    )
    webhook_secret: Annotated[
        str, AfterValidator(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')
    ] = Field(
        default="",
        description="What signs the posts (HMAC-SHA256, Standard Webhooks): 24 bytes or more, without line ends around "
        "them. Needed with webhook.",
    )
    webhook_private: Switch = Field(
        default=False,
        description="Let the webhook be at a private address too, such as a monitoring server in your own network.",
    )
    look: Annotated[Duration, Range(1, 3600, format_duration)] = Field(
        default=60, description="Between two looks at mail on its way (certificates are judged every five minutes)."
    )
    partner_failures: Annotated[Whole, Range(1, 1000)] = Field(
        default=3,
        description="Attempts to a partner in a row that are deferred as TLS falls short of a requirement, before "
        "there is an alarm,",
    )
    partner_failing: Annotated[Duration, Range(0, 86400, format_duration)] = Field(
        default=900, description="and for how long they must have failed (Exchange's first two retries: 30 minutes)."
    )
    queue_age: Annotated[Duration, Range(0, 1209600, format_duration)] = Field(
        default=14400, description="Age of the oldest queued message that is an alarm, 0 for never; held ones apart."
    )
    tls_failures: Annotated[Whole, Range(0, 1_000_000)] = Field(
        default=10,
        description="TLS sessions with one domain that must fail in a day before a rise over the days before (three "
        "times the share) is an alarm; 0 for never.",
    )
