"""`gatepost destination …`: what destinations were seen to do, and what an administrator accepts of them.

On a running gateway as on a stopped one: its workers read the same file for every new connection.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.connectors.names import domain_name
from gatepost.policy.memory import accept as accepted
from gatepost.policy.memory import below, best
from gatepost.policy.outbound import describe_achieved
from gatepost.store.administration import Administration
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.interface import QueueFilter, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.policy.memory import DestinationName, HostMemory, Remembered, Span
    from gatepost.settings.model import Settings

    type Found = list[tuple[DestinationName, Remembered]]

__all__ = ["destination"]

_NAMED = 10  # organizations in a message
_COLUMNS = ("organization", "destination", "best", "since", "last session", "below")


def _which[F: Callable[..., Any]](command: F) -> F:
    """`[DOMAIN]`, and the options that say which connector and whose."""
    command = click.option("--organization", default="", help="Only of this one.")(command)
    command = click.option(
        "--connector", default="", help="Sent by this one; alone: its smart hosts, and its domains."
    )(command)
    return click.argument("domain", default="")(command)


_all = click.option("--all", "everything", is_flag=True, help="All there are; with --organization all of it.")


@click.group()
def destination() -> None:
    """What destinations were seen to do: MX and TLS level, since when, and whether they do less now.

    A DOMAIN is one that mail is routed to by MX. Smart hosts are remembered by their connector: `--connector NAME`.
    """


@destination.command("list")
@_which
@click.option("--below", "only_below", is_flag=True, help="Only those whose last connection did less than before.")
@click.option("--limit", default=1000, type=click.IntRange(0), show_default=True, help="At most so many; 0 = all.")
@config_option
@json_option
def list_(config: str | None, as_json: bool, only_below: bool, limit: int, **which: str) -> None:
    """Destinations in the order of their names.

    Exit codes: 0 done (also if there are none), 2 wrong use, 3 not readable.
    """
    now = time.time()
    found = _found(settings_of(config), which)
    if only_below:
        found = [one for one in found if below(one[1], now)]
    found = found[: limit or None]
    if as_json:
        print_json([_as_json(*one, now) for one in found])
    else:
        print_table(_COLUMNS, [_row(*one, now) for one in found])


@destination.command()
@_which
@config_option
@json_option
def show(config: str | None, as_json: bool, **which: str) -> None:
    """Everything that is remembered, host by host.

    Exit codes: 0 all do what they did before, 1 one does less or nothing is remembered, 2 wrong use, 3 not readable.
    """
    now = time.time()
    found = _meant(settings_of(config), which, "show")
    if as_json:
        print_json([_as_json(*one, now) for one in found])
    else:
        for name, remembered in found:
            _print(name, remembered, now)
    if any(below(remembered, now) for _, remembered in found):
        raise SystemExit(NO)


@destination.command()
@_which
@_all
@config_option
@json_option
def accept(config: str | None, as_json: bool, everything: bool, **which: str) -> None:
    """Take a destination as it is now: each of its hosts may do as little as it did last.

    What it does better from now on counts again. Mail that is held for it is tried again. One organization at a time,
    but with --all. Exit codes: 0 done, 1 nothing is remembered of it or it does what it did before, 2 wrong use, 3 not
    writable.
    """
    settings, now, by = settings_of(config), time.time(), author()
    fallen = [one for one in _meant(settings, which, "accept", everything=everything) if below(one[1], now)]
    if not fallen:
        fail(NO, "it does what it did before: there is nothing to accept")
    if not everything:
        _one_owner(fallen, "accept")
    with _memory(settings) as file:
        changed = [(name, file.change(name, partial(accepted, at=now, by=by))) for name, _ in fallen]
    retried = sum(_retry(settings, name, by) for name in {(name.organization, name.domain) for name, _ in changed})
    if as_json:
        print_json([_as_json(*one, now) for one in changed])
    else:
        for name, remembered in changed:
            was = describe_achieved(best(remembered, now).achieved)
            click.echo(f"accepted: {printable(name)} of {printable(name.organization)} at {was}")
    click.echo(f"held mail that is tried again: {retried} deliveries", err=True)


@destination.command()
@_which
@_all
@config_option
def forget(config: str | None, everything: bool, **which: str) -> None:
    """Begin anew: the next connection is remembered as the first. One organization at a time, but with --all.

    Exit codes: 0 done, 1 nothing is remembered of it, 2 wrong use, 3 not writable.
    """
    settings = settings_of(config)
    found = _meant(settings, which, "forget", everything=everything)
    if not everything:
        _one_owner(found, "forget")
    with _memory(settings) as file:
        for name, _ in found:
            file.forget(name)
            click.echo(f"forgotten: {printable(name)} of {printable(name.organization)}")


def _meant(settings: Settings, which: dict[str, str], verb: str, *, everything: bool = False) -> Found:
    """The destinations that are meant; ends the command if none is, or anything could be."""
    if not which["domain"] and not which["connector"] and not everything:
        also = " Or --all." if verb != "show" else ""
        fail(BAD_INPUT, f"say which destination to {verb}: DOMAIN, or --connector NAME for smart hosts.{also}")
    found = _found(settings, which)
    if not found:
        wanted = which["domain"] or (f"connector {which['connector']}" if which["connector"] else "any destination")
        fail(NO, f"nothing is remembered of {printable(wanted)}; `gatepost destination list` prints what is")
    return found


def _one_owner(found: Found, verb: str) -> None:
    """Ends the command if several organizations are meant: what one of them takes is not the others' to take."""
    owners = sorted({name.organization for name, _ in found})
    if len(owners) > 1:
        more = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
        named = printable(", ".join(owners[:_NAMED]))
        fail(
            BAD_INPUT,
            f"say whose to {verb}: {named}{more}; --organization NAME, or --all to {verb} it for all of them",
        )


