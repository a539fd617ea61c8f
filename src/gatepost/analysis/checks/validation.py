"""Validate an outbound connector: connect to every next hop, and send a test message if asked (exchange.md §3.3).

Called by `manage.use_cases.validation`. A disabled connector, one in rehearsal and one that is only a draft are tried
as if they were enforced: that is what an administrator wants to know before switching them on. Changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gatepost.analysis.checks.message import TEST_MESSAGE, TestMessage, send
from gatepost.analysis.checks.probe import Prober, resolving
from gatepost.analysis.checks.tasks import (
    CheckResult,
    HostReport,
    ProgressReports,
    Task,
    TaskStatus,
    host_records,
    skipped,
    task_record,
    waiting,
)
from gatepost.mail.model.message import Recipient
from gatepost.mail.outbound.contexts import our_certificate
from gatepost.mail.outbound.hop_options import hop_options
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.selection import elsewhere
from gatepost.policy.connectors.values import Mode
from gatepost.policy.decisions.outbound import required, with_tls
from gatepost.policy.decisions.published import modes
from gatepost.policy.decisions.requirement import Source
from gatepost.policy.decisions.route import RoutePlanner, is_bounded
from gatepost.policy.decisions.routes import NextHop
from gatepost.protocols.message.fields import field_values
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.quantity import quantity
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.outbound.hop import OpenHop
    from gatepost.mail.outbound.published import Publication
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Organization, OutboundConnector


_HOSTS = 10
_DOMAINS = 10
_OTHERS = Source("another organization's mail flow rule")


class CannotValidate(ValueError):  # noqa: N818 - it names what is wrong with the question
    """The connector cannot be validated in this way; the text says what to do instead.

    field: the wrong part of the request, as `manage.use_cases.validation.ValidationOptions` names it, "" if no one
    thing is.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """The input of a validation.

    recipients: of the test message, none for no test message. sender: "" for postmaster of the organization's first
    accepted domain. hostname, profile: the server's own. now: seconds since 1970.
    """

    organization: Organization
    connector: OutboundConnector
    hostname: str
    recipients: tuple[str, ...] = ()
    sender: str = ""
    profile: str = "default"
    now: float = 0.0

    @property
    def label(self) -> str:
        """As sentences name the connector."""
        return f"connector {self.connector.name!r} of {self.organization.name}"


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation. tasks: those that belong to no host. notes: what else an administrator should know.

    done: False while it runs, and then it holds what is known so far.
    """

    organization: str
    connector: str
    direction: str
    at: float
    configuration: int
    hosts: tuple[HostReport, ...] = ()
    tasks: tuple[Task, ...] = ()
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    done: bool = True

    @property
    def all_tasks(self) -> list[tuple[HostReport | None, Task]]:
        """Every task, with its host."""
        return [*((host, task) for host in self.hosts for task in host.tasks), *((None, task) for task in self.tasks)]

    @property
    def outcome(self) -> CheckResult:
        """NOT_VALIDATED if anything failed that is not our own doing; else UNKNOWN if anything was left open."""
        if not self.done:
            return CheckResult.UNKNOWN
        failed = [task for _, task in self.all_tasks if task.status is TaskStatus.FAILED]
        if any(not task.ours for task in failed):
            return CheckResult.NOT_VALIDATED
        if failed or (self.hosts and not any(host.usable for host in self.hosts)):
            return CheckResult.UNKNOWN
        return CheckResult.VALIDATED

    @property
    def verdict(self) -> str:
        """The last line for a person: stable, so that scripts may look for its beginning."""
        if not self.done:
            return "not done yet"
        counted = [task for _, task in self.all_tasks if task.status is not TaskStatus.SKIPPED]
        warned = sum(task.status is TaskStatus.WARNING for task in counted)
        match self.outcome:
            case CheckResult.VALIDATED:
                suffix = f", {warned} with a warning" if warned else ""
                return f"validated: all {quantity(len(counted), 'task')} succeeded{suffix}"
            case CheckResult.NOT_VALIDATED:
                return f"not validated: {self._first(ours=False)}"
            case CheckResult.UNKNOWN:
                return f"could not tell: {self._first(ours=True) or 'no host could be reached from here'}"

    def _first(self, *, ours: bool) -> str:
        for host, task in self.all_tasks:
            if task.status is TaskStatus.FAILED and task.ours is ours:
                where = (
                    f" on {host.host} ({host.address})" if host and host.address else f" on {host.host}" if host else ""
                )
                return f"{task.name} failed{where}: {task.first}"
        return ""


def validation_record(validation: Validation) -> dict[str, Any]:
    """A validation as JSON shows it and as it is kept."""
    return {
        "organization": validation.organization,
        "connector": validation.connector,
        "direction": validation.direction,
        "at": validation.at,
        "configuration": validation.configuration,
        "outcome": str(validation.outcome),
        "verdict": validation.verdict,
        "notes": list(validation.notes),
        "hosts": host_records(validation.hosts),
        "tasks": [task_record(task) for task in validation.tasks],
        **validation.facts,
    }


@dataclass(frozen=True, slots=True)
class _Target:
    """Hosts to reach, in order of preference. domain: whose MX they are, "" for smart hosts. recipients: sent here."""

    hops: tuple[NextHop, ...]
    recipients: tuple[str, ...]
    publication: Publication
    domain: str = ""


class _Kept:
    """The open connection to the most preferred host that met the requirement; the others are let go."""

    def __init__(self) -> None:
        self._best: tuple[int, HostReport, OpenHop] | None = None

    def offer(self, rank: int, report: HostReport, opened: OpenHop) -> None:
        if self._best is not None:
            rank, report, opened, worse = self._compare(rank, report, opened)
            worse.connection.quit()
        self._best = rank, report, opened

    def _compare(self, rank: int, report: HostReport, opened: OpenHop) -> tuple[int, HostReport, OpenHop, OpenHop]:
        assert self._best is not None  # noqa: S101 - asked by the only caller
        if rank < self._best[0]:
            return rank, report, opened, self._best[2]
        return *self._best, opened

    @property
    def found(self) -> tuple[HostReport, OpenHop] | None:
        return self._best[1:] if self._best else None


async def validate_outbound(
    prober: Prober,
    directory: Directory,
    request: OutboundRequest,
    watch: Callable[[Validation], None] = lambda _: None,
) -> Validation:
    """Try everything. watch: told what is known so far, whenever a task begins or has ended.

    Raises CannotValidate before anything is tried.
    """
    recipients = tuple(_recipient(request, text) for text in request.recipients)
    message = _message(request, recipients)
    hosts: list[HostReport] = []
    tasks: list[Task] = []
    asking = _asking(directory, request, message)
    begun = Validation(request.organization.name, request.connector.name, "outbound", request.now, directory.version)

    def on_progress(reports: tuple[HostReport, ...]) -> None:
        sent = any(task.name == TEST_MESSAGE for report in reports for task in report.tasks)
        later = waiting([TEST_MESSAGE]) if recipients and not sent else ()
        watch(replace(begun, hosts=reports, tasks=tuple(later), done=False))

    progress = ProgressReports(on_progress)
    targets, unrouted = await _targets(prober, request, recipients, asking, progress)
    hosts += unrouted
    for target in targets:
        reports, left = await _try(prober, request, target, message, progress)
        hosts += reports
        tasks += left
    if not recipients:
        tasks += skipped([TEST_MESSAGE], "no recipient was given")
    domains = _domains(request, recipients)
    needs = [f"the test message needs TLS regardless of the connector, as {text} says" for text in map(str, asking)]
    notes = (*_notes(directory, request, domains, targets), *needs)
    return replace(begun, hosts=tuple(hosts), tasks=tuple(tasks), notes=notes)


def _asking(directory: Directory, request: OutboundRequest, message: TestMessage) -> tuple[Source, ...]:
    """The sources besides the connector that require TLS for the test message: it is never sent below that."""
    planner = RoutePlanner(directory, request.profile)
    recipients = [Recipient(address) for address in message.recipients]
    names = planner.header_names(request.organization.name, recipients)
    content = Content(field_values(message.content(), names))
    groups = (
        planner.asking_for_tls(
            request.organization.name, recipient.address, reverse_path=message.sender, content=content
        )
        for recipient in recipients
    )
    own = {"", request.organization.name}
    sources = (source for sources in groups for source in sources)
    return tuple(dict.fromkeys(each if each.organization in own else _OTHERS for each in sources))


def _message(request: OutboundRequest, recipients: tuple[str, ...]) -> TestMessage:
    sender = request.sender
    if sender:
        try:
            sender = parse_address(sender).text
        except GrammarError as error:
            raise CannotValidate(f"{sender!r} is not a mail address: {error.why}", "sender") from None
    else:
        domains = [domain.name.removeprefix("*.") for domain in request.organization.accepted_domains]
        sender = f"postmaster@{domains[0] if domains else request.hostname}"
    return TestMessage(sender, recipients, request.label, request.hostname, request.now)


def _recipient(request: OutboundRequest, text: str) -> str:
    """The address as it is sent. Raises CannotValidate if it is none, or none of the connector's."""
    try:
        path = parse_address(text)
    except GrammarError as error:
        raise CannotValidate(f"{text!r} is not a mail address: {error.why}", "recipients") from None
    connector, domain = request.connector, path.domain
    accepted = any(covers(accepted_domain.name, domain) for accepted_domain in request.organization.accepted_domains)
    taken = (
        any(covers(pattern, domain) for pattern in connector.recipient_domains)
        or (connector.all_accepted_domains and accepted)
        or connector.route_all_messages_via_on_premises
        or (connector.is_transport_rule_scoped and not connector.recipient_domains)
    )
    if taken:
        return path.text
    own = [*connector.recipient_domains, *(["all accepted domains"] if connector.all_accepted_domains else [])]
    raise CannotValidate(
        f"{domain or text!r} is not a domain of {request.label}, which has {', '.join(own) or 'none'}; name "
        "a recipient in one of them, or add the domain to recipient_domains",
        "recipients",
    )


