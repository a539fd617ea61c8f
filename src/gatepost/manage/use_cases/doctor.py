"""Examine the gateway and its machine: what is wrong, where, why, and what to do next.

`examine_gateway` is the use case; `start_findings` is the part that `gatepost serve --check` runs, and that `gatepost
doctor` runs before the first start. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.alarms import current_alarms
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_case
from gatepost.manage.use_cases.dns_checks import DnsChecks
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.listener_checks import ResolverCheck, resolver_of
from gatepost.manage.use_cases.nodes import known_nodes, other_settings
from gatepost.manage.use_cases.publication import publication_of, shown_certificates
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.net.lookups.evaluation import look_up
from gatepost.net.lookups.question import LookupFailed
from gatepost.node.database_roles import role_findings
from gatepost.node.machine_findings import (
    DoctorFinding,
    Level,
    account_findings,
    confinement_findings,
    disk_findings,
    machine_findings,
    port_findings,
)
from gatepost.node.start_checks import start_problems
from gatepost.protocols.dns.lookups import Query
from gatepost.protocols.tls.names import matches
from gatepost.quantity import quantity
from gatepost.settings.model import DnsValidation, Settings
from gatepost.settings.sections import Durability
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.texts import N_, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.manage.use_cases.context import Context
    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.records import Organization


_MAIL_DOMAIN: Final = "gmail.com"
_LISTS_HOST: Final = "x1.c.lencr.org"
"""Serves the revocation list of Let's Encrypt's root."""
_AUTHORITY: Final = "acme-v02.api.letsencrypt.org"
_CONNECTING: Final = 4.0  # seconds for one connection
_ADDRESSES: Final = 4  # of a host that are tried


class WayOut(NamedTuple):
    """host: "" if the DNS does not know it. lacking: what does not work without it. fix: what to do."""

    port: int
    host: str
    lacking: str
    fix: str


async def ways_out(resolver: Resolver, settings: Settings) -> list[DoctorFinding]:
    """A finding for each way. Nothing worse than a warning: a gateway of a closed network may need none of them."""
    ways = (
        WayOut(
            25,
            next(iter((await look_up(resolver, Query(_MAIL_DOMAIN, "MX"))).values), ""),
            "mail to other domains waits",
            "open outgoing port 25 (many providers do on request), or send by a smart host",
        ),
        WayOut(
            80,
            _LISTS_HOST,
            "revocation lists and OCSP cannot be fetched",
            "open outgoing port 80",
        ),
        WayOut(
            443,
            urlsplit(settings.acme.directory_url).hostname or _AUTHORITY,
            "MTA-STS policies and ACME cannot be fetched, and TLS reports not be posted",
            "open outgoing port 443",
        ),
    )
    return list(await asyncio.gather(*(way_finding(resolver, way) for way in ways)))


async def way_finding(resolver: Resolver, way: WayOut) -> DoctorFinding:
    """Whether somebody listens at the port of the host, by any of its addresses."""
    area = f"outgoing port {way.port}"
    answers = [await look_up(resolver, Query(way.host, kind)) for kind in ("A", "AAAA")] if way.host else []
    addresses = [address for records in answers for address in records.values]
    if not addresses:
        text = f"not tried: the DNS does not know {way.host or f'a mail host of {_MAIL_DOMAIN}'}"
        return DoctorFinding(area, Level.WARN, text)
    if any(await asyncio.gather(*(_listens(address, way.port) for address in addresses[:_ADDRESSES]))):
        return DoctorFinding(area, Level.PASS, f"{way.host} can be reached")
    return DoctorFinding(area, Level.WARN, f"{way.host} cannot be reached: {way.lacking}", way.fix)


async def _listens(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECTING):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


AREAS: Final = (
    N_("account"), N_("alarms"), N_("certificate"), N_("clock"), N_("configuration"), N_("confinement"), N_("disk"),
    N_("files"), N_("memory"), N_("nameservers"), N_("settings"), N_("store"), N_("syncs"),
)  # fmt: skip
"""Areas of findings in one word, to be translated where they are shown; others are sentences."""

_GRAVITY: Final = {Severity.CRITICAL: Level.FAIL, Severity.ERROR: Level.FAIL, Severity.WARNING: Level.WARN}
_MARKS: Final = {"fail": Level.FAIL, "warn": Level.WARN, "unknown": Level.UNKNOWN}
_RUNS: Final = ConcurrencyLimit(2, 2, "others examine the gateway now; ask again in a minute")
_USABLE: Final = "it can be used"
_MOST_DOMAINS: Final = 20
_PATIENCE: Final = 20.0
"""Seconds for the records of all domains together, and for our own name."""


class ExamineGateway(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The extent of the examination."""

    offline: Annotated[bool, Cli(help="Ask no nameserver and no other host.")] = False