def _found(settings: Settings, which: dict[str, str]) -> Found:
    domain = which["domain"].lower()
    if domain and not domain.startswith("["):  # an address literal is remembered as it is written
        try:
            domain = domain_name(domain)
        except ValueError as error:
            fail(BAD_INPUT, printable(error))
    with _memory(settings) as file:
        return file.listed(organization=which["organization"], domain=domain, connector=which["connector"])


@contextmanager
def _memory(settings: Settings) -> Iterator[DestinationFile]:
    """The file; ends the command if it cannot be used."""
    try:
        with closing(DestinationFile(Path(settings.server.data_dir) / DESTINATIONS_FILE)) as file:
            yield file
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))


def _retry(settings: Settings, name: tuple[str, str], by: str) -> int:
    """Try what is held for a destination; for smart hosts all that its organization has held."""
    data = Path(settings.server.data_dir)
    wanted = QueueFilter(organization=name[0], domain=name[1], held=True, limit=0)
    try:
        return len(Administration(data / "queue", data / "trace").retry(wanted, author=by))
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))


def _row(name: DestinationName, remembered: Remembered, now: float) -> tuple[object, ...]:
    highest = best(remembered, now)
    fallen = "; ".join(f"{one.host}: {describe_achieved(one.now)}" for one in below(remembered, now))
    achieved = describe_achieved(highest.achieved)
    return name.organization, name, achieved, moment(highest.tls_since), moment(remembered.at), fallen


def _as_json(name: DestinationName, remembered: Remembered, now: float) -> dict[str, Any]:
    highest = best(remembered, now)
    return {
        "organization": name.organization,
        "domain": name.domain,
        "connector": name.connector,
        "best": describe_achieved(highest.achieved),
        "tls_since": highest.tls_since,
        "mx_since": highest.mx_since,
        "last_session": remembered.at,
        "below": [one.host for one in below(remembered, now)],
        "hosts": [_host_json(host, one) for host, one in sorted(remembered.hosts.items())],
    }


def _host_json(host: str, one: HostMemory) -> dict[str, Any]:
    record: dict[str, Any] = {
        "host": host,
        "first_session": one.first,
        "last_session": one.at,
        "last": describe_achieved(one.last),
        "tls_version": one.version,
        "seen": {label: {"since": span.since, "last": span.last} for label, span in _spans(one)},
    }
    if one.accepted is not None:
        level = describe_achieved(one.accepted.level)
        record["accepted"] = {"level": level, "at": one.accepted.at, "by": one.accepted.by}
    return record


def _spans(one: HostMemory) -> list[tuple[str, Span]]:
    """The levels that a host reached, by name."""
    names = ("encrypted", "authenticated", "mta-sts", "dnssec")
    return [(label, span) for label, span in zip(names, (*one.tls, *one.mx), strict=True) if span is not None]


def _print(name: DestinationName, remembered: Remembered, now: float) -> None:
    highest = best(remembered, now)
    fallen = {one.host: one for one in below(remembered, now)}
    click.echo(f"{printable(name)} of {printable(name.organization)}")
    click.echo(f"  best            {describe_achieved(highest.achieved)} since {moment(highest.tls_since)}")
    for host, one in sorted(remembered.hosts.items()):
        less = f", LESS than {describe_achieved(fallen[host].was)}" if host in fallen else ""
        version = f" ({printable(one.version)})" if one.version else ""
        click.echo(f"  {printable(host)}")
        click.echo(f"    last          {describe_achieved(one.last)}{version} at {moment(one.at)}{less}")
        for label, span in _spans(one):
            click.echo(f"    {label:13} {moment(span.since)} to {moment(span.last)}")
        if one.accepted is not None:
            level = describe_achieved(one.accepted.level)
            click.echo(f"    accepted      {level} by {printable(one.accepted.by)} at {moment(one.accepted.at)}")
    click.echo()
