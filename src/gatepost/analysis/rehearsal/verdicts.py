"""Count the trace rows that met each connector's requirement, and those that did not.

Called by `manage.use_cases.connector_verdicts` with counts of `store.trace`. No I/O.
`analysis.rehearsal.rehearsal` judges whole messages, with reasons, and reads every row for it; here attempts and
recipients count, and nothing is read but counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.analysis.rehearsal.rehearsal import CONNECTOR_CODES
from gatepost.analysis.reports.tls import Direction
from gatepost.policy.connectors.values import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.store.trace import HopKind


_INBOUND = frozenset({"RECEIVE", "REFUSE"})
_CARRIED = frozenset({"RECEIVE", "SEND"})
_FAILED = frozenset({"DEFER", "HOLD", "FAIL", "EXPIRE"})


class ConnectorKey(NamedTuple):
    """The key of a connector. direction: "inbound" or "outbound". name: as it is written."""

    organization: str
    direction: str
    name: str


class Verdicts(NamedTuple):
    """Rows, one for each recipient and attempt. failed: refused or held, or would have been, were it enforced.

    tried: of failed, while the connector was in rehearsal. carried: of tried, accepted or sent all the same.
    """

    passed: int = 0
    failed: int = 0
    tried: int = 0
    carried: int = 0

    def plus(self, other: Verdicts) -> Verdicts:
        """Both together."""
        return Verdicts(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def in_mode(self, mode: str) -> Verdicts:
        """The same of a connector that is in this mode by now: enforced, its rehearsal refused nothing."""
        return self if mode == Mode.REHEARSE else Verdicts(self.passed + self.carried, self.failed - self.tried)


def count_verdicts(kinds: Mapping[HopKind, int]) -> dict[ConnectorKey, Verdicts]:
    """The verdicts in a count, by connector."""
    result: dict[ConnectorKey, Verdicts] = {}
    for kind, rows in kinds.items():
        for key, verdict in _judged(kind):
            result[key] = result.get(key, Verdicts()).plus(Verdicts(*(rows * part for part in verdict)))
    return result


def _judged(kind: HopKind) -> Iterator[tuple[ConnectorKey, Verdicts]]:
    """Yield the verdict of a row on its connector, and on one in rehearsal that would have refused it."""
    direction = Direction.INBOUND if kind.event in _INBOUND else Direction.OUTBOUND
    trial = kind.trial_failed_by
    if trial:
        carried = int(kind.event in _CARRIED)
        yield ConnectorKey(kind.organization, direction.value, trial), Verdicts(failed=1, tried=1, carried=carried)
    if not kind.connector or kind.connector == trial:
        return
    key = ConnectorKey(kind.organization, direction.value, kind.connector)
    if kind.event in _CARRIED:
        yield key, Verdicts(passed=1)
    elif (kind.event == "REFUSE" and kind.status in CONNECTOR_CODES) or (kind.event in _FAILED and kind.result_type):
        yield key, Verdicts(failed=1)