def _domains(request: OutboundRequest, recipients: Sequence[str]) -> list[str]:
    """The domains that are tried: of the recipients, else those that the connector names without a wildcard."""
    if recipients:
        return list(dict.fromkeys(parse_address(text).domain for text in recipients))
    return [pattern for pattern in request.connector.recipient_domains if "*" not in pattern]


async def _targets(
    prober: Prober,
    request: OutboundRequest,
    recipients: tuple[str, ...],
    asking: tuple[Source, ...],
    progress: ProgressReports,
) -> tuple[list[_Target], list[HostReport]]:
    """The next hops of the connector, and reports on domains without any. asking: other sources that require TLS."""
    connector = request.connector.model_copy(update={"enabled": True, "mode": Mode.ENFORCE})

    def hop(host: str, port: int, name: str, *, bounded: bool) -> NextHop:
        demand = required(connector, request.organization, (name,), profile=request.profile)
        return NextHop(host, port, with_tls(demand, asking), bounded=bounded)

    if not connector.use_mx_record:
        hops = tuple(
            hop(smart.host, smart.port, smart.host, bounded=("smart_hosts", str(smart)) in connector.ungranted)
            for smart in connector.smart_hosts[:_HOSTS]
        )
        return [_Target(hops, recipients, await prober.publication(modes(connector)))], []
    domains = _domains(request, recipients)[:_DOMAINS]
    if not domains:
        raise CannotValidate(
            f"{request.label} routes by the MX of the recipient's domain and names no single domain: give a "
            "recipient in the domain to test",
            "recipients",
        )
    targets, unrouted = [], []
    for domain in domains:
        place = progress.host()
        place.show(resolving(domain))
        mail_hosts = await prober.mail_hosts(domain)
        if isinstance(mail_hosts, HostReport):
            unrouted.append(mail_hosts)
            place.show(mail_hosts)
            continue
        place.clear()
        bounded = is_bounded(request.organization, connector, domain)
        hops = tuple(hop(host.name, prober.port, domain, bounded=bounded) for host in mail_hosts.hosts[:_HOSTS])
        own = tuple(recipient for recipient in recipients if parse_address(recipient).domain == domain)
        targets.append(_Target(hops, own, await prober.publication(modes(connector), mail_hosts), domain))
    return targets, unrouted


