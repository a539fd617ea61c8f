"""History of destinations (what each was seen to do), which administrators accept and forget; and slowed next hops.

On a running gateway as on a stopped one: its workers read the same file for every new connection. What a destination is
remembered to do is the organization's whose mail went there; who sees only some organizations finds theirs.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.mail.queue.slowdown import Slowdowns
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.context import Context  # noqa: TC001 - the declaration reads it
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, cut, position
from gatepost.manage.use_cases.queue_actions import QueueAction, apply_action
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.policy.connectors.names import domain_name
from gatepost.policy.decisions.destination_history import (
    CLASSICAL_FOR,
    DestinationName,
    accept,
    below,
    best,
    classical_still,
)
from gatepost.policy.decisions.outbound import describe_achieved
from gatepost.store.figures import WORKERS_DIRECTORY, read_all
from gatepost.store.interface import QueueFilter
from gatepost.values import copy_fields, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.decisions.destination_history import DestinationHistory, Drop, HostMemory, SeenSpan
    from gatepost.store.destinations import DestinationTable


use_case = use_cases(visibility=Visibility.SEEN, tag="destinations")
_CHUNK: Final = 1000
_SHOWN: Final = 1000
_NAMED: Final = 10  # organizations in a sentence
_OTHERS_HOST: Final = "another organization's host"
_CONNECTOR: Final = "Only mail of this connector. Without DOMAIN: its smart hosts and domains."

type _Found = list[tuple[DestinationName, DestinationHistory]]
type _Organization = Annotated[str, Meta(max_length=1000), Cli(help="Only destinations of this organization's mail.")]


class DestinationsQuery(Paging, kw_only=True):
    """Filters of destinations; empty fields match all."""

    domain: Annotated[str, Meta(max_length=1000, description="That mail is routed by (MX)."), Cli(argument=True)] = ""
    organization: _Organization = ""
    connector: Annotated[
        str,
        Meta(max_length=1000, description="By whose demands; its smart hosts, too."),
        Cli(help=_CONNECTOR),
    ] = ""
    below: Annotated[
        bool, Meta(description="Only destinations whose last connection protected less than earlier ones.")
    ] = False


class DestinationActions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An action on destinations.

    accept: take them as they are now, and try held mail again. forget: begin anew. all: of every organization that is
    seen, or of that named.
    """

    action: Literal["accept", "forget"]
    domain: Annotated[str, Meta(max_length=1000), Cli(argument=True)] = ""
    organization: _Organization = ""
    connector: Annotated[str, Meta(max_length=1000), Cli(help=_CONNECTOR)] = ""
    all: Annotated[bool, Cli(help="All destinations, or all of the organization.")] = False


class DestinationSpan(msgspec.Struct):
    """When a level was seen, first and last: seconds since 1970."""

    since: float
    last: float


class DestinationAcceptance(msgspec.Struct):
    """Acceptance of a host as it is, by an administrator. at: seconds since 1970."""

    level: str
    at: float
    by: str


class DestinationGroups(msgspec.Struct):
    """A host that is offered no post-quantum key exchange. since, until: seconds since 1970. why: how it failed."""

    why: str
    since: float
    until: float


class DestinationHost(msgspec.Struct, omit_defaults=True):
    """One host. last: what its last session reached. seen: when each level was. expected: given if it does less now."""

    host: str
    first_session: float
    last_session: float
    last: str
    tls_version: str
    seen: dict[str, DestinationSpan]
    expected: str = ""
    accepted: DestinationAcceptance | None = None
    classical_only: DestinationGroups | None = None


class Destination(msgspec.Struct):
    """A destination and what it was seen to do; times in seconds since 1970. below: hosts that do less now."""

    name: str
    organization: str
    domain: str
    connector: str
    best: str
    tls_since: float
    mx_since: float
    last_session: float
    below: list[str]
    hosts: list[DestinationHost]


class DestinationsChanged(msgspec.Struct):
    """Destinations changed, or with dry_run those that would be.

    items: the first 1000. retried: deliveries tried again.
    """

    dry_run: bool
    changed: int
    retried: int
    items: list[Destination]


