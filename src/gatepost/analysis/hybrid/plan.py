"""The whole hybrid plan: this side, the other side, how to test both, and common mistakes.

Called by `manage.cli.hybrid`, which prints it. Nothing is changed, nobody is asked. Pure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gatepost.analysis.hybrid.exchange import steps
from gatepost.analysis.hybrid.here import findings
from gatepost.analysis.hybrid.trial import TRAPS, checks, firewall

if TYPE_CHECKING:
    from gatepost.analysis.hybrid.exchange import Step
    from gatepost.analysis.hybrid.given import Given
    from gatepost.analysis.hybrid.here import Finding
    from gatepost.analysis.hybrid.trial import Check


@dataclass(frozen=True, slots=True)
class HybridPlan:
    """here: what is and is not configured on this side. exchange: what to do there. checks, traps: afterwards."""

    organization: str
    hostname: str
    exchange_host: str
    here: tuple[Finding, ...]
    firewall: tuple[str, ...]
    exchange: tuple[Step, ...]
    checks: tuple[Check, ...]
    traps: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing on this side. Of the other side nothing is known."""
        return all(finding.complete for finding in self.here)

    def record(self) -> dict[str, Any]:
        """The plan for machines, under keys that stay."""
        return {"complete": self.complete} | asdict(self)


def plan(given: Given) -> HybridPlan:
    """Make the plan for an organization and its Exchange."""
    return HybridPlan(
        given.organization.name,
        given.hostname,
        given.exchange_host,
        findings(given),
        firewall(given),
        steps(given),
        checks(given),
        (*TRAPS, *given.warnings),
    )
