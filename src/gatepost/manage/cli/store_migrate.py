"""`gatepost store migrate|reopen`: everything stored, from SQLite to PostgreSQL or back; a store that was moved."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import click

from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.use_cases.store_migration import StoreMigration, reopen_store
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.interface import StoreFailure
from gatepost.store.move import Comparison, MoveDiffers, MoveProgress, MoveRefused
from gatepost.store.move_mark import MoveMark, MoveState
from gatepost.texts import N_

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


_UNCHANGED: Final = N_("%(error)s. Nothing was changed")
_NO_VAULT: Final = N_("store.master_key: %(error)s; nothing was changed")
_QUIET: Final = 2.0  # seconds between two lines of progress
_DIGITS: Final = 16  # of a hash, for people


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    help='The store in use: "sqlite:" (data_dir), "sqlite:/PATH" (another data directory), or "postgresql://…".',
)
@click.option("--to", "target", required=True, help="The store to move to, empty; written in the same way.")
@click.option("--dry-run", is_flag=True, help="Check both stores, and say what would be moved; change nothing.")
@gateway_options
def migrate(source: str, target: str, *, dry_run: bool) -> None:
    """Move everything stored from SQLite to PostgreSQL, or back.

    First stop the gateway, on all nodes. The command moves the queue with all bodies, configuration with its history,
    certificates and sealed keys, accounts and audit log, reports, counts, history of destinations, message trace and
    evidence. Mailboxes, evidence signing keys and caches stay where they are: they belong to the node.

    Neither store can be used during the move. If it is interrupted, run the same command again: it continues. At the
    end it compares both stores, record by record. Then it closes the old one, and `serve` on it says where the mail is.

    The settings give data_dir and store.master_key; store.url does not matter. Change it after the move.

    Exit codes: 0 moved (with --dry-run: it could be), 1 the copy differs (both stay closed; run it again), 2 usage
    error, or the stores cannot be moved as they are (nothing is changed), 3 a store cannot be reached, read or written.
    """
    settings = local_settings()
    migration = _migration(settings, source, target)
    with closing(migration):
        _check(migration)
        with ending(UNKNOWN, StoreFailure), ending(NO, MoveDiffers), ending(BAD_INPUT, MoveRefused, text=_UNCHANGED):
            if dry_run:
                _show_plan(migration, migration.plan())
                return
            results = migration.run()
    steps = _next_steps(settings, target)
    if printed_json(_data(migration, results) | {"settings": _settings(target), "next": steps}):
        return
    _show(migration, results)
    for line in steps:
        click.echo(line, err=True)


def _migration(settings: Settings, source: str, target: str) -> StoreMigration:
    try:
        with ending(BAD_INPUT, ValueError, MoveRefused, text=_UNCHANGED), ending(BAD_INPUT, VaultError, text=_NO_VAULT):
            return StoreMigration(settings, source, target, _Progress())
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))


def _check(migration: StoreMigration) -> None:
    """End the command if the stores cannot be moved as they are."""
    try:
        with ending(BAD_INPUT, MoveRefused, text=_UNCHANGED):
            migration.check()
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))


class _Progress:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _QUIET

    def __call__(self, progress: MoveProgress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _QUIET
            total = max(progress.total, progress.done)
            say(
                "%(verb)s: %(name)s: %(done)s of %(total)s",
                err=True,
                verb=ours(progress.verb),
                name=ours(progress.name),
                done=progress.done,
                total=total,
            )


def _show_plan(migration: StoreMigration, plan: list[tuple[str, int]]) -> None:
    source, target = migration.places
    tables = [{"name": name, "count": count} for name, count in plan]
    if printed_json({"from": source, "to": target, "moved": False, "tables": tables}):
        return
    for name, count in plan:
        click.echo(f"{count:>12}  {ours(name)}")
    say("would be moved from %(source)s to %(target)s; nothing was changed", err=True, source=source, target=target)


def _data(migration: StoreMigration, results: list[Comparison]) -> dict[str, Any]:
    source, target = migration.places
    before = migration.completed_before
    return {
        "from": source,
        "to": target,
        "moved": True,
        "complete_since": None if before is None else stamp(before),
        "tables": [
            {
                "name": result.name,
                "from": result.source._asdict(),
                "to": result.target._asdict(),
                "same": result.same,
            }
            for result in results
        ],
    }


def _show(migration: StoreMigration, results: list[Comparison]) -> None:
    source, target = migration.places
    if migration.completed_before is not None:
        say(
            "%(source)s was moved to %(target)s on %(completed_before)s; nothing is left to do",
            err=True,
            source=source,
            target=target,
            completed_before=stamp(migration.completed_before),
        )
        return
    click.echo(f"{_('records'):>12}  {_('SHA-256 of both'):<{_DIGITS}}  {_('what')}")
    for result in results:
        click.echo(f"{result.source.records:>12}  {result.source.sha256[:_DIGITS]}  {ours(result.name)}")
    say(
        "moved from %(source)s to %(target)s: both were compared, and have the same",
        err=True,
        source=source,
        target=target,
    )
    say("%(source)s is closed: serve on it says where the mail is", err=True, source=source)


def _settings(target: str) -> dict[str, str | None]:
    """The settings that the gateway needs from now on; null: to be taken away."""
    if target.startswith("sqlite:/"):
        return {"store.url": "sqlite:", "server.data_dir": target.removeprefix("sqlite:"), "store.worker_url": None}
    return {"store.url": target}


def _next_steps(settings: Settings, target: str) -> list[str]:
    where = _settings(target)["store.url"]
    lines = [_('next: set [store] url = "%(where)s" in the settings, then start the gateway', where=where)]
    if target.startswith("sqlite:/"):
        path, data_dir = target.removeprefix("sqlite:"), settings.server.data_dir
        lines.append(
            _(
                'and [server] data_dir = "%(path)s"; mailboxes (maildir) stay in %(data_dir)s',
                path=path,
                data_dir=data_dir,
            )
        )
        if settings.store.worker_url:
            lines.append(_("and remove [store] worker_url: it is for PostgreSQL only"))
    return lines


@click.command()
@click.option("--yes", is_flag=True, help="Reopen it. Without it the command only says what that would mean.")
@gateway_options
def reopen(*, yes: bool) -> None:
    """Reopen the store in the settings, after `store migrate` moved its data or was interrupted.

    The other store delivers the mail that waited when the data was moved. If you reopen this one, it delivers that mail
    a second time. Mail that the other store accepted since is not here. To go back without both, stop the gateway and
    move everything back with `store migrate`.

    Exit codes: 0 reopened (or, without --yes, it could be; or nothing closes it), 1 it is an incomplete copy, 2 usage
    error, 3 it cannot be read or written.
    """
    settings = local_settings()
    with (
        ending(UNKNOWN, StoreFailure),
        ending(BAD_INPUT, VaultError, text=_NO_VAULT),
        ending(NO, MoveRefused, text=_UNCHANGED),
    ):
        place, mark = reopen_store(settings, really=yes)
    if printed_json(_reopened(place, mark, really=yes)):
        return
    if mark is None:
        say("%(place)s is not closed; there is nothing to do", err=True, place=place)
        return
    when = stamp(mark.at)
    if mark.state is MoveState.LEFT:
        lines = [
            _("%(place)s was moved to %(other)s on %(when)s", place=place, other=mark.other, when=when),
            _("delivered twice: what waited then, if the other store is used, too"),
            _("not here: what was accepted or changed there since"),
        ]
    else:
        lines = [
            _(
                "a move of %(place)s to %(other)s was begun on %(when)s and is not complete",
                place=place,
                other=mark.other,
                when=when,
            ),
            _("the incomplete copy stays closed; empty that store before another move"),
        ]
    lines.append(_("reopened: the gateway may use it") if yes else _("nothing was changed; to reopen it, add --yes"))
    for line in lines:
        click.echo(printable(line), err=True)


def _reopened(place: str, mark: MoveMark | None, *, really: bool) -> dict[str, Any]:
    """For programs: why the store was closed, null if it was not, and whether it is in use again."""
    closed = None if mark is None else {"state": mark.state.value, "other": mark.other, "at": mark.at}
    return {"store": place, "closed": closed, "reopened": really and mark is not None}