@use_case("GET /destinations", scope=Scope.READ)
def list_destinations(context: Context, request: DestinationsQuery) -> Items[Destination]:
    """List the history of destinations, in the order of their names."""
    now, after = time.time(), None
    if request.after:
        after = DestinationName(*position(request.after, tuple[str, str, str]))
    with closing(context.storage.destinations()) as file:
        each = _each(file, context.principal, request, after)
        wanted = (candidate for candidate in each if not request.below or below(candidate[1], now))
        listed = list(islice(wanted, request.limit + 1))
    shown, rest = cut(_destinations(context, listed, now), request.limit, _place)
    return Items(shown, rest)


@use_case("POST /destinations/actions", scope=Scope.CONNECTORS, dry_run=True, action="destination")
def act_on_destinations(context: Context, request: DestinationActions) -> DestinationsChanged:
    """Take destinations as they are now, or forget what they did.

    One organization at a time unless all is said. 404 if nothing is remembered, 409 if they do what they did before.
    """
    action, subject = named("destination", request.action), request.domain or request.connector
    context.audit.describe(action, organization=request.organization, subject=subject)
    changed = _accept(context, request) if request.action == "accept" else _forget(context, request)
    for organization, count in Counter(item.organization for item in changed.items).items():
        context.audit.add(action, organization=organization, subject=subject, destinations=count)
    return msgspec.structs.replace(changed, items=changed.items[:_SHOWN])


def _accept(context: Context, request: DestinationActions) -> DestinationsChanged:
    """Each host may do as little as it did last; held mail is tried again.

    Raises Refusal: INPUT, MISSING if nothing is remembered, CONFLICT if they do what they did before.
    """
    now, principal = time.time(), context.principal
    with closing(context.storage.destinations()) as file:
        chosen = _meant(file, principal, request)
        fallen = [candidate for candidate in chosen if below(candidate[1], now)]
        if not fallen:
            raise Refusal(RefusalKind.CONFLICT, "it protects mail as it did before: there is nothing to accept")
        _one_owner(fallen, request)
        if context.dry_run:
            return _changed(context, fallen, now)
        changed = [(name, file.change(name, partial(accept, at=now, by=principal.name))) for name, _ in fallen]
        file.settle()  # else a worker that does not know it yet holds again what is tried now
    routes = {(name.organization, name.domain) for name, _ in changed}
    # Of smart hosts nobody knows which held mail is theirs: all of their organization's is tried.
    held = [QueueFilter(organization=organization, domain=domain, held=True) for organization, domain in routes]
    retried = sum(
        len(apply_action(context.gateway, principal, QueueAction.RETRY, queue_filter)) for queue_filter in held
    )
    return _changed(context, changed, now, retried)


def _forget(context: Context, request: DestinationActions) -> DestinationsChanged:
    """The next connection is remembered as the first. Raises as `_accept`."""
    with closing(context.storage.destinations()) as file:
        chosen = _meant(file, context.principal, request)
        _one_owner(chosen, request)
        for name, _ in () if context.dry_run else chosen:
            file.forget(name)
    return _changed(context, chosen, time.time())


def _changed(context: Context, found: _Found, now: float, retried: int = 0) -> DestinationsChanged:
    return DestinationsChanged(context.dry_run, len(found), retried, _destinations(context, found, now))


def _domain(text: str) -> str:
    """As it is remembered. Raises Refusal (INPUT)."""
    domain = text.lower()
    if not domain or domain.startswith("["):  # an address literal is remembered as it is written
        return domain
    with refusing(RefusalKind.INPUT, ValueError):
        return domain_name(domain)


def _each(
    file: DestinationTable,
    principal: Principal,
    request: DestinationsQuery | DestinationActions,
    after: DestinationName | None = None,
) -> Iterator[tuple[DestinationName, DestinationHistory]]:
    """Those that are seen, some at a time."""
    names = {"domain": _domain(request.domain), "organization": request.organization, "connector": request.connector}
    while chunk := file.listed(**names, limit=_CHUNK, after=after):
        yield from (candidate for candidate in chunk if principal.sees(candidate[0].organization))
        after = chunk[-1][0]


