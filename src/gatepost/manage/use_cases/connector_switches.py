"""Many connectors enabled, disabled, enforced or put in rehearsal at once: one change, one entry of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import UseCaseReply, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, choose_part
from gatepost.manage.use_cases.resources import part_set
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.resources import Resources


MOST: Final = 2000
"""Connectors that one change switches, at most."""
_KINDS: Final = {"inbound": INBOUND, "outbound": OUTBOUND}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "enable": {"enabled": True},
    "disable": {"enabled": False},
    "enforce": {"mode": None},
    "rehearse": {"mode": "rehearse"},
}

type SwitchAction = Literal["enable", "disable", "enforce", "rehearse"]


class ConnectorName(msgspec.Struct, frozen=True, kw_only=True):
    """One connector."""

    organization: Annotated[str, Meta(max_length=100)]
    direction: Literal["inbound", "outbound"]
    name: Annotated[str, Meta(max_length=200)]


class SwitchConnectors(ChangeRequest, kw_only=True):
    """action: enforce: refuse or hold back mail that does not meet the requirements; rehearse: only report it."""

    action: SwitchAction
    connectors: Annotated[list[ConnectorName], Meta(min_length=1, max_length=MOST)]


@use_case(
    "POST /connectors/actions",
    scope=Scope.CONNECTORS,
    visibility=Visibility.SEEN,
    tag="connectors",
    dry_run=True,
    guarded=True,
    versioned=True,
)
def switch_connectors(context: Context, request: SwitchConnectors) -> UseCaseReply[ChangeReport]:
    """Enable, disable, enforce or rehearse connectors, all of them or none."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        edits = []
        for connector in dict.fromkeys(request.connectors):
            kind = _KINDS[connector.direction]
            part = choose_part(resources, kind, connector.name, connector.organization)
            edits.append(part_set(part, _FIELDS[request.action], draft))
        return Edit(
            tuple(dict.fromkeys(name for edit in edits for name in edit.organizations)),
            names=tuple(name for edit in edits for name in edit.names),
            errors=[FieldError(f"{edit.path}.{error.path}", error.message) for edit in edits for error in edit.errors],
        )

    return change_reply(context, change(context.gateway, context.principal, step, options_of(context, request)))
