"""The first steps that the overview of a new gateway lists. Pure but for the resources it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.records import Organization


class FirstStep(NamedTuple):
    """A step that a new gateway needs before it carries mail."""

    text: str
    path: str
    why: str
    done: bool


def first_steps(owners: Sequence[Organization]) -> list[FirstStep]:
    """Those of a gateway that is not set up yet; none where mail can be carried. owners: its organizations."""
    domains = any(owner.accepted_domains for owner in owners)
    ways = any(owner.mailboxes or owner.inbound_connectors or owner.outbound_connectors for owner in owners)
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
    return [] if all(step.done for step in steps) else steps
