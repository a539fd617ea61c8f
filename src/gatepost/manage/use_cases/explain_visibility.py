"""Remove from an explanation what belongs to organizations that the principal does not see, names included.

Used by `manage.use_cases.explain`. Whether another organization takes a message, by which connector and from which
addresses, is its own affair: a question about it would otherwise find out its configuration one guess at a time. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatepost.policy.decisions.forwarding import expand
from gatepost.protocols.smtp.grammar import Path, parse_address
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.decision import InboundVerdict, OutboundDecision
    from gatepost.policy.decisions.explain import Explanation, Others


_WORD = re.compile(r"[a-z0-9-]+")


def is_concerned(directory: Directory, principal: Principal, reverse_path: Path, recipient: Path) -> bool:
    """Whether sender or recipient is of an organization that they see."""
    if principal.is_of_gateway:
        return True
    owners = (directory.organization_of(path.domain) for path in (reverse_path, recipient) if path.domain)
    return any(owner is not None and principal.sees(owner.name) for owner in owners)


def cut(directory: Directory, principal: Principal, explanation: Explanation) -> tuple[Explanation, frozenset[str]]:
    """The explanation without what is of others; and which of "inbound" and "outbound" are others' altogether."""
    hidden = frozenset(
        organization.name for organization in directory.resources.organizations if not principal.sees(organization.name)
    )
    withheld = set()
    inbound, outbound = explanation.inbound, explanation.outbound
    sentences = _sentences_of_others(directory, hidden, explanation.recipient)
    if _is_foreign(directory, hidden, explanation):
        withheld.add("inbound")
    if outbound is not None and (sentences or not _sees_both(principal, outbound)):
        withheld.add("outbound")
        outbound = None
    is_ours = "inbound" not in withheld and not _is_for(directory, hidden, explanation.recipient)
    shown = replace(
        explanation,
        inbound=_inbound(inbound, hidden, sentences),
        others_inbound=_others(explanation.others_inbound, hidden),
        outbound=_outbound(outbound, hidden) if outbound is not None else None,
        others_outbound=_others(explanation.others_outbound, hidden),
        other_rules=_others(explanation.other_rules, hidden),
        failures=explanation.failures if outbound is not None else (),
        route=explanation.route if outbound is not None else None,
        signing=explanation.signing if outbound is not None else None,
        sealing=explanation.sealing if outbound is not None else None,
        expiration=explanation.expiration if is_ours else None,
        held_below_memory=explanation.held_below_memory and not withheld and is_ours,
    )
    return shown, frozenset(withheld)


def _sees_both(principal: Principal, outbound: OutboundDecision) -> bool:
    """Whether they see whoever decides, and whose demands are joined to that."""
    return principal.sees(outbound.organization) and (
        outbound.sender is None or principal.sees(outbound.sender.organization)
    )


def _is_foreign(directory: Directory, hidden: frozenset[str], explanation: Explanation) -> bool:
    """Whether others decide on the way in: it is theirs, or is for one of their domains, or one knew the session."""
    verdict = explanation.inbound
    if not hidden.isdisjoint({verdict.organization, verdict.attribution.organization}):
        return True
    return explanation.stage == "RCPT TO" and _is_for(directory, hidden, explanation.recipient)


def _is_for(directory: Directory, hidden: frozenset[str], recipient: Path) -> bool:
    """Whether a recipient is of a hidden organization."""
    owner = directory.organization_of(recipient.domain)
    return owner is not None and owner.name in hidden


def _sentences_of_others(directory: Directory, hidden: frozenset[str], recipient: Path) -> frozenset[str]:
    """Forwarding reasons of mailboxes, from the first on that is another organization's."""
    steps = expand(directory, recipient).steps
    others = (at for at, (box, _) in enumerate(steps) if _is_for(directory, hidden, parse_address(box)))
    return frozenset(sentence for _, sentence in steps[next(others, len(steps)) :])


def seen_reasons(reasons: tuple[str, ...], hidden: frozenset[str]) -> tuple[str, ...]:
    """Those that name none of the hidden organizations. One too many is left out where its name is a common word."""
    return tuple(reason for reason in reasons if hidden.isdisjoint(_WORD.findall(reason)))


def _others(others: Others, hidden: frozenset[str]) -> Others:
    return tuple(candidate for candidate in others if seen_reasons(candidate, hidden) == candidate)


def _inbound(verdict: InboundVerdict, hidden: frozenset[str], told: frozenset[str]) -> InboundVerdict:
    own = tuple(reason for reason in verdict.reasons if reason not in told)
    shown = replace(
        verdict,
        reasons=seen_reasons(own, hidden),
        passed_over=_others(verdict.passed_over, hidden),
        hooks=tuple(hook for hook in verdict.hooks if hook.organization not in hidden),
    )
    if len(shown.reasons) < len(own) and verdict.would_refuse is not None:
        return replace(shown, would_refuse=None, would_refuse_connector="")
    return shown


def _outbound(decision: OutboundDecision, hidden: frozenset[str]) -> OutboundDecision:
    return replace(
        decision,
        reasons=seen_reasons(decision.reasons, hidden),
        passed_over=_others(decision.passed_over, hidden),
    )
