"""The settings of TLS reports (RFC 8460): the table `[tls_reports]`. A part of `settings.model`, read with it."""

from __future__ import annotations

from typing import Annotated

from gatepost.policy.connectors.fields import Duration, Form, Range, Switch, Text, Whole
from gatepost.policy.connectors.units import format_duration
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.settings.references import address_or_none
from gatepost.settings.section import Checked, Section, setting


def _reporter(value: str) -> str:
    if not value:
        return ""
    try:
        path = parse_address(value)
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error.why}") from None
    if not path.text.isascii() or not path.domain or path.domain.startswith("["):
        raise ValueError(f"{value!r}: an ASCII address in a domain of yours is needed")
    return path.text


class TlsReports(Section):
    """TLS reports (RFC 8460): those of others about connections to us, and ours to them (docs/tls-reporting.md)."""

    address: Annotated[str, Checked(address_or_none), Form('"host:port" or "[v6]:port"; empty: not served')] = setting(
        default="",
        description="Address and port that receive reports over HTTPS, at https://HOSTNAME/tls-reports: for "
        "_smtp._tls records with rua=https:. It may be the address of [mta_sts] or "
        "[certificate_table].",
    )
    days: Annotated[Whole, Range(0, 3650)] = setting(
        default=400, description="Days to keep received reports; 0: for ever."
    )
    send: Switch = setting(
        default=False,
        description="Send a daily report to every domain that got mail and asks for reports in its _smtp._tls record. "
        "Needs organization_name, contact and mail_from.",
    )
    organization_name: Text = setting(default="", description="The name of your organization in the reports.")
    contact: Text = setting(default="", description="Contact for receivers of reports: a mail address or a URI.")
    mail_from: Annotated[str, Checked(_reporter), Form("mail address")] = setting(
        default="",
        description="Sender of reports by mail, in an accepted domain with a current DKIM key. Its domain names the "
        "reporter in every report.",
    )
    spread: Annotated[Duration, Range(0, 72000, format_duration)] = setting(
        default=14400,
        description="Send the reports within this time after 00:15 UTC, those of each domain at its own time (RFC "
        "8460 section 4.1).",
    )
    post_timeout: Annotated[Duration, Range(1, 600, format_duration)] = setting(
        default=60, description="Time limit for sending a report over HTTPS, until the server's answer."
    )
