"""A certificate or a directory that is watched is forgotten, unless somebody would miss it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.certificates import CertificateNumber, Note, Reason  # noqa: TC001 - msgspec reads them
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.inventory import (
    choose_certificate,
    describe_certificate,
    inventory_of,
    listed_certificates,
    recorded_changes,
    settings_files,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.directories import pairs_in
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.lifecycle import can_roll_back, is_covered, names_of, roll_back_until, successor
from gatepost.store.changes import on_newest
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.pki.certificates.inventory import Inventory


use_case = use_cases(scope=Scope.CERTIFICATES, visibility=Visibility.GATEWAY, tag="certificates")


class RemoveCertificate(msgspec.Struct, kw_only=True):
    """note, force: for the history; force: why, though it is needed."""

    certificate: CertificateNumber
    force: Reason = ""
    note: Note = ""


class RemoveDirectory(msgspec.Struct, kw_only=True):
    """note: for the history."""

    directory: Annotated[str, Meta(description="Its whole path.")]
    note: Note = ""


class Removed(msgspec.Struct):
    """Result of a removal, in a sentence."""

    text: str


@use_case("DELETE /certificates/{certificate}", dry_run=True, action="certificate-remove")
def remove_certificate(context: Context, request: RemoveCertificate) -> Removed:
    """Remove a certificate and its key, unless something needs it."""
    gateway, force = context.gateway, request.force.strip()
    context.audit.describe(reason=force)
    with inventory_of(gateway, keys=False) as inventory:

        def once() -> str:
            listing = listed_certificates(inventory, gateway)
            entry = choose_certificate(listing, request.certificate)
            describe_certificate(context, entry)
            if again := _found_again(entry, inventory, gateway):
                raise Refusal(RefusalKind.INPUT, f"{entry.id} {again}")
            missed = needed(entry, listing.entries.values(), gateway)
            if missed and not force:
                text = f"{entry.id} is still needed: {missed}; to remove it anyway, give a reason"
                raise Refusal(RefusalKind.CONFLICT, text, options=["force"])
            if not context.dry_run:
                note = f"forced: {force}" if force else request.note
                inventory.remove(entry, author=context.principal.name, note=note, expected=listing.version)
            return f"{entry.id}: removed"

        with recorded_changes(context):
            text = on_newest(once)  # if it became current meanwhile, at its time, it is needed after all
    return Removed(text)


@use_case("DELETE /certificate_directories/{directory:path}", dry_run=True, action="certificate-directory-remove")
def remove_directory(context: Context, request: RemoveDirectory) -> Removed:
    """Stop watching a directory; the certificates found in it stay."""
    path = Path(request.directory)
    with inventory_of(context.gateway, keys=False) as inventory:
        if path not in inventory.directories.paths():
            text = f"{path} is not watched; `gatepost certificate list` shows the watched directories"
            raise Refusal(RefusalKind.MISSING, text)
        if not context.dry_run:
            with recorded_changes(context):
                inventory.directories.remove(path, author=context.principal.name, note=request.note)
    return Removed(f"{path}: no longer watched")


def _found_again(entry: Entry, inventory: Inventory, gateway: Gateway) -> str:
    """Why it would come back by itself, "" if it would not."""
    pair = (Path(entry.chain_file), Path(entry.key_file))
    if not entry.chain_file:
        return ""
    if pair in settings_files(gateway.settings):
        return "comes from the settings: remove its [[certificate]] there, and restart the gateway"
    for path in inventory.directories.paths():
        with suppress(OSError):
            if pair in pairs_in(path):
                return (
                    f"is in the watched directory {path}: delete its files there, or first run: "
                    f"gatepost certificate remove {last_argument(str(path))}"
                )
    return ""


def needed(entry: Entry, entries: Iterable[Entry], gateway: Gateway) -> str:
    """Why the certificate is still needed, "" if it is not."""
    known = {candidate.id: candidate for candidate in entries}
    newer = successor(entry, known) if entry.state is State.DEPRECATED else None
    if newer is not None and can_roll_back(newer, known, now=time.time()):
        return f"its key is needed to roll back the switch to {newer.id}, until {stamp(roll_back_until(newer))}"
    if entry.state is not State.CURRENT:
        return ""
    others = [
        candidate for candidate in known.values() if candidate.state is State.CURRENT and candidate.id != entry.id
    ]
    if entry.purpose is Purpose.SERVER:
        servers = [candidate for candidate in others if candidate.purpose is Purpose.SERVER]
        lost = [name for name in names_of(entry) if not is_covered(name, servers)]
        return f"no other current certificate covers {', '.join(lost)}" if lost else ""
    if any((other.organization, other.label) == (entry.organization, entry.label) for other in others):
        return ""
    owner = gateway.directory().resources.organization(entry.organization)
    users = [
        connector.name
        for connector in (owner.outbound_connectors if owner else ())
        if connector.client_certificate is not None and connector.client_certificate.label == entry.label
    ]
    return f"outbound connectors use it: {', '.join(users)}" if users else ""
