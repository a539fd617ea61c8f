"""Select the outbound connector for a domain, with the reasons (exchange.md section 7.1).

Called by `policy.decisions.route` for each destination. Looks up in a `Directory` and says its reasons in sentences an
administrator understands. Mail flow rules, which go before it, are in `policy.connectors.mail_flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.comparison import PASSED_OVER_LIMIT
from gatepost.values import check_type

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory, OutboundIndex
    from gatepost.policy.connectors.records import Organization, OutboundConnector


_SENT_BACK = "takes all messages first, but this one came from on-premises and is not sent back"


class Selection(msgspec.Struct, frozen=True):
    """The outbound connector for a domain, None for its MX by opportunistic TLS, and the reasons.

    passed_over: the connectors that would have taken the domain as well, each with why it did not: label ("connector
    'x' of contoso") and the rest of the sentence. At most 20.
    """

    connector: OutboundConnector | None
    reasons: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...] = ()


def select_outbound(
    directory: Directory, organization: Organization, recipient_domain: str, *, from_on_premises: bool = False
) -> Selection:
    """The outbound connector for mail of an organization to a domain.

    recipient_domain: lower-case A-labels, as `protocols.smtp.grammar.Path.domain` has it. ValueError for another form:
    no connector that names the domain would match, and its mail would go out below what is required.

    An exact domain goes before the longest wildcard, that before all accepted domains, that before "*"; a lower
    priority number before all of these. A connector that routes all messages via on-premises goes first, but never for
    mail that came from there (from_on_premises), which it takes only for a domain that it names. Connectors of the same
    place and priority: the first by name. Those that only mail flow rules use take no part.
    """
    check_type(recipient_domain, str, "the recipient domain")
    if not recipient_domain.isascii() or (recipient_domain.lower() != recipient_domain and recipient_domain[0] != "["):
        raise ValueError(f"the domain {recipient_domain!r} is not in lower-case A-labels")
    index = directory.outbound(organization.name)
    if index is None:
        return Selection(None, (f"organization {organization.name} is not known",))
    accepted = bool(index.accepted) and directory.accepts(organization.name, recipient_domain)
    candidates = _outbound_candidates(index, recipient_domain, accepted=accepted)
    aside: list[tuple[str, str]] = []
    if index.everything is not None:
        if not from_on_premises:
            return _central(index.everything, candidates, organization)
        aside = [(_label(connector, organization), _SENT_BACK) for connector in index.central]
        candidates = [
            (pattern, connector)
            for pattern, connector in candidates
            if pattern != "*" or not connector.route_all_messages_via_on_premises
        ]
    if not candidates:
        nobody = f"no outbound connector of {organization.name} matches recipient domain {recipient_domain}"
        return Selection(None, (nobody,), tuple(aside))
    place = _first(candidates)
    pattern, chosen = candidates.pop(place)
    label = _label(chosen, organization)
    reasons = [f"{label} {_how(pattern, recipient_domain)}"]
    if place:
        specific = _label(candidates[0][1], organization)
        reasons.append(f"its priority {chosen.priority} goes before the more specific {specific}")
    lost = {
        _label(
            connector, organization
        ): f"{_how(its, recipient_domain)}, but {_goes_before(pattern, chosen, its, connector)}"
        for its, connector in reversed(candidates)
        if connector is not chosen
    }
    kept = [candidate for candidate in aside if candidate[0] != label]
    return Selection(chosen, tuple(reasons), (*kept, *reversed(lost.items()))[:PASSED_OVER_LIMIT])


def connector_for(index: OutboundIndex, domain: str, *, accepted: bool) -> OutboundConnector | None:
    """The connector that `select_outbound` finds for mail that did not come from on-premises, without its reasons.

    accepted: whether the organization accepts the domain.
    """
    if index.everything is not None:
        return index.everything
    candidates = _outbound_candidates(index, domain, accepted=accepted)
    return candidates[_first(candidates)][1] if candidates else None


def names_domain(directory: Directory, organization: str, domain: str) -> bool:
    """Whether an organization has an outbound connector that names a domain, exactly or by "*.parent".

    It then says itself where its mail for the domain goes, whoever accepts that domain on this gateway.
    """
    index = directory.outbound(organization)
    return index is not None and any(pattern != "*" for pattern, _ in index.candidates(domain))


def _central(
    central: OutboundConnector, candidates: list[tuple[str, OutboundConnector]], organization: Organization
) -> Selection:
    label = _label(central, organization)
    first = f"{label} takes all messages first"
    labels = dict.fromkeys(_label(connector, organization) for _, connector in candidates if connector is not central)
    passed_over = tuple((text, f"takes the domain, but {first}") for text in labels)
    return Selection(central, (f"{first} (route_all_messages_via_on_premises)",), passed_over[:PASSED_OVER_LIMIT])


def _first(candidates: list[tuple[str, OutboundConnector]]) -> int:
    return min(range(len(candidates)), key=lambda number: candidates[number][1].priority)


def _outbound_candidates(index: OutboundIndex, domain: str, *, accepted: bool) -> list[tuple[str, OutboundConnector]]:
    """Connectors that take the domain, the most specific first, each with its pattern; "" is all accepted domains."""
    result = list(index.candidates(domain))
    if accepted:
        place = next((place for place, (pattern, _) in enumerate(result) if pattern == "*"), len(result))
        result[place:place] = [("", connector) for connector in index.accepted]
    return result


def _how(pattern: str, domain: str) -> str:
    if not pattern:
        return f"takes all accepted domains, and {domain} is one"
    return f"matches recipient domain {domain} " + ("exactly" if pattern == domain else f"by {pattern!r}")


def _goes_before(pattern: str, chosen: OutboundConnector, its: str, other: OutboundConnector) -> str:
    """Explain why `chosen` goes before another candidate, as the end of a sentence."""
    if chosen.priority != other.priority:
        return f"priority {chosen.priority} of {chosen.name!r} goes before its {other.priority}"
    if pattern == its:
        return f"{chosen.name!r} comes first by its name"
    return f"{chosen.name!r} is more specific"


def _label(connector: OutboundConnector, organization: Organization) -> str:
    return f"connector {connector.name!r} of {organization.name}"


def elsewhere(directory: Directory, organization: Organization, connector: OutboundConnector, domain: str) -> str:
    """A note that mail to the domain takes another route, and which; "" if it takes this connector.

    A disabled connector, or one that only mail flow rules use, gets no note: other findings report that.
    """
    if not connector.enabled or connector.is_transport_rule_scoped:
        return ""
    owner = directory.organization_of(domain)
    is_others = owner is not None and owner.name != organization.name
    if is_others and not names_domain(directory, organization.name, domain):  # by which connector is theirs to know
        reason = "another organization accepts the domain and decides where its mail goes"
        return f"mail to {domain} does not go by this connector: {reason}"
    selection = select_outbound(directory, organization, domain)
    chosen = selection.connector
    if chosen is not None and chosen.name == connector.name:
        return ""
    return f"mail to {domain} does not go by this connector: {'; '.join(selection.reasons)}"
