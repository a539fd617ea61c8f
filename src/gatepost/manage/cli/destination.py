"""`gatepost destination …`: what destinations were seen to do, and what an administrator accepts of them.

On a running gateway as on a stopped one: its workers read the same file for every new connection.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from gatepost.manage.cli.options import BAD_INPUT, NO, client, fail, gateway_options, missing_is_no
from gatepost.manage.cli.output import _, ours, print_rows, printable, printed_json, quantity, say
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.use_cases import destinations as destination_cases
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("organization", "destination", "best", "since", "last session", "below")
_SLOWED_COLUMNS = ("next hop", "worker", "messages a minute", "after", "last refusal")


@click.group()
def destination() -> None:
    """Show how destinations protected mail: MX and TLS level, since when, and whether they do less now.

    A DOMAIN is one that mail is routed to by MX. Smart hosts are listed under their connector: `--connector NAME`.
    """


@destination.command("list")
@request_options(destination_cases.DestinationsQuery)
@limit_option
@gateway_options
def list_(request: destination_cases.DestinationsQuery, limit: int) -> None:
    """List destinations by name.

    Exit codes: 0 done (also if there are none), 2 usage error, 3 the data cannot be read.
    """
    print_rows(_COLUMNS, all_items(client().call, destination_cases.list_destinations, request, limit), _row)


@destination.command()
@request_options(destination_cases.DestinationsQuery, below=False)
@gateway_options
def show(request: destination_cases.DestinationsQuery) -> None:
    """Show the recorded history of a destination, host by host.

    Exit codes: 0 all hosts protect mail as before, 1 one protects it less, or nothing is recorded, 2 usage error, 3 the
    data cannot be read.
    """
    if not request.domain and not request.connector:
        fail(BAD_INPUT, "name the destination to show: DOMAIN, or --connector NAME for smart hosts.")
    destinations = list(all_items(client().call, destination_cases.list_destinations, request))
    if not destinations:
        meant = printable(request.domain or _("connector %(connector)s", connector=request.connector))
        fail(
            NO,
            "nothing is recorded for %(meant)s; `gatepost destination list` lists recorded destinations",
            meant=meant,
        )
    if not printed_json(destinations):
        for entry in destinations:
            _print(entry)
    if any(entry.below for entry in destinations):
        raise SystemExit(NO)


@destination.command()
@request_options(destination_cases.DestinationActions, action="accept")
@gateway_options
def accept(request: destination_cases.DestinationActions) -> None:
    """Accept a destination as it is now: each host need not protect mail better than in its last session.

    From then on, improvements count again. Held mail for the destination is retried. One organization at a time, unless
    --all is given. Exit codes: 0 done, 1 nothing is recorded, or the destination protects mail as before, 2 usage
    error, 3 the data cannot be written.
    """
    done = _done(request)
    if not printed_json(done.items):
        for item in done.items:
            say("accepted: %(item)s at %(best)s", item=_title(item), best=item.best)
    say(
        "held mail released for retry: %(deliveries)s",
        err=True,
        deliveries=quantity(done.retried, "delivery", "deliveries"),
    )


@destination.command()
@request_options(destination_cases.DestinationActions, action="forget")
@gateway_options
def forget(request: destination_cases.DestinationActions) -> None:
    """Forget the history of a destination: its next session is recorded as the first.

    One organization at a time, unless --all is given. Exit codes: 0 done, 1 nothing is recorded, 2 usage error, 3 the
    data cannot be written.
    """
    done = _done(request)
    if printed_json(done):
        return
    for entry in done.items:
        say("forgotten: %(entry)s", entry=_title(entry))


@destination.command()
@gateway_options
def slowed() -> None:
    """List next hops to which the gateway sends more slowly, because they replied that they get too much.

    After such a reply, each worker halves its rate. It speeds up again while there is no other one. Exit codes: 0 done
    (also if there are none), 2 usage error, 3 the data cannot be read.
    """
    print_rows(
        _SLOWED_COLUMNS, client().call(destination_cases.list_slowed, destination_cases.ListSlowed()).items, _slowed_row
    )


def _slowed_row(hop: destination_cases.SlowedDestination) -> tuple[object, ...]:
    return hop.next_hop, hop.worker, f"{hop.messages_per_minute:g}", hop.code, moment(hop.at)


def _done(request: destination_cases.DestinationActions) -> destination_cases.DestinationsChanged:
    """Run an action; ends the command with 1 if there is nothing that it could be done to."""
    with missing_is_no():
        done = client().call(destination_cases.act_on_destinations, request)
    return done


def _row(one: destination_cases.Destination) -> tuple[object, ...]:
    last = {host.host: host.last for host in one.hosts}
    fallen = "; ".join(f"{name}: {last[name]}" for name in one.below)
    return one.organization, one.name, one.best, moment(one.tls_since), moment(one.last_session), fallen


def _title(one: destination_cases.Destination) -> str:
    return _("%(name)s of %(organization)s", name=one.name, organization=one.organization)


def _print(one: destination_cases.Destination) -> None:
    click.echo(_title(one))
    say("  best            %(best)s since %(tls_since)s", best=one.best, tls_since=moment(one.tls_since))
    for host in one.hosts:
        click.echo("\n".join(f"  {line}" for line in _host_lines(host)))
    click.echo()


def _host_lines(host: destination_cases.DestinationHost) -> Iterable[str]:
    less = _(", LESS than %(expected)s", expected=host.expected) if host.expected else ""
    version = f" ({printable(host.tls_version)})" if host.tls_version else ""
    yield printable(host.host)
    yield _(
        "  last          %(last)s%(version)s at %(last_session)s%(less)s",
        last=host.last,
        version=version,
        last_session=moment(host.last_session),
        less=less,
    )
    for label, span in host.seen.items():
        yield _(
            "  %(label)s %(since)s to %(last)s",
            label=f"{printable(label):13}",
            since=moment(span.since),
            last=moment(span.last),
        )
    if classical := host.classical_only:
        yield _(
            "  key exchange  only classical groups until %(until)s: post-quantum key exchange was",
            until=moment(classical.until),
        )
        yield _(
            "                not answered at %(since)s (%(why)s)",
            since=moment(classical.since),
            why=ours(classical.why),
        )
    if accepted := host.accepted:
        by = _("by %(by)s at %(at)s", by=accepted.by, at=moment(accepted.at))
        yield _("  accepted      %(level)s %(by)s", level=accepted.level, by=by)
