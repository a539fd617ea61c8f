"""Check that senders find the MTA-STS policy that we publish for one of our own domains.

Called by `gatepost domain mta-sts --check`. It asks as a sender would, by the code that asks for partners: the TXT
record, the policy over HTTPS, the MX records that it must cover, and where reports are wanted.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, cast

import msgspec

from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.net.anchors import TrustAnchors
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsFailure, StsPolicies
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.publication import publication as publication_of
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.policy import LintKind, StsPolicy, lint
from gatepost.protocols.mtasts.publish import StsPublication, policy_host, record_name
from gatepost.protocols.mtasts.record import StsRecord, parse_record
from gatepost.protocols.tlsrpt import record as tlsrpt
from gatepost.protocols.tlsrpt.result import ResultType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dns.rdtypes.txtbase import TXTBase

    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Settings


_SHOWN = 300


class Seen(msgspec.Struct, frozen=True):
    """The observed records of a domain (A-labels).

    A str is a sentence why one could not be learnt, None: there is none.

    hosts: of the MX records.
    """

    domain: str
    record: StsRecord | RecordError | str | None
    policy: StsPolicy | StsFailure
    hosts: tuple[str, ...] | str
    reports: tlsrpt.TlsRptRecord | RecordError | str | None


async def check_publication(
    domain: str, publication: StsPublication | None, settings: Settings, resolver: Resolver, hosts: PolicyHosts
) -> tuple[Finding, ...]:
    """Look everything up and compare it with what we publish (None: nothing). Raises AnchorsError."""
    client = HttpClient(resolver, https_context(TrustAnchors.load(settings.tls.trust_anchors)))
    policies = StsPolicies(resolver, client, None, hosts=hosts)
    try:
        record, policy, mail_hosts, reports = await asyncio.gather(
            _texts(resolver, record_name(domain)),
            policies.fetch(domain),
            mail_host_names(MailRouter(resolver, random.Random()), domain),  # noqa: S311 - shuffles equals
            _texts(resolver, tlsrpt.record_name(domain)),
        )
    finally:
        await policies.close()
    seen = Seen(
        domain,
        record if isinstance(record, str) else parse_record(record),
        policy,
        mail_hosts,
        reports if isinstance(reports, str) else tlsrpt.parse_record(reports),
    )
    return tuple(judge(publication, seen))


def own_policies(organizations: Iterable[Organization], hostname: str) -> list[StsPublication]:
    """The MTA-STS policies of all accepted domains. hostname: ours."""
    publications = []
    for domain in chain.from_iterable(organization.accepted_domains for organization in organizations):
        with suppress(ValueError):  # of resources that an older version stored; it is not served
            publications.append(publication_of(domain, hostname))
    return [policy for policy in publications if policy is not None]


async def _texts(resolver: Resolver, name: str) -> list[tuple[bytes, ...]] | str:
    """The TXT records at a name, or why they cannot be had."""
    try:
        answer = await resolver.query(name, "TXT")
    except LookupFailed as failed:
        return failed.detail if failed.temporary else []
    return [cast("TXTBase", record).strings for record in answer.records]


async def mail_host_names(router: MailRouter, domain: str) -> tuple[str, ...] | str:
    """The hosts that the MX records of a domain name, or why they cannot be had."""
    try:
        mail_hosts = await router.mail_hosts(domain)
    except LookupFailed as failed:
        return failed.detail
    return tuple(dict.fromkeys(host.name for host in mail_hosts.hosts))


def judge(publication: StsPublication | None, seen: Seen) -> Iterator[Finding]:
    """Judge the records that a sender finds. Pure."""
    if publication is None:
        yield _unpublished(seen)
        return
    yield _policy(publication, seen)  # first, as it is to be served before the record tells of it
    yield _record(publication, seen.record)
    yield from _hosts(publication.policy, seen.hosts)
    yield reports_finding(seen.reports)


def _unpublished(seen: Seen) -> Finding:
    match seen.record:
        case None:
            return Finding(Stage.MTA_STS, Mark.PASS, "there is no policy, and the DNS announces none")
        case str(trouble):
            return Finding(Stage.MTA_STS, Mark.UNKNOWN, _NO_ANSWER, trouble[:_SHOWN])
        case _:
            text = "the DNS announces a policy, and this gateway has none for the domain"
            fix = (
                'Here: if another server serves it, all is well. Else let mta_sts = "none" be served for as long as '
                f"senders may keep the last policy, and then remove the TXT record {record_name(seen.domain)}."
            )
            return Finding(Stage.MTA_STS, Mark.WARN, text, str(seen.record)[:_SHOWN], fix)


_NO_ANSWER = "it is not known whether the DNS announces a policy"


def _record(publication: StsPublication, record: StsRecord | RecordError | str | None) -> Finding:
    fix = f"Here: add this to the zone: {publication.zone_line}"
    match record:
        case None:
            text = "the DNS announces no policy, so that no sender asks for it"
            return Finding(Stage.DNS, Mark.FAIL, text, f"no TXT record at {record_name(publication.domain)}", fix)
        case str(trouble):
            return Finding(Stage.DNS, Mark.UNKNOWN, _NO_ANSWER, trouble[:_SHOWN])
        case RecordError(detail=detail):
            return Finding(Stage.DNS, Mark.FAIL, "the TXT record cannot be used", detail[:_SHOWN], fix)
        case StsRecord(id=known) if known != publication.record.id:
            text = "the TXT record has the id of another policy: senders that have one keep it until it expires"
            return Finding(
                Stage.DNS, Mark.FAIL, text, f"its id is {known}, that of the policy {publication.record.id}", fix
            )
        case _:
            return Finding(Stage.DNS, Mark.PASS, "the TXT record has the id of the policy", record.text)


def _policy(publication: StsPublication, seen: Seen) -> Finding:
    own, served = publication.policy, seen.policy
    if isinstance(served, StsFailure):
        mark, fix = _FAILURES[served.result_type]
        if served.result_type is ResultType.STS_POLICY_FETCH_ERROR and isinstance(seen.record, str):
            mark = Mark.UNKNOWN  # it is the DNS that does not answer, perhaps only us
        text = "senders cannot fetch the policy" if mark is Mark.FAIL else "the policy could not be fetched from here"
        return Finding(Stage.MTA_STS, mark, text, served.detail[:_SHOWN], fix.format(policy_host(publication.domain)))
    if served != own:
        text = "the served policy is not the policy of this gateway"
        fix = (
            f"Here: see that {policy_host(publication.domain)} leads to the address of [mta_sts], and that the gateway "
            "runs with these resources."
        )
        return Finding(Stage.MTA_STS, Mark.FAIL, text, _differences(own, served)[:_SHOWN], fix)
    return Finding(Stage.MTA_STS, Mark.PASS, f"the policy is served, in mode {own.mode}", publication.url)


_FETCH = (
    "Here: name {0} in the DNS (A, AAAA or CNAME), let port 443 of it reach the address of [mta_sts] in the settings, "
    "and see in the log that policies are served. If others can fetch it, this machine has no way to port 443, or "
    "may not look there, as the name leads to an address of your own network."
)
_FAILURES = {
    ResultType.STS_WEBPKI_INVALID: (
        Mark.FAIL,
        "Here: add a [[certificate]] of a public authority that bears {0} and has not expired, and send SIGHUP.",
    ),
    ResultType.STS_POLICY_INVALID: (Mark.FAIL, "Here: see what serves {0}: it is not this gateway."),
    ResultType.STS_POLICY_FETCH_ERROR: (Mark.FAIL, _FETCH),
}


def _differences(own: StsPolicy, policy: StsPolicy) -> str:
    missing = [line for line in own.lines if line not in policy.lines]
    strange = [line for line in policy.lines if line not in own.lines]
    parts = [f"{word} {', '.join(lines)}" for word, lines in (("without", missing), ("with", strange)) if lines]
    return "; ".join(parts) or "its fields are in another order"


def _hosts(policy: StsPolicy, hosts: Sequence[str] | str) -> Iterator[Finding]:
    """Whether the policy allows every MX host, and what else is unwise in it."""
    if isinstance(hosts, str):
        yield Finding(Stage.DNS, Mark.UNKNOWN, "the MX records cannot be looked up", hosts[:_SHOWN])
        return
    remarks = lint(policy, hosts)
    if hosts and not any(remark.kind is LintKind.HOST_NOT_COVERED for remark in remarks) and policy.mx:
        yield Finding(Stage.MTA_STS, Mark.PASS, "the policy names every MX host", ", ".join(hosts)[:_SHOWN])
    if not hosts:
        yield Finding(Stage.DNS, Mark.WARN, "the DNS names no mail host for the domain")
    for remark in remarks:
        fix = "Here: change mta_sts_mx, or the MX records." if remark.kind is LintKind.HOST_NOT_COVERED else ""
        yield Finding(Stage.MTA_STS, Mark(remark.level), remark.text[:_SHOWN], "", fix)


def reports_finding(record: tlsrpt.TlsRptRecord | RecordError | str | None) -> Finding:
    """Judge the record that asks senders for reports. record: as in `Seen`."""
    match record:
        case None:
            text = "no TLS-RPT record: senders report no TLS failures for the domain"
            return Finding(Stage.TLS_RPT, Mark.INFO, text, "", "Here: add the TLS-RPT record that is shown above.")
        case str(trouble):
            return Finding(Stage.TLS_RPT, Mark.UNKNOWN, "it is not known whether there is a TLS-RPT record", trouble)
        case RecordError(detail=detail):
            return Finding(Stage.TLS_RPT, Mark.WARN, "the TLS-RPT record cannot be used", detail[:_SHOWN])
        case tlsrpt.TlsRptRecord(rua=rua):
            return Finding(Stage.TLS_RPT, Mark.PASS, "the domain requests TLS reports", ", ".join(rua)[:_SHOWN])
