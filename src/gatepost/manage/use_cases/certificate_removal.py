"""A certificate, a request that waits or a directory that is watched is forgotten, unless somebody would miss it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.inventory import choose_certificate, inventory_of, listed_certificates, settings_files
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.directories import pairs_in
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.lifecycle import can_roll_back, is_covered, names_of, roll_back_until, successor
from gatepost.store.changes import on_newest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Inventory


def remove(gateway: Gateway, who: Principal, number: str, *, force: str = "", note: str = "") -> str:
    """Forget what goes by an id, a label or the path of a directory; what was done, in a sentence.

    Files are left alone; the history stays. force: why, though it is needed. Raises Refusal: CONFLICT if it is needed,
    MISSING, INPUT for what would come back by itself.
    """
    why = f"forced: {force}" if force else note
    with inventory_of(gateway, keys=False) as inventory:
        if number.lower() in inventory.requests.waiting():
            return _request_removed(inventory, who, number, why)
        if Path(number).absolute() in inventory.directories.paths():
            return _directory_removed(inventory, who, Path(number).absolute(), why)
        return _certificate_removed(gateway, who, inventory, number, why, force=bool(force))


def remove_certificate(
    gateway: Gateway, who: Principal, number: str, *, force: str = "", note: str = "", dry_run: bool = False
) -> str:
    """The same of a certificate alone."""
    why = f"forced: {force}" if force else note
    with inventory_of(gateway, keys=False) as inventory:
        return _certificate_removed(gateway, who, inventory, number, why, force=bool(force), dry_run=dry_run)


def remove_request(gateway: Gateway, who: Principal, number: str, *, note: str = "", dry_run: bool = False) -> str:
    """The same of a request that waits. Raises Refusal (MISSING)."""
    with inventory_of(gateway, keys=False) as inventory:
        return _request_removed(inventory, who, number, note, dry_run=dry_run)


def remove_directory(gateway: Gateway, who: Principal, path: str, *, note: str = "", dry_run: bool = False) -> str:
    """The same of a directory, by its whole path. Raises Refusal (MISSING)."""
    with inventory_of(gateway, keys=False) as inventory:
        return _directory_removed(inventory, who, Path(path), note, dry_run=dry_run)


def _certificate_removed(  # noqa: PLR0913 - as `remove_certificate`
    gateway: Gateway,
    who: Principal,
    inventory: Inventory,
    number: str,
    note: str,
    *,
    force: bool,
    dry_run: bool = False,
) -> str:
    def once() -> str:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)
        if again := _found_again(entry, inventory, gateway):
            raise Refusal(Kind.INPUT, f"{entry.id} {again}")
        missed = needed(entry, found.entries.values(), gateway)
        if missed and not force:
            text = f"{entry.id} is needed: {missed}; to remove it all the same give a reason"
            raise Refusal(Kind.CONFLICT, text, options=["force"])
        if not dry_run:
            inventory.remove(entry, author=who.name, note=note, expected=found.version)
        return f"{entry.id}: removed"

    return on_newest(once)  # if it became current meanwhile, at its time, it is needed after all


def _request_removed(inventory: Inventory, who: Principal, number: str, note: str, *, dry_run: bool = False) -> str:
    waiting = inventory.requests.waiting().get(number.lower())
    if waiting is None:
        raise Refusal(Kind.MISSING, f"no request {number!r} waits; its certificate may have come meanwhile")
    if not dry_run:
        inventory.requests.remove(waiting, author=who.name, note=note)
    left = f"; its key is still in {waiting.key_file}" if waiting.key_file else ""
    return f"request {waiting.id}: removed{left}"


def _directory_removed(inventory: Inventory, who: Principal, path: Path, note: str, *, dry_run: bool = False) -> str:
    if path not in inventory.directories.paths():
        raise Refusal(Kind.MISSING, f"{path} is not watched; `gatepost certificate list` has those that are")
    if not dry_run:
        inventory.directories.remove(path, author=who.name, note=note)
    return f"{path}: not watched any more"


def _found_again(entry: Entry, inventory: Inventory, gateway: Gateway) -> str:
    """Why it would come back by itself, "" if it would not."""
    pair = (Path(entry.chain_file), Path(entry.key_file))
    if not entry.chain_file:
        return ""
    if pair in settings_files(gateway.settings):
        return "comes from the settings: take its [[certificate]] out there, and restart the gateway"
    for path in inventory.directories.paths():
        with suppress(OSError):
            if pair in pairs_in(path):
                return (
                    f"is in {path}, which is watched: take it away there, or first: gatepost certificate remove {path}"
                )
    return ""


def needed(entry: Entry, entries: Iterable[Entry], gateway: Gateway) -> str:
    """Who would miss it, "" if nobody."""
    known = {one.id: one for one in entries}
    newer = successor(entry, known) if entry.state is State.DEPRECATED else None
    if newer is not None and can_roll_back(newer, known, now=time.time()):
        return f"until {stamp(roll_back_until(newer))} the switch to {newer.id} can be rolled back with its key"
    if entry.state is not State.CURRENT:
        return ""
    others = [one for one in known.values() if one.state is State.CURRENT and one.id != entry.id]
    if entry.purpose is Purpose.SERVER:
        servers = [one for one in others if one.purpose is Purpose.SERVER]
        lost = [name for name in names_of(entry) if not is_covered(name, servers)]
        return f"nothing else that is current bears {', '.join(lost)}" if lost else ""
    if any((one.organization, one.label) == (entry.organization, entry.label) for one in others):
        return ""
    owner = gateway.directory().resources.organization(entry.organization)
    users = [
        one.name
        for one in (owner.outbound_connectors if owner else ())
        if one.client_certificate is not None and one.client_certificate.label == entry.label
    ]
    return f"outbound connectors name it: {', '.join(users)}" if users else ""
