"""The first steps that the overview of a new gateway lists. Pure but for the resources it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.language import _

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
            _("Add an organization"),
            "/organizations/new",
            _("The gateway handles mail for organizations."),
            bool(owners),
        ),
        FirstStep(
            _("Add its domain"),
            "/domains/new",
            _("The gateway accepts mail only for domains of its organizations."),
            domains,
        ),
        FirstStep(
            _("Add a connector"),
            "/connectors/new",
            _("Connect your own mail servers, or add mailboxes on this gateway instead."),
            ways,
        ),
    ]
    return [] if all(step.done for step in steps) else steps
