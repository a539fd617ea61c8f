"""`gatepost destination …`: what destinations were seen to do, and what an administrator accepts of them.

On a running gateway as on a stopped one: its workers read the same file for every new connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases import destinations
from gatepost.manage.use_cases.destinations import Which
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    type _Record = Mapping[str, Any]


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
    found = door(config)(destinations.remembered, Which(**which), only_below=only_below, limit=limit)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@destination.command()
@_which
@config_option
@json_option
def show(config: str | None, as_json: bool, **which: str) -> None:
    """Everything that is remembered, host by host.

    Exit codes: 0 all do what they did before, 1 one does less or nothing is remembered, 2 wrong use, 3 not readable.
    """
    wanted = _named(which, "show")
    found = door(config)(destinations.remembered, wanted)
    if not found:
        fail(NO, f"nothing is remembered of {printable(wanted.words)}; `gatepost destination list` prints what is")
    if as_json:
        print_json(found)
    else:
        for one in found:
            _print(one)
    if any(one["below"] for one in found):
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
    done = _done(config, destinations.accepted, _named(which, "accept", everything=everything), everything)
    if as_json:
        print_json(done.destinations)
    else:
        for one in done.destinations:
            click.echo(f"accepted: {_title(one)} at {printable(one['best'])}")
    click.echo(f"held mail that is tried again: {done.retried} deliveries", err=True)


@destination.command()
@_which
@_all
@config_option
def forget(config: str | None, everything: bool, **which: str) -> None:
    """Begin anew: the next connection is remembered as the first. One organization at a time, but with --all.

    Exit codes: 0 done, 1 nothing is remembered of it, 2 wrong use, 3 not writable.
    """
    for one in _done(config, destinations.forgotten, _named(which, "forget", everything=everything), everything):
        click.echo(f"forgotten: {_title(one)}")


def _named(which: dict[str, str], verb: str, *, everything: bool = False) -> Which:
    """The destinations that are meant; ends the command if any could be."""
    wanted = Which(**which)
    if not wanted.domain and not wanted.connector and not everything:
        also = " Or --all." if verb != "show" else ""
        fail(BAD_INPUT, f"say which destination to {verb}: DOMAIN, or --connector NAME for smart hosts.{also}")
    return wanted


def _done(config: str | None, use_case: Callable[..., Any], wanted: Which, everything: bool) -> Any:
    """What an action was done to; ends the command with 1 if there is nothing that it could be done to."""
    try:
        return door(config)(use_case, wanted, everything=everything)
    except Refusal as refusal:
        if refusal.kind is Kind.MISSING:
            fail(NO, printable(refusal.text))
        raise


def _row(one: _Record) -> tuple[object, ...]:
    last = {host["host"]: host["last"] for host in one["hosts"]}
    fallen = "; ".join(f"{name}: {last[name]}" for name in one["below"])
    times = moment(one["tls_since"]), moment(one["last_session"])
    return one["organization"], one["name"], one["best"], *times, fallen


def _title(one: _Record) -> str:
    return f"{printable(one['name'])} of {printable(one['organization'])}"


def _print(one: _Record) -> None:
    click.echo(_title(one))
    click.echo(f"  best            {printable(one['best'])} since {moment(one['tls_since'])}")
    for host in one["hosts"]:
        click.echo("\n".join(f"  {line}" for line in _host_lines(host)))
    click.echo()


def _host_lines(host: _Record) -> Iterable[str]:
    less = f", LESS than {printable(host['expected'])}" if "expected" in host else ""
    version = f" ({printable(host['tls_version'])})" if host["tls_version"] else ""
    yield printable(host["host"])
    yield f"  last          {printable(host['last'])}{version} at {moment(host['last_session'])}{less}"
    for label, span in host["seen"].items():
        yield f"  {printable(label):13} {moment(span['since'])} to {moment(span['last'])}"
    if classical := host.get("classical_only"):
        yield f"  key exchange  classical groups only until {moment(classical['until'])}: post-quantum key exchange was"
        yield f"                left unanswered at {moment(classical['since'])} ({printable(classical['why'])})"
    if taken := host.get("accepted"):
        by = f"by {printable(taken['by'])} at {moment(taken['at'])}"
        yield f"  accepted      {printable(taken['level'])} {by}"
