"""Validate an inbound connector: by a captured session, an uploaded certificate and address, and by the trace.

Called by `manage.use_cases.validation`. Exchange cannot do this (exchange.md §15, item 5): its administrators ask the
partner for a test mail and wait. Today's configuration is held against facts; nothing is sent, nothing changed. The
result is the organization's: what it says is found out as if there were no other one, and only whether the connector
takes the mail after all is decided by the resources of all.

The trace shows the last time, the volume, the senders, and names to add: senders rarely publish the name in their
client certificate, yet a connector needs it (exchange.md §15, item 9), so what their sessions presented is offered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.analysis.checks.tasks import Task, TaskStatus, detail_of
from gatepost.analysis.checks.validation import CannotValidate, Validation
from gatepost.analysis.rehearsal.recorded import session_facts
from gatepost.analysis.rehearsal.replay import with_connector
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import ConnectorType, Mode
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_path
from gatepost.quantity import quantity
from gatepost.store.interface import TraceFilter
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.records import InboundConnector, Organization
    from gatepost.policy.decisions.decision import InboundVerdict


_ROWS = 10_000
_DOMAINS = 10
_PEERS = 5
_NAMES = 5

type _Search = Callable[[TraceFilter], list[TraceEvent]]


def seen_tasks(
    organization: Organization,
    connector: InboundConnector,
    search: _Search,
    window: tuple[float, float],
    *,
    sole: bool,
) -> list[Task]:
    """The tasks "Seen", perhaps "Refused", perhaps "Learned names". window: from and to, seconds since 1970.

    sole: nothing else speaks for the connector, so that without mail nothing can be said.
    """
    since, now = window
    days = max(1, round((now - since) / 86400))
    own = search(TraceFilter(since=since, organization=organization.name, connector=connector.name, limit=_ROWS))
    taken = [event for event in own if event.event == "RECEIVE"]
    tasks = [_seen(taken, days) if taken else _not_seen(days, sole=sole)]
    if refused := [event for event in own if event.event == "REFUSE"]:
        tasks.append(_refused(refused, days))
    if (learned := _learned(organization, connector, search, since)) is not None:
        tasks.append(learned)
    return tasks


def _seen(taken: Sequence[TraceEvent], days: int) -> Task:
    messages = len({event.message for event in taken})
    more = "at least " if len(taken) == _ROWS else ""
    peers = Counter(_peer(event) for event in taken)
    first, *others = (f"{peer} ({count})" for peer, count in peers.most_common(_PEERS))
    rest = f"and {len(peers) - _PEERS} more" if len(peers) > _PEERS else ""
    mail = f"{more}{quantity(messages, 'message')} in {quantity(days, 'day')}"
    said = f"last at {second_text(taken[0].at)}, {mail}, from {first}"
    return Task("Seen", TaskStatus.SUCCEEDED, detail_of(said, *others, rest))


def _not_seen(days: int, *, sole: bool) -> Task:
    what = (
        "Ask them to send a test mail, or try a certificate and address of theirs, or a session that the trace has. Or "
        "look further back."
    )
    status = TaskStatus.FAILED if sole else TaskStatus.WARNING
    return Task("Seen", status, f"no mail came by this connector in {quantity(days, 'day')}", what, ours=True)


def _refused(refused: Sequence[TraceEvent], days: int) -> Task:
    last = refused[0]
    detail = (
        f"{quantity(len(refused), 'refusal')} in {quantity(days, 'day')}, the last at {second_text(last.at)}: "
        f"<{last.sender}> from {_peer(last)}: {last.reply}"
    )
    what = (
        f"Look at it: gatepost trace show {last.session}. If it was legitimate, they must meet the connector's demands."
    )
    return Task("Refused", TaskStatus.WARNING, detail, what)


def _learned(organization: Organization, connector: InboundConnector, search: _Search, since: float) -> Task | None:
    """Names that sessions of these senders presented, where the connector names none or another.

    Only with mail of the organization: whether the senders write to another one is not for it to know.
    """
    wanted = connector.tls_sender_certificate_name
    presented: Counter[tuple[str, str]] = Counter()
    domains = _sender_domains(organization, connector)[:_DOMAINS]
    for domain in domains:
        chosen = TraceFilter(since=since, sender=f"@{domain}", organization=organization.name, limit=_ROWS // _DOMAINS)
        for event in _inbound(search(chosen)):
            names = event.tls.get("certificate", {}).get("names", [])
            if not names or (wanted and any(covers(wanted, name) for name in names)):
                continue
            chain = event.tls.get("chain", "not judged")
            presented.update((name, chain) for name in names[:_NAMES])
    if not presented:
        return None
    shown = ", ".join(f"{name} ({chain}): {count}" for (name, chain), count in presented.most_common(_NAMES))
    expected = f"the connector expects {wanted}" if wanted else "the connector expects no name"
    detail = detail_of(f"sessions of these senders by the name that they presented: {shown}", expected)
    status = TaskStatus.WARNING if wanted else TaskStatus.SUCCEEDED
    return Task("Learned names", status, detail, _what_to_do([name for name, _ in presented.most_common(1)], domains))


def _what_to_do(most: Sequence[tuple[str, str]], domains: Sequence[str]) -> str:
    """Explain how to use a learned name. most: the most frequent name and the status of its chain."""
    ((name, chain),) = most
    if chain != "trusted":
        return (
            f"The certificate with {name} is not trusted ({chain}), so the name counts for nothing: its root must be "
            "in trust_anchors, or they must send what is missing."
        )
    above = next((f", or to *.{domain} for all their servers" for domain in domains if name.endswith(f".{domain}")), "")
    return f"If {name} is theirs (ask them over another channel), set tls_sender_certificate_name to it{above}."


def _inbound(events: Iterable[TraceEvent]) -> Iterator[TraceEvent]:
    return (event for event in events if event.event in {"RECEIVE", "REFUSE"})


def _sender_domains(organization: Organization, connector: InboundConnector) -> list[str]:
    if connector.connector_type is ConnectorType.ON_PREMISES:
        own = connector.associated_accepted_domains or tuple(domain.name for domain in organization.accepted_domains)
    else:
        own = tuple(pattern for pattern in connector.sender_domains if pattern != "*")
    return [pattern.removeprefix("*.") for pattern in own]


def _peer(event: TraceEvent) -> str:
    certificate = event.tls.get("certificate", {})
    names = ", ".join(certificate.get("names", [])[:_NAMES]) or certificate.get("subject", "")
    if not event.tls:
        return f"{event.peer_address} unencrypted"
    if not names:
        return f"{event.peer_address} {event.tls_version} without a certificate"
    chain = event.tls.get("chain", "not judged")
    return f"{event.peer_address} {event.tls_version} with the certificate {names} ({chain})"


_REPLAYED = 10


@dataclass(frozen=True, slots=True)
class Presented:
    """A session that might come. session: its facts. sender, recipient: addresses, "" for the null reverse-path."""

    session: SessionFacts
    sender: str
    recipient: str


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """The input of a validation.

    captured: rows of the trace from one session or message. presented: an administrator's upload. offers_tls: whether
    this gateway has a certificate, so that it offers STARTTLS. since: the time from which mail counts as seen.
    """

    organization: Organization
    connector: InboundConnector
    now: float
    since: float
    captured: Sequence[TraceEvent] = ()
    presented: Presented | None = None
    offers_tls: bool = True
    anchors: str = "system"

    @property
    def label(self) -> str:
        """As sentences name the connector."""
        return f"connector {self.connector.name!r} of {self.organization.name}"


def validate_inbound(
    directory: Directory, request: InboundRequest, search: Callable[[TraceFilter], list[TraceEvent]]
) -> Validation:
    """Try everything. search: rows of the trace, newest first. Raises CannotValidate for addresses that are none."""
    enabled = with_enabled(directory, request.organization, request.connector)
    tasks = [*_configuration(_alone(enabled, request), request)]
    decided = [*_replays(enabled, request), *_upload(enabled, request)]
    tasks += decided
    tasks += seen_tasks(request.organization, request.connector, search, (request.since, request.now), sole=not decided)
    return Validation(
        request.organization.name,
        request.connector.name,
        "inbound",
        request.now,
        directory.version,
        tasks=tuple(tasks),
        notes=tuple(_notes(request)),
    )


def _notes(request: InboundRequest) -> Iterator[str]:
    if not request.connector.enabled:
        yield "the connector is disabled: the validation treated it as enabled, but no mail uses it until you enable it"
    if request.connector.mode is Mode.REHEARSE:
        yield "the connector is in rehearsal: the gateway accepts mail that it would refuse"


def with_enabled(directory: Directory, organization: Organization, connector: InboundConnector) -> Directory:
    """The same resources, with the connector switched on."""
    return directory if connector.enabled else with_connector(directory, organization.name, connector, enabled=True)


# the configuration


def _configuration(directory: Directory, request: InboundRequest) -> Iterator[Task]:
    connector = request.connector
    matches = [warning for warning in warnings(directory.resources) if _is_about(warning, request)]
    for warning in matches:
        yield Task("Configuration", TaskStatus.WARNING, warning, "Here: change the setting if this is not intended.")
    if not matches:
        yield Task("Configuration", TaskStatus.SUCCEEDED, "no known problems in its settings")
    needs_tls = connector.require_tls or connector.tls_sender_certificate_name is not None
    if needs_tls and not request.offers_tls:
        what = (
            "Here: give the gateway a certificate ([[certificate]] in the settings); without one it offers no STARTTLS."
        )
        yield Task("STARTTLS", TaskStatus.FAILED, "the connector needs TLS, and this gateway offers none", what)
    if connector.tls_sender_certificate_name is not None:
        yield _anchors(connector.trust_anchors or request.anchors)


def _is_about(warning: str, request: InboundRequest) -> bool:
    return f"inbound {request.label}" in warning or (
        "share addresses" in warning and f"{request.connector.name!r}" in warning
    )


def _anchors(spec: str) -> Task:
    try:
        anchors = TrustAnchors.load(spec)
    except AnchorsError as error:
        what = "Here: fix the file or its path; until then this connector trusts no client certificate."
        return Task("Trust anchors", TaskStatus.FAILED, str(error), what)
    return Task(
        "Trust anchors", TaskStatus.SUCCEEDED, f"{anchors_label(spec)}: {quantity(len(anchors), 'certificate')}"
    )


def _alone(directory: Directory, request: InboundRequest) -> Directory:
    """The same without other organizations, of whose connectors nothing may be found out by guesses."""
    own = (each for each in directory.resources.organizations if each.name == request.organization.name)
    return directory.with_resources(Resources(tuple(own)))


# decisions


def _replays(directory: Directory, request: InboundRequest) -> Iterator[Task]:
    known: set[tuple[str, str]] = set()
    for event in reversed(request.captured):
        key = event.sender, event.recipient
        if event.event not in {"RECEIVE", "REFUSE"} or key in known or len(known) == _REPLAYED:
            continue
        known.add(key)
        presented = Presented(session_facts(event), event.sender, event.recipient)
        yield _decided("Replay", directory, request, presented)
    if request.captured and not known:
        raise CannotValidate("the trace has no event that shows how its mail came in", "session")


def _upload(directory: Directory, request: InboundRequest) -> Iterator[Task]:
    if request.presented is not None:
        yield _decided("Presented", directory, request, request.presented)


def _path(text: str, field: str) -> Path:
    try:
        return parse_path(f"<{text}>", smtputf8=True)
    except GrammarError as error:
        raise CannotValidate(f"{text!r} is not a mail address: {error.why}", field) from None


def _decided(name: str, directory: Directory, request: InboundRequest, presented: Presented) -> Task:
    """Whether this connector takes the mail, and what becomes of it."""
    session = presented.session
    verdict, alone = (_verdict(each, request, presented) for each in (directory, _alone(directory, request)))
    said = f"<{presented.sender}> from {session.peer_ip}, {_channel(session)}"
    if not _is_by(verdict, request):
        first = _not_taken(presented, request, alone, shared=bool(directory.resources.organizations[1:]))
        return Task(name, TaskStatus.FAILED, detail_of(first, *_why(alone, request)), _not_by_it(request))
    refusal = verdict.would_refuse or (None if verdict.accepted else verdict.reply)
    if refusal is None:
        detail = detail_of(f"{said}: accepted by this connector", *_why(alone, request))
        return Task(name, TaskStatus.SUCCEEDED, detail)
    detail = detail_of(f"{said}: this connector applies and refuses it with {refusal.text}", *_why(alone, request))
    return Task(
        name,
        TaskStatus.FAILED,
        detail,
        "To accept this mail, change the connector, or let the client meet the requirements of the connector.",
    )


def _verdict(directory: Directory, request: InboundRequest, presented: Presented) -> InboundVerdict:
    session, reverse_path = presented.session, _path(presented.sender, "reverse_path")
    verdict = decide_mail(directory, session, reverse_path)
    if not verdict.accepted:
        return verdict
    text = presented.recipient or _some_recipient(request)
    return decide_recipient(directory, session, reverse_path, _path(text, "forward_path"), verdict.attribution)


def _not_taken(presented: Presented, request: InboundRequest, alone: InboundVerdict, *, shared: bool) -> str:
    """What takes the mail instead. alone: without other organizations; shared: there are some."""
    session = presented.session
    said = f"<{presented.sender}> from {session.peer_ip}, {_channel(session)}"
    if _is_by(alone, request):  # another organization's connector does
        return f"{said}: not this connector"
    if alone.connector:
        return f"{said}: not this connector, connector {alone.connector!r} would accept it"
    if shared:
        return f"{said}: not this connector, no connector of {request.organization.name} would accept it"
    return f"{said}: not this connector, no connector would accept it"


def _is_by(verdict: InboundVerdict, request: InboundRequest) -> bool:
    return verdict.connector == request.connector.name and verdict.organization in {"", request.organization.name}


def _some_recipient(request: InboundRequest) -> str:
    """A recipient for a check that names none: any address in a domain that the connector is for."""
    domains = request.connector.associated_accepted_domains or tuple(
        domain.name for domain in request.organization.accepted_domains
    )
    for mailbox in request.organization.mailboxes:
        if any(covers(pattern, mailbox.address.rpartition("@")[2]) for pattern in domains):
            return mailbox.address
    return f"postmaster@{domains[0].removeprefix('*.')}" if domains else "postmaster"


def _not_by_it(request: InboundRequest) -> str:
    if request.connector.connector_type is ConnectorType.ON_PREMISES:
        return (
            "Here: compare tls_sender_certificate_name, sender_ip_addresses and the accepted domains with what the "
            "server presents."
        )
    return "Here: compare sender_domains, associated_accepted_domains and priority with the addresses of the mail."


def _why(verdict: InboundVerdict, request: InboundRequest) -> list[str]:
    lost = [f"this connector {why}" for label, why in verdict.passed_over if label == request.label]
    return [*verdict.reasons, *lost]


def _channel(session: SessionFacts) -> str:
    if session.tls is None:
        return "unencrypted"
    chain = session.client_chain
    if chain is None or chain.leaf is None:
        return f"{session.tls.version} without a certificate"
    return f"{session.tls.version} with the certificate {chain.leaf.subject} ({chain.status})"
