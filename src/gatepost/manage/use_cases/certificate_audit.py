"""The certificate that a step is about, for the audit too: each field before and after, taken from their history.

The history has the change whoever made it; the audit has it with the address it came from, and beside what was refused.
No key is in either.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.manage.use_cases.certificates import history
from gatepost.manage.use_cases.inventory import choose_certificate, inventory_of, listed_certificates
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.entry import Purpose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from gatepost.manage.use_cases.context import Context
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Inventory, Listed
    from gatepost.store.changes import Change


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
