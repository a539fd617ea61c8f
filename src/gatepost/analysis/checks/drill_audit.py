"""Compare the results of drills that are kept with the digests that the evidence log has of them.

Called by `manage.use_cases.evidence_audit`. A result is kept first and logged then, so one that the log does not have
is no fault: a drill may be under way, or the log was off, or has forgotten (`evidence.keep`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.analysis.checks.evidence import number_and_series
from gatepost.events.evidence.audit import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.analysis.checks.evidence import Kept
    from gatepost.events.evidence.audit import Faults


@dataclass(slots=True)
class DrillAudit:
    """matching: how many are what the log says. wrong: what does not match, why, by name. unlogged: not in the log.

    gone: in the log and no longer kept, the oldest of their connector, which may be removed in order.
    """

    matching: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def audit_drills(kept: Iterable[Kept], logged: Mapping[str, str], faults: Faults) -> DrillAudit:
    """Compare. logged: SHA-256 by name, from a log that was verified. What is wrong is added to `faults`, too."""
    audit, oldest, names = DrillAudit(), dict[str, int](), set[str]()
    for drill in kept:
        name = drill.path.name
        names.add(name)
        number, series = number_and_series(name)
        oldest[series] = min(oldest.get(series, number), number)
        if drill.fault:
            audit.wrong[name] = drill.fault
        elif name not in logged:
            audit.unlogged.append(name)
        elif logged[name] != drill.sha256:
            audit.wrong[name] = f"its SHA-256 is {drill.sha256}; the log has {logged[name]}"
        else:
            audit.matching += 1
    for name in sorted(logged.keys() - names):
        number, series = number_and_series(name)
        if number > oldest.get(series, number):
            audit.wrong[name] = "it is gone, and older ones of its connector are there"
        else:
            audit.gone.append(name)
    for name, why in audit.wrong.items():
        faults.add(FaultKind.DRILL, (name, 0, 0), why)
    return audit
