"""`gatepost destination …`: what destinations were seen to do, and what an administrator accepts of them.

On a running gateway as on a stopped one: its workers read the same file for every new connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.destinations import (
    DestinationActions,
    DestinationsQuery,
    act_on_destinations,
    list_destinations,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.manage.use_cases.destinations import Destination, DestinationHost, DestinationsChanged


_COLUMNS = ("organization", "destination", "best", "since", "last session", "below")


@click.group()
def destination() -> None:
    """What destinations were seen to do: MX and TLS level, since when, and whether they do less now.

    A DOMAIN is one that mail is routed to by MX. Smart hosts are remembered by their connector: `--connector NAME`.
    """


@destination.command("list")
@request_options(DestinationsQuery)
@limit_option
@config_option
@json_option
def list_(config: str | None, as_json: bool, request: DestinationsQuery, limit: int) -> None:
    """Destinations in the order of their names.

    Exit codes: 0 done (also if there are none), 2 wrong use, 3 not readable.
    """
    found = list(all_items(client(config).call, list_destinations, request, limit))
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@destination.command()
@request_options(DestinationsQuery, below=False)
@config_option
@json_option
def show(config: str | None, as_json: bool, request: DestinationsQuery) -> None:
    """Everything that is remembered, host by host.

    Exit codes: 0 all do what they did before, 1 one does less or nothing is remembered, 2 wrong use, 3 not readable.
    """
    if not request.domain and not request.connector:
        fail(BAD_INPUT, "say which destination to show: DOMAIN, or --connector NAME for smart hosts.")
    found = list(all_items(client(config).call, list_destinations, request))
    if not found:
        meant = printable(request.domain or f"connector {request.connector}")
        fail(NO, f"nothing is remembered of {meant}; `gatepost destination list` prints what is")
    if as_json:
        print_json(found)
    else:
        for one in found:
            _print(one)
    if any(one.below for one in found):
        raise SystemExit(NO)


@destination.command()
@request_options(DestinationActions, action="accept")
@config_option
@json_option
def accept(config: str | None, as_json: bool, request: DestinationActions) -> None:
    """Take a destination as it is now: each of its hosts may do as little as it did last.

    What it does better from now on counts again. Mail that is held for it is tried again. One organization at a time,
    but with --all. Exit codes: 0 done, 1 nothing is remembered of it or it does what it did before, 2 wrong use, 3 not
    writable.
    """
    done = _done(config, request)
    if as_json:
        print_json(done.items)
    else:
        for item in done.items:
            click.echo(f"accepted: {_title(item)} at {printable(item.best)}")
    click.echo(f"held mail that is tried again: {done.retried} deliveries", err=True)


@destination.command()
@request_options(DestinationActions, action="forget")
@config_option
def forget(config: str | None, request: DestinationActions) -> None:
    """Begin anew: the next connection is remembered as the first. One organization at a time, but with --all.

    Exit codes: 0 done, 1 nothing is remembered of it, 2 wrong use, 3 not writable.
    """
    for one in _done(config, request).items:
        click.echo(f"forgotten: {_title(one)}")


def _done(config: str | None, request: DestinationActions) -> DestinationsChanged:
    """Run an action; ends the command with 1 if there is nothing that it could be done to."""
    try:
        return client(config).call(act_on_destinations, request)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.MISSING:
            fail(NO, printable(refusal.text))
        raise


def _row(one: Destination) -> tuple[object, ...]:
    last = {host.host: host.last for host in one.hosts}
    fallen = "; ".join(f"{name}: {last[name]}" for name in one.below)
    return one.organization, one.name, one.best, moment(one.tls_since), moment(one.last_session), fallen


def _title(one: Destination) -> str:
    return f"{printable(one.name)} of {printable(one.organization)}"


def _print(one: Destination) -> None:
    click.echo(_title(one))
    click.echo(f"  best            {printable(one.best)} since {moment(one.tls_since)}")
    for host in one.hosts:
        click.echo("\n".join(f"  {line}" for line in _host_lines(host)))
    click.echo()


def _host_lines(host: DestinationHost) -> Iterable[str]:
    less = f", LESS than {printable(host.expected)}" if host.expected else ""
    version = f" ({printable(host.tls_version)})" if host.tls_version else ""
    yield printable(host.host)
    yield f"  last          {printable(host.last)}{version} at {moment(host.last_session)}{less}"
    for label, span in host.seen.items():
        yield f"  {printable(label):13} {moment(span.since)} to {moment(span.last)}"
    if classical := host.classical_only:
        yield f"  key exchange  classical groups only until {moment(classical.until)}: post-quantum key exchange was"
        yield f"                left unanswered at {moment(classical.since)} ({printable(classical.why)})"
    if accepted := host.accepted:
        by = f"by {printable(accepted.by)} at {moment(accepted.at)}"
        yield f"  accepted      {printable(accepted.level)} {by}"
