"""Evidence from the trace that mail comes by an inbound connector: last time, volume, senders, names to add.

Called by `analysis.checks.inbound`. Senders rarely publish the name in their client certificate, yet a connector needs
it (exchange.md §15, item 9): what their sessions presented is offered.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gatepost.analysis.checks.tasks import Task, TaskStatus, detail_of
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.values import ConnectorType
from gatepost.quantity import quantity
from gatepost.store.interface import TraceFilter
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.records import InboundConnector, Organization


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
    return f"If {name} is theirs (ask them by another way), set tls_sender_certificate_name to it{above}."


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