class Examination(msgspec.Struct, frozen=True):
    """Findings in the order in which things depend on each other. level: the gravest of them."""

    level: Level
    findings: list[DoctorFinding]

    @property
    def gravest_first(self) -> list[DoctorFinding]:
        """The findings in the order in which a person should read them."""
        order = tuple(reversed(Level))
        return sorted(self.findings, key=lambda finding: order.index(finding.level))

    @property
    def wrong(self) -> list[DoctorFinding]:
        """Those that are not as they should be, or not known."""
        return [finding for finding in self.gravest_first if finding.level is not Level.PASS]


@use_case("GET /doctor", scope=Scope.READ, visibility=Visibility.GATEWAY, tag="status")
def examine_gateway(context: Context, request: ExamineGateway) -> Examination:
    """Examine the gateway and its machine: what is wrong, and what to do next.

    Settings, account, ports, disk, memory, clock, certificates, store, nameservers, our own name in the DNS, ways out,
    the records of accepted domains, alarms. It takes up to half a minute.
    """
    settings = context.settings
    with _RUNS.slot("", _PATIENCE):
        findings = [*start_findings(settings), *machine_findings(time.time())]
        findings += disk_findings(settings)
        findings += [] if request.offline else _own_name(context)
        findings += _standby(settings)
        if DoctorFinding("store", Level.PASS, _USABLE) in findings:
            findings += _stored(context)
            findings += _settings_of_nodes(context)
            findings += [] if request.offline else _published(context)
            findings += _alarms(context, offline=request.offline)
    return examination(findings)


def examination(findings: list[DoctorFinding]) -> Examination:
    """The findings with the gravest of their levels."""
    order = tuple(Level)
    return Examination(max((finding.level for finding in findings), key=order.index, default=Level.PASS), findings)


def start_findings(settings: Settings) -> Iterator[DoctorFinding]:
    """Findings about what the gateway needs to start; it may be running."""
    yield from account_findings(settings)
    yield from confinement_findings(settings)
    problems = [_problem(text) for text in start_problems(settings)]
    yield from problems or [DoctorFinding("files", Level.PASS, "certificates, trust anchors and secrets can be used")]
    yield from port_findings(settings, _processes(settings))
    yield _store(settings)
    yield from role_findings(settings)


def _problem(text: str) -> DoctorFinding:
    """A problem as a finding. Credentials that systemd gives the service alone are not seen from a shell."""
    if ": credential:" in text and "CREDENTIALS_DIRECTORY" not in os.environ:
        return DoctorFinding("files", Level.UNKNOWN, text)
    area, colon, rest = text.partition(": ")
    known = bool(colon) and " " not in area
    what, _, fix = (rest if known else text).partition("; ")
    return DoctorFinding(area if known else "files", Level.FAIL, what, fix)


def _store(settings: Settings) -> DoctorFinding:
    try:
        Storage.of(settings).check(SCHEMAS)
    except StoreFailure as failure:
        text, _, fix = str(failure).partition(". ")
        return DoctorFinding("store", Level.FAIL if failure.final else Level.UNKNOWN, text, fix)
    except OSError as error:
        return DoctorFinding("store", Level.UNKNOWN, f"{settings.server.data_dir}: {error.strerror}")
    return DoctorFinding("store", Level.PASS, _USABLE)


def _standby(settings: Settings) -> Iterator[DoctorFinding]:
    """Whether what is to be replicated can be; without, no mail is taken, and tables may be locked by who waits."""
    if settings.store.durability is Durability.REPLICATED:
        try:
            Storage.of(settings).check_standby()
        except StoreFailure as failure:
            if "standby" in failure.summary:  # of any other the finding of the store tells
                yield DoctorFinding("store.durability", Level.FAIL, str(failure))
        else:
            yield DoctorFinding("store.durability", Level.PASS, "a synchronous standby is connected")


def _processes(settings: Settings) -> tuple[int, ...]:
    """The processes of the gateway that runs on this data: workers, and the supervisor that forked them."""
    pids: set[int] = set()
    storage = Storage.of(settings)
    for index in range(settings.server.workers or len(os.sched_getaffinity(0))):
        with suppress(OSError, ValueError):
            pid = int(storage.worker_lock(index).read_text(encoding="ascii"))
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            pids |= {pid, int(stat.rpartition(")")[2].split()[1])}
    return tuple(pids)


