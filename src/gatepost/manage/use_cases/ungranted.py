"""Values of resources that no owner of the gateway granted, and granting one of them as it stands.

What the owner writes is granted with the change (`granting`); what somebody else wrote is granted here, one value by
name, so that nothing is granted in passing. Used by `gatepost grant` and over REST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors import grants
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.grants import GRANT, STORED_KINDS, Grant, Ungranted
from gatepost.store.changes import ConfigConflict

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.change import Wish
    from gatepost.manage.use_cases.gateway import Gateway


class Value(NamedTuple):
    """One value where it stands. resource: the key of the list, such as "outbound_connector"."""

    organization: str
    resource: str
    name: str
    field: str
    value: str


def ungranted_values(gateway: Gateway, who: Principal) -> list[dict[str, Any]]:
    """All of them, for machines. effect: what they have without a grant. Raises Refusal (FORBIDDEN, UNREADABLE)."""
    _of_gateway(who)
    return [_record(one) for one in grants.ungranted(gateway.directory().resources)]


def grant_value(gateway: Gateway, who: Principal, wanted: Value, wish: Wish) -> dict[str, Any]:
    """Grant a value as it stands; the version in force then.

    Raises Refusal: FORBIDDEN; MISSING if no such value is there without a grant; CONFLICT; UNREADABLE.
    """
    _of_gateway(who)
    grant = Grant(wanted.resource, wanted.name.lower(), wanted.field, wanted.value)
    with gateway.config() as store:
        version, stored = store.load(*STORED_KINDS)
        if wish.expected is not None and wish.expected != version:
            raise Refusal(Kind.CONFLICT, f"the configuration is at version {version}, not {wish.expected}: look again")
        resources = gateway.understood(store, version, stored).resources
        if (wanted.organization, grant) not in [(one.organization, one.grant) for one in grants.ungranted(resources)]:
            text = (
                f"{wanted.field} of the {wanted.resource} {wanted.name!r} of {wanted.organization!r} does not name "
                f"{wanted.value!r} without a grant; `gatepost grant list` has all that do; {NOTHING}"
            )
            raise Refusal(Kind.MISSING, text)
        if not wish.dry_run:
            document = grants.with_grant(stored[GRANT][wanted.organization], grant)
            change = {GRANT: {wanted.organization: document}}
            try:
                version = store.apply(change, author=wish.author, note=wish.note, expected=version)
            except ConfigConflict as conflict:
                raise Refusal(Kind.CONFLICT, f"{conflict}; {NOTHING}") from conflict
    return {"version": version, "dry_run": wish.dry_run, "granted": wanted._asdict()}


def _record(one: Ungranted) -> dict[str, Any]:
    effect = "none" if one.access is Access.MACHINE else "bounded"
    resource, name, field, value = one.grant
    return Value(one.organization, resource, name, field, value)._asdict() | {"effect": effect}


def _of_gateway(who: Principal) -> None:
    if not who.is_of_gateway:
        raise Refusal(Kind.FORBIDDEN, "Grants are the gateway owner's, and you see some organizations only.")
