"""Open the inventory of certificates for administrators, and find the certificate that a number means.

Used by its neighbours and by the `certificate` commands. Certificates belong to the gateway: `execute` says who may see
or change them (`Scope.CERTIFICATES`).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import CertificateUnknown, Inventory, find_among, listed
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Listed
    from gatepost.settings.model import Settings


_LABEL = 64


@contextmanager
def inventory_of(gateway: Gateway, *, keys: bool = True) -> Iterator[Inventory]:
    """The inventory, closed afterwards. keys: whether keys are opened or sealed. Raises Refusal, as `store_and_vault`.

    What is wrong with a certificate's files or its key becomes a Refusal (INPUT), too.
    """
    with refusing(RefusalKind.INPUT, CertificateFileError), store_and_vault(gateway, keys=keys) as (store, vault):
        yield Inventory(store, vault)


@contextmanager
def inventory_for_look(gateway: Gateway) -> Iterator[Inventory]:
    """The inventory, with the master key if this account has it; without it the key's gate says what to do."""
    try:
        Vault.of(gateway.settings.store.master_key)
        keys = True
    except VaultError:
        keys = False
    with inventory_of(gateway, keys=keys) as inventory:
        yield inventory


def settings_files(settings: Settings) -> list[tuple[Path, Path]]:
    """Chain and key of each `[[certificate]]`."""
    return [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]


def listed_certificates(inventory: Inventory, gateway: Gateway, *, with_chains: bool = True) -> Listed:
    """All certificates. with_chains: as `listed` has it.

    Raises Refusal (UNREADABLE) if an entry cannot be read by this version.
    """
    with refusing(RefusalKind.UNREADABLE, ValueError, text="{data}: {error}", data=gateway.data):
        return listed(inventory, settings_files(gateway.settings), now=time.time(), with_chains=with_chains)


def choose_certificate(found: Listed, number: str) -> Entry:
    """The certificate that goes by an id, a thumbprint or a label. Raises Refusal (MISSING) if no single one does."""
    with refusing(
        RefusalKind.MISSING, CertificateUnknown, text="{error}; `gatepost certificate list` lists all certificates"
    ):
        return find_among(found.entries.values(), number)


def check_client(gateway: Gateway, purpose: Purpose, organization: str, label: str) -> None:
    """Raises Refusal unless it is said whose client certificate it is, and by which label connectors name it."""
    if purpose is Purpose.SERVER:
        if organization:
            text = (
                "only a client certificate has an organization: make it a client certificate, or name no organization"
            )
            field = FieldError("organization", "is only for client certificates; leave it empty")
            raise Refusal(RefusalKind.INPUT, text, [field], options=["client"])
        return
    if not organization or not label:
        text = "a client certificate needs an organization and a label, by which connectors choose it"
        values = {"organization": organization, "label": label}
        raise Refusal(
            RefusalKind.INPUT,
            text,
            [FieldError(name, "is required here") for name, value in values.items() if not value],
            options=[name for name, value in values.items() if not value],
        )
    if len(label) > _LABEL or not label.isprintable():
        wrong = f"must have 1 to {_LABEL} characters"
        raise wrong_field("label", wrong, f"label {label!r}: {wrong}")
    choose_organization(gateway.directory().resources, organization)
