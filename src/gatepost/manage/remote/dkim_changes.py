"""DKIM keys of another gateway made, taken in and let sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.manage.remote.dkim import keys_path
from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.change import outcome_of
from gatepost.manage.use_cases.choice import chosen_organizations
from gatepost.manage.use_cases.dkim_changes import AddedKey, key_domain, key_owner
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.change import Outcome, Wish
    from gatepost.manage.use_cases.dkim_changes import NewKey, Rotation
    from gatepost.policy.connectors.model import Resources


def add_key(connection: Connection, new: NewKey, wish: Wish) -> AddedKey:
    """As `manage.use_cases.dkim_changes.add_key`; a key file would be one of the gateway's machine, and is refused."""
    if new.key_file:
        text = "a key that stays in its file is one of the gateway's own machine: add it there, or let it be sealed"
        raise Refusal(Kind.INPUT, text)
    domain = key_domain(new.domain)
    owner = key_owner(FetchedGateway(connection).directory().resources, new.organization, domain)
    body: dict[str, Any] = {
        "selector": new.selector,
        "algorithm": str(new.algorithm),
        "service_type": str(new.service_type),
        "key": new.pem.decode("ascii", "replace"),
        "current": new.current,
    }
    found = _called(connection, keys_path(owner.name, domain), body, wish)
    return AddedKey(outcome_of(found), found["name"], found["zone"])


def rotate_keys(connection: Connection, rotation: Rotation, wish: Wish) -> Outcome:
    """As `manage.use_cases.dkim_changes.rotate_keys`."""
    owner = _owner(FetchedGateway(connection).directory().resources, rotation)
    body = {"selector": rotation.selector, "force": rotation.force}
    try:
        return outcome_of(_called(connection, f"{keys_path(owner, rotation.domain)}/rotate", body, wish))
    except Refusal as refusal:
        if refusal.kind is Kind.BLOCKED:  # nothing there is a name that is taken
            raise Refusal(Kind.CONFLICT, refusal.text, refusal.errors, options=refusal.options) from refusal
        raise


def _called(connection: Connection, path: str, body: dict[str, Any], wish: Wish) -> dict[str, Any]:
    query = {"dry_run": wish.dry_run, "note": wish.note, "since": time_text(wish.since) if wish.dry_run else ""}
    found: dict[str, Any] = connection.call("POST", path, query=query, body=body, if_match="*").value
    return found


def _owner(resources: Resources, rotation: Rotation) -> str:
    """Whose keys they are: of the organization that has keys of the domain, else of the one that accepts it."""
    domain = rotation.domain.lower()
    owners = chosen_organizations(resources, rotation.organization)
    found = next((one.name for one in owners if any(key.domain == domain for key in one.dkim_keys)), "")
    return found or key_owner(resources, rotation.organization, domain).name
