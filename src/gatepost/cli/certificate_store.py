"""How the `certificate` commands come by the inventory, and by the one certificate that is meant."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.administration.choice import choose_organization
from gatepost.certificates.entry import Purpose
from gatepost.certificates.files import CertificateFileError
from gatepost.certificates.inventory import CertificateUnknown, Inventory, find_among
from gatepost.certificates.listed import listed
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, UNKNOWN, fail
from gatepost.cli.sealed_store import store_and_vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.listed import Listed
    from gatepost.settings.model import Settings

__all__ = ["check_client", "choose_certificate", "listed_certificates", "opened", "settings_files"]

_LABEL = 64


@contextmanager
def opened(settings: Settings, *, keys: bool = True) -> Iterator[Inventory]:
    """The inventory of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is wanted, which not everybody may read who may look.
    """
    try:
        with store_and_vault(settings, keys=keys) as (store, vault):
            yield Inventory(store, vault)
    except CertificateFileError as error:
        fail(BAD_INPUT, str(error))


def check_client(settings: Settings, purpose: Purpose, organization: str, label: str) -> None:
    """Ends the command unless it is said whose client identity it is, and by which label connectors name it."""
    if purpose is Purpose.SERVER:
        if organization:
            fail(BAD_INPUT, "--organization is for client identities: say --client too, or leave it out")
        return
    if not organization or not label:
        fail(BAD_INPUT, "a client identity needs --organization, whose it is, and --label, by which connectors name it")
    if len(label) > _LABEL or not label.isprintable():
        fail(BAD_INPUT, f"--label {label!r}: text of 1 to {_LABEL} characters is needed")
    choose_organization(stored_directory(settings).resources, organization)


def settings_files(settings: Settings) -> list[tuple[Path, Path]]:
    """Chain and key of each `[[certificate]]`."""
    return [(Path(one.chain), Path(one.key)) for one in settings.certificates]


def listed_certificates(inventory: Inventory, settings: Settings) -> Listed:
    """All certificates; ends the command if an entry cannot be read by this version."""
    try:
        return listed(inventory, settings_files(settings), now=time.time())
    except ValueError as error:
        fail(UNKNOWN, f"{settings.server.data_dir}: {error}")


def choose_certificate(found: Listed, number: str) -> Entry:
    """The certificate that goes by an id, a thumbprint or a label; ends the command if there is no single one."""
    try:
        return find_among(found.entries.values(), number)
    except CertificateUnknown as error:
        fail(BAD_INPUT, f"{error}; `gatepost certificate list` shows those there are")
