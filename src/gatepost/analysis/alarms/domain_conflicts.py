"""Alarms about stored resources that no page, call or command would store: they came by another way. Pure.

Accepted domains of two organizations that overlap, as an earlier version let them be stored
(`policy.connectors.verification`): they name both organizations, and so are for the gateway's owner alone. And values
in force without a grant of the owner (`policy.connectors.grants`). Called by `node.alarms` and
`manage.use_cases.alarms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.policy.connectors.grants import ungranted_paths
from gatepost.protocols.message.header_text import shown_text
from gatepost.quantity import quantity
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.policy.connectors.resources import Resources
    from gatepost.policy.connectors.verification import Dispute


def domain_conflicts(disputes: Iterable[Dispute]) -> Iterator[Alarm]:
    """One for each two domains."""
    reported = set()
    for dispute in disputes:
        pair = frozenset({dispute.claim, dispute.other})
        if pair not in reported:
            reported.add(pair)
            yield _alarm(dispute)


def _alarm(dispute: Dispute) -> Alarm:
    claim, other = dispute.claim, dispute.other
    lost = f"{claim.name} of {claim.organization}"
    if dispute.kept:
        detail = (
            f"A domain belongs to one organization: {other.organization} had {other.name} first and keeps it. "
            f"{lost} has no effect: mail for it is deferred with 451, and none is returned."
        )
        fix = f"Remove the domain that should not be there. {lost} has effect again when no other domain overlaps it."
    else:
        detail = (
            "A domain belongs to one organization, and the history does not tell who had it first. Mail for both is "
            "deferred with 451, and none is returned."
        )
        fix = "Remove the one that should not be there; mail for the other is accepted within seconds."
    lines = tuple(
        f"gatepost domain remove {rival.name} --organization {rival.organization}" for rival in (claim, other)
    )
    # No "/" stands in it: alarms about "organization/..." are shown to that organization.
    about = f"{lost}, {other.name} of {other.organization}"
    title = f"{lost} overlaps {other.name} of {other.organization}"
    severity = Severity.ERROR if dispute.kept else Severity.CRITICAL
    return Alarm(Kind.DOMAIN_CONFLICT, severity, "", title, detail, fix, about, lines)


_LONG: Final = 900


def judge_grants(resources: Resources) -> tuple[Alarm, ...]:
    """One for all of them, which the gateway's owner must see to; none if there is none."""
    paths = list(ungranted_paths(resources))
    if not paths:
        return ()
    first = f"{paths[0][:1].upper()}{paths[0][1:]}"
    return (
        Alarm(
            Kind.NOT_GRANTED,
            Severity.ERROR,
            "",
            f"{quantity(len(paths), 'resource uses', 'resources use')} local files or sockets without a grant",
            shown_text(f"{own(first)}. And {len(paths) - 1} more." if len(paths) > 1 else f"{first}.", _LONG),
            "Find out who wrote them, then grant them one by one (gatepost grant add), or remove them:",
            "resources",
            ("gatepost history", "gatepost grant list"),
        ),
    )
