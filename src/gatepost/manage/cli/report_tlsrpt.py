"""`gatepost report tlsrpt`: the TLS sessions of a day, as the report to each policy domain would tell them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NoReturn

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.tls_reports import GetSessions, counted_sessions, get_sessions
from gatepost.protocols.tls.names import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.analysis.reports.tlsrpt import DomainSummary
    from gatepost.manage.use_cases.gateway import Gateway


_COLUMNS = ("domain", "policy", "policy domain", "passed", "failed", "result", "sessions", "host", "address", "reason")


@click.command()
@request_options(GetSessions)
@config_option
@json_option
def tlsrpt(request: GetSessions, config: str | None, *, as_json: bool) -> None:
    """Show TLS sessions of a day by policy domain, policy and result, as in TLS reports (RFC 8460).

    A session is an attempt to start TLS with one address; further messages on the same connection are not counted
    again. Each policy that a domain publishes (TLSA records, MTA-STS) is judged separately, even if mail was sent
    anyway: in testing mode, unencrypted, or with "TLS-Required: No". Counts are kept for 14 days, and are complete some
    seconds after the event. --json prints the report objects, without the fields that identify the sender.

    Exit codes: 0 there are sessions, 1 none were counted, 2 usage error, 3 the counts cannot be read.
    """
    sessions = client(config).call(get_sessions, request)
    if as_json:
        print_json(sessions)
    elif sessions.reports:
        print_table(_COLUMNS, (row for summary in sessions.summaries() for row in _rows(summary)))
    if not sessions.reports:
        _none(sessions.day, sessions.days, request.domain)


def counted(gateway: Gateway, day: str, domain: str) -> list[DomainSummary]:
    """Counts of a day, of one policy domain or ("") of all; ends the command if there are none."""
    summaries, days = counted_sessions(gateway.storage.session_counts(), day, domain)
    if not summaries:
        _none(day, days, domain)
    return summaries


def day_option(text: str) -> str:
    """A day that was given; ends the command with exit code 2 if it is none."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        fail(BAD_INPUT, "--day %(text)s is not a day; write it like 2026-11-24", text=repr(text))


def domain_option(text: str) -> str:
    """A domain that was given, as A-labels, "" for none; ends the command with exit code 2 if it is no name."""
    name = normalise(text) if text else ""
    if text and not name:
        fail(BAD_INPUT, "--domain %(text)s is not a domain name", text=repr(text))
    return name


def _none(day: str, days: list[str], domain: str) -> NoReturn:
    whose = _(" with %(domain)s", domain=printable(domain)) if domain else ""
    fail(NO, "no TLS sessions%(whose)s were counted on %(day)s; %(days)s", whose=whose, day=day, days=_there(days))


def _there(days: list[str]) -> str:
    if not days:
        return _("no day has counts")
    return _("there are counts of %(days)s", days=days[0]) + (_(" to %(days)s", days=days[-1]) if len(days) > 1 else "")


def _rows(summary: DomainSummary) -> Iterator[tuple[object, ...]]:
    """A line for each failure of each policy; what belongs to the whole policy stands in its first one."""
    for policy in summary.policies:
        head: tuple[object, ...] = (
            summary.domain,
            policy.policy.type,
            policy.policy.domain,
            policy.passed,
            policy.failed,
        )
        if not policy.failures:
            yield (*head, "", "", "", "", "")
        for failure, sessions in policy.failures:
            yield (*head, failure.result, sessions, failure.mx_host, failure.address, failure.reason)
            head = (summary.domain, policy.policy.type, policy.policy.domain, "", "")
