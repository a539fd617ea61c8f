"""Apply a message's own TLS request (RFC 8689) to its route, before a name is looked up.

Called by `policy.decisions.explain`. Pure: it asks `policy.decisions.published` as a delivery does, supposing that the
domain publishes nothing but what such a message needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from gatepost.policy.connectors.names import is_this_machine
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import deferral
from gatepost.policy.decisions.published import NAMED, NOTHING, Modes, Naming, joined_modes, terms
from gatepost.policy.decisions.requirement import Requirement, Shortfall
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.decisions.routes import NextHop, Route


_DEMANDS = (
    "the message asks for REQUIRETLS: each next hop must prove its name over TLS and offer REQUIRETLS, "
    "and an MX host must be known by DNSSEC or MTA-STS"
)


def mx_stand_in(domain: str) -> str:
    """A name for the MX hosts of a domain while nobody has looked them up; an address literal is its own host."""
    return domain if domain.startswith("[") else f"mx.{domain}"


def with_message_request(route: Route, asks: Asks) -> Route:
    """The route with what the message asks joined to its requirement, and said in its reasons.

    Unroutable if no next hop could ever do what is asked.
    """
    if asks is Asks.NOTHING:
        return route
    match route:
        case MxRoute():
            host, naming = mx_stand_in(route.domain), Naming(route.domain, authentic=True)
            outcome, reasons = _terms(route.requirement, host, _modes(route, asks), naming)
            if isinstance(outcome, Shortfall):
                return _nowhere(outcome, host, route.reasons, route.passed_over)
            return replace(route, requirement=outcome, reasons=(*route.reasons, *reasons))
        case SmartHosts():
            return _smart_hosts(route, _modes(route, asks))
        case LmtpRoute() | InternalRoute():
            return _inside(route, Modes(asks=asks))
        case MailboxRoute() | Unroutable():
            return route
        case _:
            assert_never(route)


def _modes(route: MxRoute | SmartHosts, asks: Asks) -> Modes:
    """Without what is looked up only when mail is sent."""
    modes = joined_modes(route.connector, route.sender, asks)
    return Modes(asks=asks, relaxed_by=modes.relaxed_by, own_cleartext=modes.own_cleartext)


def _smart_hosts(route: SmartHosts, modes: Modes) -> Route:
    fit: list[NextHop] = []
    unfit: list[Unroutable] = []
    reasons: tuple[str, ...] = ()
    for hop in route.hops:
        outcome, reasons = _terms(hop.requirement, hop.host, modes, NAMED)
        if isinstance(outcome, Shortfall):
            unfit.append(_nowhere(outcome, hop.host, route.reasons, route.passed_over))
        else:
            fit.append(replace(hop, requirement=outcome))
    return replace(route, hops=tuple(fit), reasons=(*route.reasons, *reasons)) if fit else unfit[-1]


def _inside(route: LmtpRoute | InternalRoute, modes: Modes) -> Route:
    here = isinstance(route, LmtpRoute) and is_this_machine(route.hop.host)
    hops: list[NextHop] = []
    for hop in route.hops if isinstance(route, InternalRoute) else (route.hop,):
        outcome, _ = _terms(hop.requirement, hop.host, modes, Naming(here=here))
        if isinstance(outcome, Shortfall):
            return _nowhere(outcome, hop.host)
        hops.append(replace(hop, requirement=outcome))
    if isinstance(route, LmtpRoute):
        return replace(route, hop=hops[0])
    return replace(route, hop=hops[0], others=tuple(hops[1:]))


def _terms(
    requirement: Requirement, host: str, modes: Modes, naming: Naming
) -> tuple[Requirement | Shortfall, tuple[str, ...]]:
    settled = terms(requirement, host, modes, NOTHING, naming)
    demands = (_DEMANDS,) if modes.asks.demands else ()
    without = (settled.without_requiretls,) if settled.without_requiretls else ()
    return settled.outcome, (*demands, *without, *settled.set_aside)


def _nowhere(
    shortfall: Shortfall, host: str, reasons: tuple[str, ...] = (), passed_over: tuple[tuple[str, str], ...] = ()
) -> Unroutable:
    return Unroutable(deferral(shortfall, HopFacts(host, "")), shortfall.detail, reasons, passed_over)