async def _try(
    prober: Prober,
    request: OutboundRequest,
    target: _Target,
    message: TestMessage,
    progress: ProgressReports,
) -> tuple[list[HostReport], list[Task]]:
    """Reach every address of every host; then send to the target's recipients by the first host that passed."""
    kept = _Kept()
    places = [progress.host() for _ in target.hops]

    async def one(rank: int, hop: NextHop) -> list[HostReport]:
        return await prober.probe(
            hop,
            certificate=our_certificate(request.connector, request.organization.name),
            listed_by=target.domain,
            options=hop_options(request.connector, request.organization.name),
            publication=target.publication,
            keep=partial(kept.offer, rank) if target.recipients else None,
            look=lambda report, _: places[rank].show(report),
        )

    groups = await asyncio.gather(*(one(rank, hop) for rank, hop in enumerate(target.hops)))
    reports = [report for group in groups for report in group]
    if not target.recipients:
        return reports, []
    if kept.found is None:
        return reports, skipped([TEST_MESSAGE], "no host met the requirements of the connector")
    report, opened = kept.found
    at = next(at for at, one_report in enumerate(reports) if one_report is report)
    place = next(place for place in places if report in place.reports)
    place.show(_with(report, Task(TEST_MESSAGE, TaskStatus.RUNNING, "")))
    task = await send(replace(message, recipients=target.recipients), opened)
    reports[at] = _with(report, task)
    place.show(reports[at])
    return reports, []


def _with(report: HostReport, task: Task) -> HostReport:
    return replace(report, tasks=(*report.tasks, task))


def _notes(
    directory: Directory, request: OutboundRequest, domains: Sequence[str], targets: Sequence[_Target]
) -> list[str]:
    connector = request.connector
    notes = []
    if not connector.enabled:
        notes.append(
            "the connector is disabled: the validation treated it as enabled, but no mail uses it until you enable it"
        )
    if connector.mode is Mode.REHEARSE:
        notes.append("the connector is in rehearsal: the validation treated it as enforced")
    if connector.is_transport_rule_scoped:
        notes.append("the connector is used only by mail flow rules that name it")
    if len(connector.smart_hosts) > _HOSTS and not connector.use_mx_record:
        notes.append(f"only the first {_HOSTS} of {len(connector.smart_hosts)} smart hosts were tested")
    if len(domains) > _DOMAINS and connector.use_mx_record:
        notes.append(f"only the first {_DOMAINS} of {len(domains)} domains were tested")
    notes += [
        f"only {_HOSTS} MX hosts of {target.domain} were tested" for target in targets if len(target.hops) == _HOSTS
    ]
    passing = (elsewhere(directory, request.organization, connector, domain) for domain in domains[:_DOMAINS])
    return [*notes, *filter(None, passing)]
