"""`gatepost certificate remove`: forget a certificate, a request that waits, or a directory that is watched."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.certificates.course import can_roll_back, is_covered, names_of, roll_back_until, successor
from gatepost.certificates.directories import pairs_in
from gatepost.certificates.entry import Purpose, State
from gatepost.cli.certificate_store import choose_certificate, listed_certificates, opened, settings_files
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, NO, author, config_option, fail, force_option, settings_of
from gatepost.cli.tables import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.inventory import Inventory
    from gatepost.settings.model import Settings

__all__ = ["remove"]


@click.command()
@click.argument("number", metavar="ID|DIR")
@force_option("Though it is needed; the reason is kept in the history.")
@click.option("--note", default="", help="Why, for the history.")
@config_option
def remove(number: str, force: str, note: str, config: str | None) -> None:
    """Forget a certificate with its key: ID as in `gatepost certificate show`, or the id of a request.

    With a directory it is not watched any more; what was found in it stays. A certificate that is presented is removed
    only if others bear all its names, a client identity only if no connector names it, one that can be rolled back to
    only when its 24 hours are over; all this also with --force REASON. One that comes from the settings is taken out
    there. Files are left alone; the history stays.

    Exit codes: 0 removed, 1 it is needed, 2 no such certificate, 3 not readable.
    """
    settings, why = settings_of(config), f"forced: {force}" if force else note
    with opened(settings, keys=False) as inventory:
        if _request_removed(inventory, number, why) or _directory_removed(inventory, number, why):
            return
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        if again := _found_again(entry, inventory, settings):
            fail(BAD_INPUT, f"{entry.id} {again}")
        needed = _needed(entry, found.entries.values(), settings)
        if needed and not force:
            fail(NO, f"{entry.id} is needed: {needed}; to remove it all the same: --force REASON")
        # If it became current meanwhile, at its time, it is needed after all.
        inventory.remove(entry, author=author(), note=why, expected=found.version)
    click.echo(f"{entry.id}: removed")


def _request_removed(inventory: Inventory, number: str, note: str) -> bool:
    waiting = inventory.requests.waiting().get(number.lower())
    if waiting is None:
        return False
    inventory.requests.remove(waiting, author=author(), note=note)
    left = f"; its key is still in {waiting.key_file}" if waiting.key_file else ""
    click.echo(f"request {waiting.id}: removed{left}")
    return True


def _directory_removed(inventory: Inventory, number: str, note: str) -> bool:
    path = Path(number).absolute()
    if path not in inventory.directories.paths():
        return False
    inventory.directories.remove(path, author=author(), note=note)
    click.echo(f"{path}: not watched any more")
    return True


def _found_again(entry: Entry, inventory: Inventory, settings: Settings) -> str:
    """Why it would come back by itself, "" if it would not."""
    pair = (Path(entry.chain_file), Path(entry.key_file))
    if not entry.chain_file:
        return ""
    if pair in settings_files(settings):
        return "comes from the settings: take its [[certificate]] out there, and restart the gateway"
    for path in inventory.directories.paths():
        with suppress(OSError):
            if pair in pairs_in(path):
                return (
                    f"is in {path}, which is watched: take it away there, or first: gatepost certificate remove {path}"
                )
    return ""


def _needed(entry: Entry, entries: Iterable[Entry], settings: Settings) -> str:
    """Who would miss it, "" if nobody."""
    known = {one.id: one for one in entries}
    newer = successor(entry, known) if entry.state is State.DEPRECATED else None
    if newer is not None and can_roll_back(newer, known, now=time.time()):
        return f"until {moment(roll_back_until(newer))} the switch to {newer.id} can be rolled back with its key"
    if entry.state is not State.CURRENT:
        return ""
    others = [one for one in known.values() if one.state is State.CURRENT and one.id != entry.id]
    if entry.purpose is Purpose.SERVER:
        servers = [one for one in others if one.purpose is Purpose.SERVER]
        lost = [name for name in names_of(entry) if not is_covered(name, servers)]
        return f"nothing else that is current bears {', '.join(lost)}" if lost else ""
    if any((one.organization, one.label) == (entry.organization, entry.label) for one in others):
        return ""
    owner = stored_directory(settings).resources.organization(entry.organization)
    users = [
        one.name
        for one in (owner.outbound_connectors if owner else ())
        if one.client_certificate is not None and one.client_certificate.label == entry.label
    ]
    return f"outbound connectors name it: {', '.join(users)}" if users else ""
