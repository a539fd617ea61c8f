"""What destinations were seen to do, as administrators see it, and what they accept of it.

On a running gateway as on a stopped one: its workers read the same file for every new connection. What a destination is
remembered to do is the organization's whose mail went there; who sees only some organizations finds theirs.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.manage.use_cases.queue import QueueAction, act
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.names import domain_name
from gatepost.policy.decisions.destination_history import CLASSICAL_FOR, accept, below, best, classical_still
from gatepost.policy.decisions.outbound import describe_achieved
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.interface import QueueFilter, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.decisions.destination_history import DestinationName, Drop, HostMemory, Remembered, Span


_CHUNK: Final = 1000
_NAMED: Final = 10  # organizations in a sentence

type _Found = list[tuple[DestinationName, Remembered]]


class Which(NamedTuple):
    """Which destinations; empty fields match all.

    domain: that mail is routed by (MX). connector: by whose demands; alone: its smart hosts, and its domains.
    """

    domain: str = ""
    organization: str = ""
    connector: str = ""

    @property
    def words(self) -> str:
        """As a sentence names it."""
        return self.domain or (f"connector {self.connector}" if self.connector else "any destination")


class Accepted(NamedTuple):
    """The destinations that are taken as they are, as records; and how many held deliveries are tried again."""

    destinations: list[dict[str, Any]]
    retried: int


def remembered(
    gateway: Gateway,
    who: Principal,
    which: Which,
    *,
    only_below: bool = False,
    limit: int = 0,
    after: DestinationName | None = None,
) -> list[dict[str, Any]]:
    """Records of destinations in the order of their names, behind a place. limit: at most so many, 0 for all.

    only_below: those whose last connection did less than before. Raises Refusal: INPUT for no domain, UNREADABLE.
    """
    now = time.time()
    with _memory(gateway) as file:
        found = (one for one in _each(file, who, _read(which), after) if not only_below or below(one[1], now))
        return [_record(*one, now) for one in islice(found, limit or None)]


def place_of(record: dict[str, Any]) -> tuple[str, str, str]:
    """Where a record stands: what is behind it comes next."""
    return record["organization"], record["domain"], record["connector"]


def accepted(
    gateway: Gateway, who: Principal, which: Which, *, everything: bool = False, dry_run: bool = False
) -> Accepted:
    """Take destinations as they are now: each host may do as little as it did last; held mail is tried again.

    One organization at a time unless `everything`, which also takes no name. Raises Refusal: INPUT, MISSING if nothing
    is remembered, CONFLICT if they do what they did before, UNREADABLE.
    """
    now = time.time()
    with _memory(gateway) as file:
        found = _meant(file, who, which, "accept", everything=everything)
        fallen = [one for one in found if below(one[1], now)]
        if not fallen:
            raise Refusal(Kind.CONFLICT, "it does what it did before: there is nothing to accept")
        if not everything:
            _one_owner(fallen, "accept")
        if dry_run:
            return Accepted([_record(*one, now) for one in fallen], 0)
        changed = [(name, file.change(name, partial(accept, at=now, by=who.name))) for name, _ in fallen]
    routes = {(name.organization, name.domain) for name, _ in changed}
    # Of smart hosts nobody knows which held mail is theirs: all of their organization's is tried.
    held = [QueueFilter(organization=organization, domain=domain, held=True) for organization, domain in routes]
    retried = sum(len(act(gateway, who, QueueAction.RETRY, one)) for one in held)
    return Accepted([_record(*one, now) for one in changed], retried)


def forgotten(
    gateway: Gateway, who: Principal, which: Which, *, everything: bool = False, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Begin anew with destinations: the next connection is remembered as the first. Raises as `accepted`."""
    now = time.time()
    with _memory(gateway) as file:
        found = _meant(file, who, which, "forget", everything=everything)
        if not everything:
            _one_owner(found, "forget")
        for name, _ in () if dry_run else found:
            file.forget(name)
    return [_record(*one, now) for one in found]


@contextmanager
def _memory(gateway: Gateway) -> Iterator[DestinationFile]:
    """The file. Raises Refusal (UNREADABLE)."""
    try:
        with closing(DestinationFile(gateway.data / DESTINATIONS_FILE)) as file:
            yield file
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def _read(which: Which) -> Which:
    """With the domain as it is remembered. Raises Refusal (INPUT)."""
    domain = which.domain.lower()
    if not domain or domain.startswith("["):  # an address literal is remembered as it is written
        return which._replace(domain=domain)
    try:
        return which._replace(domain=domain_name(domain))
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error


def _each(
    file: DestinationFile, who: Principal, which: Which, after: DestinationName | None = None
) -> Iterator[tuple[DestinationName, Remembered]]:
    """Those that are seen, some at a time."""
    while chunk := file.listed(**which._asdict(), limit=_CHUNK, after=after):
        yield from (one for one in chunk if who.sees(one[0].organization))
        after = chunk[-1][0]


def _meant(file: DestinationFile, who: Principal, which: Which, verb: str, *, everything: bool) -> _Found:
    """Raises Refusal if none is, or any could be."""
    if not which.domain and not which.connector and not everything:
        text = f"say which destination to {verb}: a domain, a connector for its smart hosts, or all"
        raise Refusal(Kind.INPUT, text)
    if found := list(_each(file, who, _read(which))):
        return found
    text = f"nothing is remembered of {which.words}; `gatepost destination list` prints what is"
    raise Refusal(Kind.MISSING, text)


def _one_owner(found: _Found, verb: str) -> None:
    """Raises Refusal if several organizations are meant: what one of them takes is not the others' to take."""
    owners = sorted({name.organization for name, _ in found})
    if len(owners) > 1:
        more = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
        named = ", ".join(owners[:_NAMED])
        text = f"say whose to {verb}: {named}{more}; or that it is for all of them"
        raise Refusal(Kind.INPUT, text, options=["organization", "all"])


# records


def _record(name: DestinationName, one: Remembered, now: float) -> dict[str, Any]:
    """For machines, as `gatepost destination list --json` prints it."""
    highest, fallen = best(one, now), {drop.host: drop for drop in below(one, now)}
    return {
        "name": str(name),
        "organization": name.organization,
        "domain": name.domain,
        "connector": name.connector,
        "best": describe_achieved(highest.achieved),
        "tls_since": highest.tls_since,
        "mx_since": highest.mx_since,
        "last_session": one.at,
        "below": list(fallen),
        "hosts": [_host(host, known, fallen.get(host), now) for host, known in sorted(one.hosts.items())],
    }


def _host(host: str, one: HostMemory, fallen: Drop | None, now: float) -> dict[str, Any]:
    record: dict[str, Any] = {
        "host": host,
        "first_session": one.first,
        "last_session": one.at,
        "last": describe_achieved(one.last),
        "tls_version": one.version,
        "seen": {label: {"since": span.since, "last": span.last} for label, span in _spans(one)},
    }
    if fallen is not None:
        record["expected"] = describe_achieved(fallen.was)
    if (classical := classical_still(one.classical, now)) is not None:
        until = classical.since + CLASSICAL_FOR
        record["classical_only"] = {"why": classical.why, "since": classical.since, "until": until}
    if one.accepted is not None:
        level = describe_achieved(one.accepted.level)
        record["accepted"] = {"level": level, "at": one.accepted.at, "by": one.accepted.by}
    return record


def _spans(one: HostMemory) -> list[tuple[str, Span]]:
    """The levels that a host reached, by name."""
    names = ("encrypted", "authenticated", "mta-sts", "dnssec")
    return [(label, span) for label, span in zip(names, (*one.tls, *one.mx), strict=True) if span is not None]