def _stored(context: Context) -> Iterator[DoctorFinding]:
    """Whether there are resources, and a certificate for our name."""
    hostname = context.settings.server.hostname
    try:
        organizations = context.directory().organizations
        certificates = shown_certificates(context.gateway)
    except Refusal as refusal:
        yield DoctorFinding("configuration", Level.FAIL, refusal.text)
        return
    if any(organization.accepted_domains for organization in organizations):
        yield DoctorFinding("configuration", Level.PASS, "there are accepted domains")
    else:
        text = "no domain is accepted: all mail from outside is refused"
        yield DoctorFinding(
            "configuration", Level.WARN, text, "use gatepost apply FILE, or Add domain in the admin centre"
        )
    if not certificates and context.settings.acme.is_on:
        text = "there is none yet: ACME requests one while the gateway runs"
        yield DoctorFinding("certificate", Level.WARN, text, "see gatepost certificate acme status, once it runs")
    elif not certificates and context.settings.certificates:
        text = "none of those in the settings can be used: the gateway does not start"
        yield DoctorFinding("certificate", Level.FAIL, text, "do what is said of files")
    elif not certificates:
        text = "there is no certificate: STARTTLS is not offered, and mail comes in unencrypted"
        yield DoctorFinding(
            "certificate", Level.FAIL, text, "use gatepost certificate add, or set [acme] in the settings"
        )
    elif not any(matches(hostname, certificate.leaf) for certificate in certificates):
        text = f"no certificate bears {hostname}: senders that check names do not deliver"
        yield DoctorFinding("certificate", Level.FAIL, text, f"gatepost certificate request {hostname}")
    else:
        yield DoctorFinding("certificate", Level.PASS, f"one bears {hostname}")
    if any(listener.role.for_users for listener in context.settings.listeners):
        yield from _sending_limits(organizations)
    yield from _size_of_queue(context.settings, organizations)


def _settings_of_nodes(context: Context) -> Iterator[DoctorFinding]:
    """Settings that are to be the same on all nodes of a site and are not."""
    different = {key for keys in other_settings(known_nodes(context.gateway)).values() for key in keys}
    if different:
        text = f"they differ between nodes of this site: {', '.join(sorted(different))}"
        fix = "see gatepost node list, and compare gatepost settings show of each node"
        yield DoctorFinding("settings", Level.WARN, text, fix)


def _sending_limits(organizations: Sequence[Organization]) -> Iterator[DoctorFinding]:
    """Organizations whose users may send without end, so that nothing is told of an account that others took over."""
    unlimited = [
        organization.name
        for organization in organizations
        if organization.mailboxes and not organization.user_messages_per_day + organization.user_recipients_per_day
    ]
    if unlimited:
        many = quantity(len(unlimited), "organization", "organizations")
        text = f"users of {many} may send without a limit, so that nothing stops an account which others took over"
        fix = f"gatepost organization set {unlimited[0]} user_recipients_per_day=2000"
        yield DoctorFinding("sending limits", Level.WARN, text, fix)


def _size_of_queue(settings: Settings, organizations: Sequence[Organization]) -> Iterator[DoctorFinding]:
    """Organizations that share the disk of a database, which is not seen from here."""
    if settings.store.url != SQLITE and len(organizations) > 1 and not settings.store.queue_size:
        text = "the disk of PostgreSQL is not seen: mail that one organization cannot get rid of may fill it for all"
        fix = "set store.queue_size to the room that bodies in the queue may take there (docs/reliability.md)"
        yield DoctorFinding("store.queue_size", Level.WARN, text, fix)


def _own_name(context: Context) -> list[DoctorFinding]:
    """Whether nameservers answer and validate, our name and addresses lead to each other, and there are ways out."""
    nameservers = context.kept(ResolverCheck).run()
    if not nameservers.ok:
        fix, dns = "set [dns] nameservers to one that answers: dig @ADDRESS . SOA", context.settings.dns
        if dns.validation is DnsValidation.LOCAL and "nameservers" not in dns.written:
            fix = "let this machine reach port 53 of the Internet, or set [dns] nameservers to one that answers"
        return [DoctorFinding("nameservers", Level.FAIL, f"{nameservers.name}: {nameservers.detail}", fix)]
    findings = [DoctorFinding("nameservers", Level.PASS, f"{nameservers.name}: {nameservers.detail}")]

    async def ask() -> None:
        async with resolver_of(context.settings) as resolver:
            findings.append(await _validation(resolver))
            findings.append(await _address(resolver, context.settings.server.hostname))
            findings.extend(await ways_out(resolver, context.settings))

    async def in_time() -> None:
        async with asyncio.timeout(_PATIENCE):
            await ask()

    try:
        asyncio.run(in_time())
    except (LookupFailed, TimeoutError) as failure:
        text = f"could not be told: {str(failure) or 'the answers took too long'}"
        findings.append(DoctorFinding("own name", Level.UNKNOWN, text))
    return findings


