"""What the overview of a new gateway says to begin with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.records import Organization


class FirstStep(NamedTuple):
    """What a new gateway needs before it carries mail."""

    text: str
    path: str
    why: str
    done: bool


def first_steps(owners: Sequence[Organization]) -> list[FirstStep]:
    """Those of a gateway that is not set up yet; none where mail can be carried. owners: its organizations."""
    domains = any(one.accepted_domains for one in owners)
    ways = any(one.mailboxes or one.inbound_connectors or one.outbound_connectors for one in owners)
    steps = [
        FirstStep("Add an organization", "/organizations/new", "Whose mail this gateway is for.", bool(owners)),
        FirstStep("Add its domain", "/domains/new", "Mail to it is taken; mail to others is not.", domains),
        FirstStep(
            "Add a connector",
            "/connectors/new",
            "To and from your own servers; or add mailboxes, which are here.",
            ways,
        ),
    ]
    return [] if all(one.done for one in steps) else steps
