"""`gatepost store reopen`: use a store again that was moved, or whose move was given up."""

from __future__ import annotations

import click

from gatepost.manage.cli.language import _, ours
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, settings_of
from gatepost.manage.cli.tables import printable, say
from gatepost.manage.use_cases.store_migration import reopen_store
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.interface import StoreFailure
from gatepost.store.move import MoveRefused
from gatepost.store.move_mark import MoveState


@click.command()
@click.option("--yes", is_flag=True, help="Reopen it. Without it the command only says what that would mean.")
@config_option
def reopen(config: str | None, *, yes: bool) -> None:
    """Let the store of the settings be used again, after `store migrate` moved it away or was cut off.

    What waited in it when it was moved is delivered from the other store. If this one is used again, it is delivered
    from here, too: a second time. What the other store took since is not here. To go back without either, stop the
    gateway and move everything back with `store migrate`.

    Exit codes: 0 reopened (or, without --yes, it could be; or nothing closes it), 1 it is an incomplete copy, 2 usage
    error, 3 it cannot be read or written.
    """
    settings = settings_of(config)
    try:
        place, mark = reopen_store(settings, really=yes)
    except MoveRefused as refused:
        fail(NO, printable(_("%(refused)s. Nothing was changed", refused=ours(str(refused)))))
    except VaultError as error:
        fail(BAD_INPUT, "store.master_key: %(error)s; nothing was changed", error=ours(str(error)))
    except StoreFailure as failure:
        fail(UNKNOWN, printable(str(failure)))
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