async def _validation(resolver: Resolver) -> DoctorFinding:
    fault = await resolver.dnssec_fault()
    if fault is not None and fault.stops_mail:
        advice = "correct the clock of the resolver's machine, or its trust anchor, and restart the resolver"
        return DoctorFinding("DNSSEC", Level.FAIL, fault.detail, advice)
    if missing := await resolver.validation_missing():
        what, _, fix = missing.partition("; ")
        return DoctorFinding("DNSSEC", Level.WARN, what, fix)
    return DoctorFinding("DNSSEC", Level.PASS, "answers are validated: DANE works")


async def _address(resolver: Resolver, hostname: str) -> DoctorFinding:
    """Our name and its addresses lead to each other: many receivers refuse otherwise (RFC 1912 section 2.1)."""
    answers = [await look_up(resolver, Query(hostname, kind)) for kind in ("A", "AAAA")]
    if failure := next((records.failure for records in answers if records.failure), ""):
        return DoctorFinding("own name", Level.UNKNOWN, failure)
    addresses = [address for records in answers for address in records.values]
    if not addresses:
        text = f"{hostname} has no address in the DNS: nobody can send to it, and receivers refuse its greeting"
        return DoctorFinding("own name", Level.FAIL, text, f"{hostname}. IN A ADDRESS")
    for address in map(ipaddress.ip_address, addresses):
        names = await look_up(resolver, Query(address.reverse_pointer, "PTR"))
        if hostname.lower() not in {name.rstrip(".").lower() for name in names.values}:
            text = f"{address} leads back to {', '.join(names.values) or 'no name'}, not to {hostname}"
            fix = f"ask who gave you the address for: {address.reverse_pointer}. IN PTR {hostname}."
            level = Level.UNKNOWN if names.failure or address.is_private else Level.WARN
            return DoctorFinding("own name", level, text, fix)
    return DoctorFinding("own name", Level.PASS, f"{hostname} and {', '.join(addresses)} lead to each other")


def _published(context: Context) -> Iterator[DoctorFinding]:
    """Records of accepted domains that are not as they should be."""
    domains = [
        (organization.name, domain.name)
        for organization in context.directory().organizations
        for domain in organization.accepted_domains
    ]
    end, checks, seen, wrong = time.monotonic() + _PATIENCE, context.kept(DnsChecks), 0, 0
    servers = shown_certificates(context.gateway) if domains else ()
    for organization, domain in domains[:_MOST_DOMAINS]:
        if time.monotonic() > end:
            break
        publication = publication_of(context.gateway, context.principal, domain, organization, servers)
        sections = (checks.known(publication) or checks.run(publication, context.principal)).findings
        seen += 1
        for key, finding in ((key, finding) for key, some in sections.items() for finding in some):
            if finding.verdict in _MARKS:
                wrong += 1
                fix = _publishing(finding.fix, publication.lines(key))
                yield DoctorFinding(f"DNS of {domain}", _MARKS[finding.verdict], finding.text, fix)
    if seen < len(domains):
        text = f"{len(domains) - seen} of {len(domains)} accepted domains were not looked at"
        yield DoctorFinding("DNS", Level.UNKNOWN, text, "Published records in the admin centre shows each")
    elif domains and not wrong:
        yield DoctorFinding("DNS", Level.PASS, "the records of the accepted domains are as they should be")


def _publishing(fix: str, lines: Sequence[str]) -> str:
    """What to do about a record, with the lines to publish, which pages show above it."""
    text = fix.removeprefix("Here: ")
    publishes = text.removesuffix(".").endswith("into the zone") and lines
    return f"{own(text.removesuffix('.'))}: {' and '.join(lines)}" if publishes else text


def _what_to_do(fix: str, lines: Sequence[str]) -> str:
    """What an alarm advises, with its commands in one line."""
    advice, commands = fix.rstrip(".:"), "; ".join(lines)
    return f"{own(advice)}: {commands}" if commands else fix


def _alarms(context: Context, *, offline: bool) -> list[DoctorFinding]:
    """Alarms in force: connectors that fail, certificates that end, files that vanished.

    offline: nameservers were not asked, so that what the gateway knows of them is told.
    """
    try:
        alarms = current_alarms(context.gateway, context.principal, time.time())
    except Refusal as refusal:
        return [DoctorFinding("alarms", Level.UNKNOWN, refusal.text)]
    findings = [
        DoctorFinding(
            f"alarm {alarm.kind}",
            _GRAVITY.get(alarm.severity, Level.WARN),
            alarm.title,
            _what_to_do(alarm.fix, alarm.lines),
        )
        for alarm in alarms.alarms
        if offline or alarm.kind is not Kind.NAMESERVERS_DOWN
    ]
    findings += [DoctorFinding("alarms", Level.WARN, text) for text in alarms.unknown]
    return findings or [DoctorFinding("alarms", Level.PASS, "there are no active alarms")]
