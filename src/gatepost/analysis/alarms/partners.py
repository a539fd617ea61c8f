"""Alarms about partners and next hops to which mail waits: for TLS, a log-in, or as they do not take it. Pure.

Called by `analysis.alarms.mail_flow`; `events.delivery_problems` has what deliveries showed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.events.counts import level_of
from gatepost.events.delivery_problems import (
    HOPS_FAIL,
    LMTP_SERVER,
    LOGIN_REFUSED,
    NOT_IN_POLICY,
    RECORDS_DOWN,
    SCANNER_DOWN,
    SOURCE_DOWN,
    DowngradedDestination,
    FailingPartner,
)
from gatepost.protocols.message.next_step import required_step
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.times import second_text

_SOON_AFTER: Final = 6 * 3600.0  # a change, failures begin that may be its result
_DNS: Final = " 4.4.312 "
_RESULTS: Final[dict[str, str]] = {
    ResultType.STARTTLS_NOT_SUPPORTED: "the server does not offer STARTTLS (starttls-not-supported)",
    ResultType.CERTIFICATE_HOST_MISMATCH: "the certificate is for another name (certificate-host-mismatch)",
    ResultType.CERTIFICATE_EXPIRED: "the certificate has expired (certificate-expired)",
    ResultType.CERTIFICATE_NOT_TRUSTED: "the certificate is not trusted (certificate-not-trusted)",
    ResultType.VALIDATION_FAILURE: "TLS failed for another reason (validation-failure)",
    ResultType.TLSA_INVALID: "the certificate does not match the TLSA records (tlsa-invalid)",
    ResultType.DNSSEC_INVALID: "DNSSEC does not prove the DNS records (dnssec-invalid)",
    ResultType.DANE_REQUIRED: "DANE is required, and there are no TLSA records (dane-required)",
    ResultType.STS_POLICY_FETCH_ERROR: "the MTA-STS policy could not be fetched (sts-policy-fetch-error)",
    ResultType.STS_POLICY_INVALID: "the MTA-STS policy is invalid (sts-policy-invalid)",
    ResultType.STS_WEBPKI_INVALID: "the certificate of the MTA-STS policy host is not valid (sts-webpki-invalid)",
}
_REQUIRED: Final = {"encrypted": "TLS encryption", "authenticated": "TLS with a verified certificate"}
_OF_THEIR_OWN: Final = frozenset({LOGIN_REFUSED, SOURCE_DOWN, SCANNER_DOWN, RECORDS_DOWN, HOPS_FAIL})


class ConnectorChange(msgspec.Struct, frozen=True):
    """A change of an outbound connector.

    version: that it made. at: seconds since 1970. author: as the history has it.
    """

    organization: str
    connector: str
    version: int
    at: float
    author: str


class PartnerContext(msgspec.Struct, frozen=True):
    """The circumstances of failures. changes, catch_alls: as in `mail_flow.MailFacts`.

    failures, lasting: attempts and seconds from which on somebody is told. without_names: no nameserver answers,
    or none whose answers can be used.
    begun: when each partner began to fail, as the first worker saw it, by `about_partner`.
    """

    failures: int
    lasting: float
    changes: Sequence[ConnectorChange]
    catch_alls: frozenset[tuple[str, str]]
    without_names: bool
    begun: Mapping[str, float]


def judge_partners(failing: Sequence[FailingPartner], context: PartnerContext, now: float) -> Iterator[Alarm]:
    """All that is wrong with partners and next hops. failing: those that count at `now`."""
    lasting = [partner for partner in failing if _lasts(partner, context, now)]
    yield from _failing(lasting, context)
    yield from _connectors(lasting, context)
    yield from _mailbox_servers(lasting, context)
    yield from _not_logged_in(failing)


def _failing(failing: Sequence[FailingPartner], context: PartnerContext) -> Iterator[Alarm]:
    for partner in failing:
        if partner.result_type in _OF_THEIR_OWN:
            continue
        step, change = required_step(partner.host or partner.domain, partner.reply), _change_of(partner, context)
        where = f" at {partner.host}" if partner.host else ""
        last = f" The last reply: {partner.reply}." if partner.reply else ""
        changed = f" {own(_changed(change))}." if change is not None else ""
        must = f"{own(step.text)}. " if step is not None else ""
        required = _REQUIRED.get(level_of(partner.wanted), partner.wanted)
        yield make_alarm(
            Kind.PARTNER_FAILING,
            Severity.CRITICAL,
            about_partner(partner),
            f"mail to {partner.domain} waits, as TLS does not meet the requirement of {own(_named(partner))}",
            f"{own(_deferred(partner))}{where}: {own(required)} is required "
            f"({partner.wanted}), but {own(_shortfall(partner.result_type, partner.reply))}.{last} The gateway sends "
            f"nothing below the requirement; it returns mail that waits too long.{changed}",
            f"{must}See what the partner presents, and tell its postmaster; only if the requirement is wrong, change "
            f"it for {partner.organization}:",
            _check_of(partner),
            command_line("gatepost", "queue", "list", "--domain", named=partner.domain),
            *_way_back(change),
        )


def _shortfall(result_type: str, reply: str) -> str:
    if reply.startswith(NOT_IN_POLICY):
        return "the MTA-STS policy does not name the MX host (validation-failure)"
    return result_text(result_type)


def _connectors(failing: Sequence[FailingPartner], context: PartnerContext) -> Iterator[Alarm]:
    """One for each connector whose mail is deferred for other reasons than TLS, or as nobody answers."""
    for partner in failing:
        if partner.result_type != HOPS_FAIL or partner.domain == LMTP_SERVER:
            continue
        if (partner.organization, partner.name) in context.catch_alls or (
            context.without_names and _DNS in partner.reply
        ):
            continue
        step, change = required_step(partner.host or partner.name, partner.reply), _change_of(partner, context)
        where = f" at {partner.host}" if partner.host else ""
        last = f" The last reply: {partner.reply}." if partner.reply else ""
        changed = f" {own(_changed(change))}." if change is not None else ""
        must = f"{own(step.text)}. " if step is not None else ""
        yield make_alarm(
            Kind.CONNECTOR_FAILING,
            Severity.CRITICAL,
            f"{partner.organization}/{partner.name}",
            f"mail by the connector {partner.name} of {partner.organization} waits, as its next hop does not take it",
            f"{own(_deferred(partner))}{where}.{last} The gateway tries again, and returns "
            f"mail that waits too long.{changed}",
            f"{must}See what it replied, and ask its administrators; try it without mail:",
            command_line("gatepost", "trace", "search", "--event", "DEFER", "--connector", named=partner.name),
            _check_of(partner),
            *_way_back(change),
        )


def _mailbox_servers(failing: Sequence[FailingPartner], context: PartnerContext) -> Iterator[Alarm]:
    """One for each LMTP server that takes no mail."""
    for partner in failing:
        if partner.domain != LMTP_SERVER or (context.without_names and _DNS in partner.reply):
            continue
        place = partner.name.removeprefix("lmtp:")
        step = required_step(partner.host or place, partner.reply)
        last = f" The last reply: {partner.reply}." if partner.reply else ""
        must = f"{own(step.text)}. " if step is not None else ""
        yield make_alarm(
            Kind.LMTP_FAILING,
            Severity.CRITICAL,
            f"{partner.organization}/{partner.name}",
            f"mail for mailboxes of {partner.organization} waits, as the LMTP server {place} does not take it",
            f"{own(_deferred(partner))}.{last} The gateway tries again, and returns mail that waits too long.",
            f"{must}See what it replied and what its log says; if mailboxes have moved, correct their delivery:",
            command_line("gatepost", "trace", "search", "--event", "DEFER", "--peer", named=partner.host),
        )


def _lasts(partner: FailingPartner, context: PartnerContext, now: float) -> bool:
    return partner.deferrals >= context.failures and now >= partner.since + context.lasting


def _change_of(partner: FailingPartner, context: PartnerContext) -> ConnectorChange | None:
    """The last change of its connector before the first failure, if that was not long before."""
    since = context.begun[about_partner(partner)]
    for change in context.changes:
        is_its_own = change.organization == partner.organization and partner.by_connector
        if is_its_own and change.connector == partner.name and 0.0 <= since - change.at < _SOON_AFTER:
            return change
    return None


def _changed(change: ConnectorChange) -> str:
    return (
        f"The last change of the connector was made before the first failure: by {change.author} at "
        f"{second_text(change.at)} (version {change.version})"
    )


def _way_back(change: ConnectorChange | None) -> tuple[str, ...]:
    """What shows that change, and what would take it back."""
    if change is None:
        return ()
    organization = "--organization", change.organization
    return (
        command_line("gatepost", "history", "show", str(change.version)),
        command_line("gatepost", "history", "revert", *organization, str(change.version - 1), "--dry-run"),
    )


def _not_logged_in(failing: Sequence[FailingPartner]) -> Iterator[Alarm]:
    """One for each connector, at once: no attempt will do better before somebody acts."""
    for partner in failing:
        if partner.result_type != LOGIN_REFUSED:
            continue
        where = f" to {partner.host}" if partner.host else ""
        yield make_alarm(
            Kind.LOGIN_REFUSED,
            Severity.CRITICAL,
            f"{partner.organization}/{partner.name}",
            f"the connector {partner.name} cannot log in{where}, and its mail waits",
            f"{quantity(partner.deferrals, 'attempt')} failed: {partner.reply}. The gateway keeps trying, and "
            "returns mail that waits too long.",
            f"Set the secret of {partner.organization} again, or correct the connector's authentication:",
            command_line("gatepost", "connector", "secret", "--organization", partner.organization, named=partner.name),
            command_line(
                "gatepost", "connector", "validate", "--organization", partner.organization, named=partner.name
            ),
        )


def result_text(code: str) -> str:
    """A TLS failure in words, with its code (RFC 8460 section 4.3); one that is not known by its code alone."""
    return _RESULTS.get(code, code)


def about_partner(partner: FailingPartner | DowngradedDestination) -> str:
    """Name the partner as an alarm does: its organization sees the alarm by that."""
    return (
        f"{partner.organization}/{partner.name}"
        if partner.name == partner.domain
        else f"{partner.organization}/{partner.name}/{partner.domain}"
    )


def _deferred(partner: FailingPartner) -> str:
    return quantity(partner.deferrals, "attempt in a row was deferred", "attempts in a row were deferred")


def _named(partner: FailingPartner) -> str:
    is_policy = partner.name == partner.domain and not partner.by_connector
    return f"the policy of {partner.domain}" if is_policy else f"the connector {partner.name}"


def _check_of(partner: FailingPartner) -> str:
    """The command that looks where the mail goes: by a connector, to its smart hosts, with its trust anchors."""
    if not partner.by_connector:
        return command_line("gatepost", "check", "partner", named=partner.domain)
    words = ("connector", "validate", "--organization", partner.organization, "--direction", "outbound")
    return command_line("gatepost", *words, named=partner.name)
