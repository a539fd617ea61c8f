"""Build the directory of the stored resources, with the history of disputed domains.

Used by all that work by the stored resources (`node.snapshot`, `pki.acme.duty`, `analysis.checks.scheduled`) and by
those that show and change them (`manage.use_cases.context`), so that all decide a dispute alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.grants import resources_in_force
from gatepost.policy.connectors.verification import claims, conflicts, had_since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.policy.connectors.resources import PrefixLimits, Resources
    from gatepost.store.changes import ConfigStore


def stored_directory(
    store: ConfigStore, version: int, document: Mapping[str, Any], prefixes: PrefixLimits
) -> Directory:
    """Of a version and its document as `ConfigStore.load(*STORED_KINDS)` gives them. Raises ResourceErrors."""
    resources = resources_in_force(document, prefixes=prefixes)
    return Directory(resources, version, _first(store, resources))


def _first(store: ConfigStore, resources: Resources) -> dict[tuple[str, str], int]:
    """Since which version organizations have had the domains that are disputed; the history is read for those alone."""
    conflicting = conflicts([claim for claim in claims(resources.organizations) if claim.verified])
    disputed = {claim[:2] for conflict in conflicting for claim in conflict}
    histories: dict[str, list[tuple[int, dict[str, Any] | None]]] = {}
    for organization in {name for name, _ in disputed}:
        changes = store.history("organization", organization, limit=-1)
        histories[organization] = [(change.version, change.after) for change in changes]
    return {(owner, name): had_since(histories[owner], name) for owner, name in disputed}
