"""Open the inventory of certificates, find the certificate that a number means, and audit what a step changed.

The audit has each field before and after, taken from the history of certificates.

Used by its neighbours and by the `certificate` commands. Certificates belong to the gateway: `execute` says who may see
or change them (`Scope.CERTIFICATES`).
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.entry import Entry, Purpose
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import CertificateUnknown, Inventory, Listed, find_among, listed
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.settings.model import Settings
    from gatepost.store.changes import Change


_LABEL = 64
_OF_ONE = 500  # changes in which those of one certificate are looked for


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


def history(gateway: Gateway, limit: int, number: str = "") -> list[Change]:
    """Changes of certificates, requests and directories, the newest first. number: only of this id.

    Of one certificate the newest 500 changes of all are looked through. Raises Refusal (UNREADABLE).
    """
    with inventory_of(gateway, keys=False) as inventory:
        if not number:
            return inventory.history(limit)
        return [change for change in inventory.history(_OF_ONE) if change.name == number][:limit]


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


_MOST: Final = 50  # certificates that one step changes
_TIMES: Final = frozenset({"added", "since", "current_from", "current_until", "switch_at", "not_before", "not_after"})
_LEAF: Final = ("dns_names", "ip_addresses", "subject", "issuer", "key", "sha256", "not_before", "not_after")


def describe_certificate(context: Context, entry: Entry) -> None:
    """Say which certificate a call is about, and whose it is."""
    organization = entry.organization if entry.purpose is Purpose.CLIENT else ""
    context.audit.describe(subject=entry.id, organization=organization)


class ChosenCertificate(NamedTuple):
    """A certificate in the inventory that was opened for it. listing: all of them."""

    inventory: Inventory
    listing: Listed
    entry: Entry


@contextmanager
def chosen_certificate(
    context: Context, number: str, inventories: AbstractContextManager[Inventory] | None = None
) -> Iterator[ChosenCertificate]:
    """Open the inventory, and choose the certificate that a call is about. Raises Refusal: MISSING, UNREADABLE.

    inventories: opens it, without keys if it is None.
    """
    with inventories or inventory_of(context.gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, context.gateway)
        entry = choose_certificate(listing, number)
        describe_certificate(context, entry)
        yield ChosenCertificate(inventory, listing, entry)


@contextmanager
def recorded_changes(context: Context) -> Iterator[None]:
    """Describe for the audit what is changed within: "before" and "after", {"ID field": value} with times as texts.

    Nothing if nothing was changed, as by a dry run. Raises Refusal (UNREADABLE).
    """
    with context.config() as store:
        begun = store.version()
    yield
    newest = history(context.gateway, _MOST)
    changes = [
        candidate for candidate in newest if candidate.version > begun and candidate.author == context.principal.name
    ]
    if not changes:
        return
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for change in reversed(changes):
        _compare(change, before, after)
    context.audit.describe(before=before, after=after, versions=sorted({change.version for change in changes}))


def _compare(change: Change, before: dict[str, Any], after: dict[str, Any]) -> None:
    """The fields that are different now. What was before the first of several changes stays."""
    old, new = (_flat(change.kind, state) for state in (change.before, change.after))
    for name in {**old, **new}:
        key = f"{change.name} {name}"
        if old.get(name) == new.get(name):
            continue
        if name in old and key not in after:
            before.setdefault(key, old[name])
        after.pop(key, None)
        if name in new:
            after[key] = new[name]


def _flat(kind: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Its fields that say something, those of the certificate itself among them, and what it is."""
    if document is None:
        return {}
    leaf = document.get("leaf", {})
    flat = {name: leaf[name] for name in _LEAF if name in leaf}
    flat |= {name: value for name, value in document.items() if name != "leaf"}
    said = {
        name: stamp(value) if name in _TIMES else value
        for name, value in flat.items()
        if value not in ("", None, [], False, 0.0)
    }
    return said | {"kind": kind.replace("_", " ")}
