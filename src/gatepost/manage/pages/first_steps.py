"""The first steps that the overview of a new gateway lists. Pure but for the resources it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


class FirstStep(NamedTuple):
    """What a new gateway needs before it carries mail."""

    text: str
    path: str
    why: str
    done: bool


def first_steps(gateway: Gateway, principal: Principal) -> list[FirstStep]:
    """Those of a gateway that is not set up yet, for who may; none where mail can be carried."""
    if not principal.may(Scope.CONNECTORS):
        return []
    try:
        owners = gateway.directory().resources.organizations
    except Refusal:  # alarms and the pages of resources say so
        return []
    domains = any(one.accepted_domains for one in owners)
    ways = any(one.mailboxes or one.inbound_connectors or one.outbound_connectors for one in owners)
    steps = [
        FirstStep(
            "Add an organization", "/organizations/new", "The gateway handles mail for organizations.", bool(owners)
        ),
        FirstStep(
            "Add its domain", "/domains/new", "The gateway accepts mail only for domains of its organizations.", domains
        ),
        FirstStep(
            "Add a connector",
            "/connectors/new",
            "Connect your own mail servers, or add mailboxes on this gateway instead.",
            ways,
        ),
    ]
    return [] if all(one.done for one in steps) else steps