def _meant(file: DestinationTable, principal: Principal, request: DestinationActions) -> _Found:
    """Raises Refusal if none is, or any could be."""
    if not request.domain and not request.connector and not request.all:
        text = f"name the destination to {request.action}: a domain, a connector for its smart hosts, or all"
        raise Refusal(RefusalKind.INPUT, text)
    if result := list(_each(file, principal, request)):
        return result
    meant = request.domain or (f"connector {request.connector}" if request.connector else "any destination")
    raise Refusal(
        RefusalKind.MISSING, f"nothing is recorded for {meant}; `gatepost destination list` lists recorded destinations"
    )


def _one_owner(found: _Found, request: DestinationActions) -> None:
    """Raises Refusal if several organizations are meant: what one of them takes is not the others' to take."""
    owners = sorted({name.organization for name, _ in found})
    if len(owners) > 1 and not request.all:
        more = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
        text = f"say whose to {request.action}: {', '.join(owners[:_NAMED])}{more}; or that it is for all of them"
        raise Refusal(RefusalKind.INPUT, text, options=["organization", "all"])


def _place(destination: Destination) -> tuple[str, str, str]:
    """Where it stands: what is behind it comes next."""
    return destination.organization, destination.domain, destination.connector


def _destinations(context: Context, found: _Found, now: float) -> list[Destination]:
    """As they are shown to the caller: hosts of another organization's way without their names.

    Whose way it is says who accepts the domain; a connector of one's own has its own name in the history.
    """
    directory = context.directory()

    def is_hidden(name: DestinationName) -> bool:
        owner = directory.organization_of(name.domain) if not name.connector else None
        return owner is not None and not context.principal.sees(owner.name)

    return [_destination(name, _nameless(history) if is_hidden(name) else history, now) for name, history in found]


def _nameless(history: DestinationHistory) -> DestinationHistory:
    hosts = (host for _, host in sorted(history.hosts.items()))
    return replace(history, hosts={f"{_OTHERS_HOST} {number}": host for number, host in enumerate(hosts, 1)})


def _destination(name: DestinationName, history: DestinationHistory, now: float) -> Destination:
    highest, fallen = best(history, now), {drop.host: drop for drop in below(history, now)}
    return copy_fields(
        Destination,
        name,
        highest,
        name=str(name),
        best=describe_achieved(highest.achieved),
        last_session=history.at,
        below=list(fallen),
        hosts=[_host(host, known, fallen.get(host), now) for host, known in sorted(history.hosts.items())],
    )


def _host(host: str, one: HostMemory, fallen: Drop | None, now: float) -> DestinationHost:
    classical, accepted = classical_still(one.classical, now), one.accepted
    return DestinationHost(
        host,
        one.first,
        one.at,
        describe_achieved(one.last),
        one.version,
        {label: DestinationSpan(span.since, span.last) for label, span in _spans(one)},
        describe_achieved(fallen.was) if fallen else "",
        DestinationAcceptance(describe_achieved(accepted.level), accepted.at, accepted.by) if accepted else None,
        DestinationGroups(classical.why, classical.since, classical.since + CLASSICAL_FOR) if classical else None,
    )


def _spans(host: HostMemory) -> list[tuple[str, SeenSpan]]:
    """The levels that a host reached, by name."""
    names = ("encrypted", "authenticated", "mta-sts", "dnssec")
    return [(label, span) for label, span in zip(names, (*host.tls, *host.mx), strict=True) if span is not None]


class ListSlowed(msgspec.Struct, kw_only=True):
    """All of this machine."""


class SlowedDestination(msgspec.Struct):
    """A next hop (its hosts) and a worker. code: of the reply that slowed it. at: of it, in seconds since 1970."""

    next_hop: str
    worker: int
    messages_per_minute: float
    code: int
    at: float


@use_case("GET /destinations/slowed", scope=Scope.READ, visibility=Visibility.GATEWAY)
def list_slowed(context: Context, request: ListSlowed) -> Items[SlowedDestination]:  # noqa: ARG001 - nothing to say
    """List next hops that are sent less mail, as they said that they get too much; each worker has its own rate."""
    now = time.time()
    destinations = [
        SlowedDestination(slowed.next_hop, figures.worker, round(slowed.rate, 1), slowed.code, slowed.at)
        for figures in read_all(context.data / WORKERS_DIRECTORY)
        for slowed in Slowdowns(figures.slowed).listed(now)
    ]
    return Items(sorted(destinations, key=lambda slowed: (slowed.next_hop, slowed.worker)))
