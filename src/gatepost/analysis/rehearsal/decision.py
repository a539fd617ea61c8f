"""A trace row decided again, and how several possible decisions become one honest answer.

Made by `analysis.rehearsal.replay_inbound` and `analysis.rehearsal.replay_outbound`, compared by
`analysis.rehearsal.blast_radius`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.decisions.requirement import Requirement


class Effect(StrEnum):
    """The effect of a decision on a message. UNKNOWN: the stored facts do not suffice."""

    ACCEPTED = N_("accepted")
    REFUSED = N_("refused")
    DELIVERED = N_("delivered")
    HELD = N_("held")
    RETURNED = N_("returned")
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row decided again.

    owner, connector: the connector that applied and whose it is, "" for none. requirement: in the words of `policy`.
    reply: the refusal's code and text, or what a message is held for ("UntrustedRoot"). result_type: RFC 8460, "".
    rehearsed: the refusal that a connector in rehearsal (`rehearsed_by`) would have given. why: one sentence, for
    UNKNOWN what is missing. refused_by: of mail that came, the recipient's organization, where its rules refuse what is
    another's. demand: an outbound requirement itself, to be compared. others: for UNKNOWN, owner and
    connector of every decision that is possible.
    """

    outcome: Effect
    owner: str = ""
    connector: str = ""
    requirement: str = ""
    reply: str = ""
    result_type: str = ""
    rehearsed: str = ""
    rehearsed_by: str = ""
    why: str = ""
    demand: Requirement | None = None
    others: tuple[tuple[str, str], ...] = ()
    refused_by: str = ""

    @property
    def ways(self) -> set[tuple[str, str]]:
        """Owner and connector of every way that the message could take."""
        return {(self.owner, self.connector), *self.others}

    @property
    def identity(self) -> tuple[Effect, str, str, str, str, str]:
        """The parts that two decisions must share to be the same for a message; the words may differ."""
        return self.outcome, self.owner, self.connector, self.requirement, self.reply[:10], self.rehearsed_by


def settled(decisions: Iterable[Decision], missing: str) -> Decision:
    """The decision if all that are possible agree in what becomes of the message; else that it cannot be told.

    missing: why it cannot. Where only the reasons differ, all of them are told.
    """
    listed = list(decisions)
    first = listed[0]
    if all(decision.identity == first.identity for decision in listed):
        return first
    ways = {(decision.owner, decision.connector, decision.requirement) for decision in listed}
    if len(ways) == 1 and all(decision.outcome is first.outcome for decision in listed):
        replies = dict.fromkeys(decision.reply for decision in listed if decision.reply)
        return replace(first, reply=" or ".join(replies), why=missing)
    others = tuple((decision.owner, decision.connector) for decision in listed)
    owner, connector, requirement = ways.pop() if len(ways) == 1 else ("", "", "")
    demand = first.demand if all(decision.demand == first.demand for decision in listed) else None
    return Decision(Effect.UNKNOWN, owner, connector, requirement, why=missing, demand=demand, others=others)
