"""The blast radius of a change of resources: which recorded messages it would decide differently, and how.

Called by `gatepost apply --dry-run`. No I/O: rows of `store.trace.Trace.scan` are decided by the
resources as they are and as they would be, on the same facts, so that only the change makes a difference. Each message
is counted once, under the gravest way in which it differs, however many recipients it has and however often it was
tried.

Requirements are compared demand by demand: each is a row of figures, and one is stronger only if no figure is smaller.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never

from gatepost.analysis.rehearsal import replay
from gatepost.analysis.rehearsal.recorded import INBOUND, Decision, Effect
from gatepost.analysis.rehearsal.replay import Replay, RowReplay
from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.policy.connectors.values import Cleartext, ConnectorType, Mode, ProfileName, RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Opportunistic, Requirement
from gatepost.policy.decisions.withheld import OTHERS_CONNECTOR
from gatepost.protocols.tls.limits import GROUPS, NO_LIMITS, SUITES, TlsLimits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import InboundConnector
    from gatepost.store.trace import TraceRow


def _excluded(limits: TlsLimits) -> tuple[frozenset[str], frozenset[str]]:
    """The groups and suites that limits exclude: more are stronger, others neither stronger nor weaker."""
    return frozenset(GROUPS).difference(limits.allowed_groups), frozenset(SUITES).difference(limits.allowed_suites)


type Change = Literal["", "weaker", "stronger", "other"]

type _Figures = tuple[tuple[Any, ...], tuple[Any, ...]]
"""The figures of a demand: those that compare, greater is stronger; and those that are only equal or not."""

_CLEARTEXT = (Cleartext.AFTER_FAILED_HANDSHAKE, Cleartext.ONLY_IF_NOT_OFFERED, Cleartext.NEVER)
_PROFILES = tuple(reversed(ProfileName))
_REVOCATION = tuple(RevocationCheck)
_UNDEMANDING: _Figures = ((False, False, False, "", 0, *_excluded(NO_LIMITS)), ((), NO_LIMITS))


def outbound_change(before: Requirement | None, after: Requirement | None) -> Change:
    """Compare the protection of outbound mail. None: a mailbox here, which needs none."""
    if before is None or after is None:
        return "" if before is after else "other"
    return _compared(_figures(before), _figures(after))


def inbound_change(before: InboundConnector | None, after: InboundConnector | None) -> Change:
    """Compare the demands on senders. None: no connector, so nothing is demanded."""
    return _compared(_demand(before), _demand(after))


def _compared(before: _Figures, after: _Figures) -> Change:
    pairs = list(zip(before[0], after[0], strict=True))
    less, more = any(new < old for old, new in pairs), any(new > old for old, new in pairs)
    if less and more:
        return "other"
    if less or more:
        return "weaker" if less else "stronger"
    return "" if before[1] == after[1] else "other"


def _figures(requirement: Requirement) -> _Figures:
    profile = _PROFILES.index(ProfileName(requirement.profile))
    match requirement:
        case Opportunistic():
            return (0, _CLEARTEXT.index(requirement.cleartext), profile, "", 0, *_excluded(NO_LIMITS)), ((), NO_LIMITS)
        case Encrypted():
            excluded = _excluded(requirement.limits)
            figures = (1, len(_CLEARTEXT), profile, requirement.min_version, 0, *excluded)
            return figures, ((), requirement.limits)
        case Authenticated():
            level = 3 if requirement.names or requirement.dane else 2
            revocation = _REVOCATION.index(requirement.revocation)
            excluded = _excluded(requirement.limits)
            figures = (level, len(_CLEARTEXT), profile, requirement.min_version, revocation, *excluded)
            return figures, (requirement.proofs, requirement.limits)
        case _:
            assert_never(requirement)


def _demand(connector: InboundConnector | None) -> _Figures:
    if connector is None or connector.mode is Mode.REHEARSE:
        return _UNDEMANDING
    partner = connector.connector_type is ConnectorType.PARTNER
    certificate = partner and connector.restrict_domains_to_certificate
    address = partner and connector.restrict_domains_to_ip_addresses
    floor = max(connector.min_tls_version or "", "TLSv1.3" if connector.profile is ProfileName.MODERN else "")
    revocation = _REVOCATION.index(connector.revocation_check) if certificate else 0
    limits = limits_of(connector)
    bound = (
        (connector.tls_sender_certificate_name, connector.match_common_name, connector.trust_anchors)
        if certificate
        else (),
        frozenset(connector.sender_ip_addresses) if address else (),
    )
    return (
        connector.require_tls or certificate,
        certificate,
        address,
        floor,
        revocation,
        *_excluded(limits),
    ), (bound if certificate or address else (), limits)


COLUMNS = ("at", "message", "session", *replay.COLUMNS)
"""The columns that are read of a row, in this order."""

_KEPT = 50_000  # comparisons
_PEERS = 10_000  # counted apart; what comes on top is counted together
_OTHERS = "(others)"


_SAME: frozenset[Kind] = frozenset()


class Kind(StrEnum):
    """The difference between two decisions, most severe first. A message counts under its most severe one.

    An unknown difference may be any of those before it, and so goes before the rest.
    """

    WEAKER = "weaker requirement"
    REFUSED = "accepted -> refused"
    HELD = "delivered -> held"
    RETURNED = "delivered or held -> returned"
    UNKNOWN = "cannot tell"
    ACCEPTED = "refused -> accepted"
    STRONGER = "stronger requirement"
    REQUIREMENT = "another requirement"
    CONNECTOR = "another connector"
    DELIVERED = "held or returned -> delivered"


_GRAVITY = {kind: place for place, kind in enumerate(Kind)}


@dataclass(slots=True)
class Difference:
    """Messages whose gravest difference this is.

    also: how many of them differ in another way too. peers: how many of each. unnamed: peers that are not among these.
    sample: the latest, for `trace show`.
    """

    direction: str
    kind: Kind
    messages: int = 0
    also: Counter[Kind] = field(default_factory=Counter)
    peers: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0
    at: float = 0.0
    sample: str = ""
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class Total:
    """messages: that were looked at. different: that would have been decided differently; the kinds add up to it."""

    messages: int = 0
    different: int = 0


@dataclass(slots=True)
class BlastRadius:
    """The differences found, of inbound and outbound mail."""

    inbound: Total = field(default_factory=Total)
    outbound: Total = field(default_factory=Total)
    by_kind: dict[tuple[Kind, str], Difference] = field(default_factory=dict)

    def differences(self) -> list[Difference]:
        """Each kind and direction there is, gravest first."""
        return sorted(self.by_kind.values(), key=lambda difference: (_GRAVITY[difference.kind], difference.direction))


class _Row(NamedTuple):
    """The columns that are counted. again: not the first attempt to deliver."""

    at: float
    message: str
    session: str
    event: str
    sender: str
    recipient: str
    address: str
    again: bool


def blast_radius(
    rows: Iterable[TraceRow], before: Directory, after: Directory, profile: str, hidden: Collection[str] = ()
) -> BlastRadius:
    """Decide every row by both. rows: of RECEIVE, REFUSE and attempts, newest first. profile: the server's TLS profile.

    hidden: organizations of whose connectors and demands nothing may be told. A refused message has no id, so each
    refused recipient counts as one.
    """
    replays = RowReplay([Replay(before, profile), Replay(after, profile, before)])
    known: dict[int, tuple[tuple[Decision, ...], frozenset[Kind]]] = {}
    compare = Comparison(before, after)
    tally = _Tally(hidden)
    for raw in rows:
        both = replays.decide(raw[3:])
        cached = known.get(id(both))
        if cached is None:
            if len(known) >= _KEPT:
                known.clear()
            cached = known[id(both)] = both, compare.kinds(*both)  # with what it is of: an id alone may come again
        at, message, session, event, _, _, sender, recipient, _, _, address, _, _, _, detail = raw
        again = event not in INBOUND and '"attempt":1,' not in detail and '"attempt":1}' not in detail
        tally.add(_Row(at, message, session, event, sender, recipient, address, again), cached[1], both)
    return tally.radius


class _Counted(NamedTuple):
    """A message that was counted: all the ways in which it differs, and where it was counted, and for which peer."""

    kinds: frozenset[Kind]
    where: tuple[Kind, str]
    peer: str


class _Tally:
    """Counts messages: all of them, and those that differ once, under their gravest kind.

    One that differs more gravely for another recipient, or at an earlier attempt, is moved when that is found.
    """

    def __init__(self, hidden: Collection[str]) -> None:
        self.radius = BlastRadius()
        self._hidden = hidden
        self._last = ("", "")
        self._waited: set[str] = set()
        self._counted: dict[str, _Counted] = {}

    def add(self, row: _Row, found: frozenset[Kind], decisions: tuple[Decision, ...]) -> None:
        """One row."""
        inbound = row.event in INBOUND
        total = self.radius.inbound if inbound else self.radius.outbound
        total.messages += not self._counted_before(row)
        if not found:
            return
        key = f"{row.message}{'<' if inbound else '>'}" if row.message else ""
        known = self._counted.get(key) if key else None
        if known is None:
            total.different += 1
            counted = self._count(row, found, decisions)
        elif found <= known.kinds:
            return
        else:
            counted = self._recount(row, known, found | known.kinds, decisions)
        if key:
            self._counted[key] = counted

    def _counted_before(self, row: _Row) -> bool:
        """Rows of one message that were written together stand together; of one that waited, older attempts follow."""
        if not row.message:
            return False
        here = row.message, row.event
        known = here == self._last or row.message in self._waited
        self._last = here
        if row.again:
            self._waited.add(row.message)
        return known

    def _count(self, row: _Row, kinds: frozenset[Kind], decisions: tuple[Decision, ...]) -> _Counted:
        """Count a message, of which this row shows the gravest difference."""
        inbound = row.event in INBOUND
        kind = _gravest(kinds)
        where = kind, "inbound" if inbound else "outbound"
        difference = self.radius.by_kind.setdefault(where, Difference(where[1], kind))
        peer = f"mail of {_domain(row.sender)} from {row.address}" if inbound else f"mail to {_domain(row.recipient)}"
        if peer not in difference.peers and len(difference.peers) >= _PEERS:
            peer = _OTHERS
        difference.messages += 1
        difference.peers[peer] += 1
        difference.also.update(kinds - {kind})
        if row.at >= difference.at:
            difference.at, difference.sample = row.at, row.message or row.session
            difference.before, difference.after = (_summary(decision, self._hidden) for decision in decisions)
        return _Counted(kinds, where, peer)

    def _recount(self, row: _Row, known: _Counted, kinds: frozenset[Kind], decisions: tuple[Decision, ...]) -> _Counted:
        """Count a message that was counted before, now that this row shows more ways in which it differs."""
        difference = self.radius.by_kind[known.where]
        if _gravest(kinds) is difference.kind:
            difference.also.update(kinds - known.kinds)
            return known._replace(kinds=kinds)
        difference.messages -= 1
        difference.also.subtract(known.kinds - {difference.kind})
        difference.peers[known.peer] -= 1
        if difference.sample == row.message:
            difference.at = 0.0  # the next message of this kind is its sample
        if not difference.messages:
            del self.radius.by_kind[known.where]
        return self._count(row, kinds, decisions)


def _gravest(kinds: frozenset[Kind]) -> Kind:
    return min(kinds, key=_GRAVITY.__getitem__)


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower() if address else "<>"


def _summary(decision: Decision, hidden: Collection[str]) -> str:
    """A decision in a few words: "refused (connector 'lock', encrypted): 550 5.7.51 …".

    Of another organization's way no more than what becomes of the mail, and whether it is protected.
    """
    if any(owner in hidden for owner, _ in decision.ways):
        requirement = decision.requirement.partition("(")[0].partition(" ")[0]
        return f"{decision.outcome} ({OTHERS_CONNECTOR}{f', {requirement}' if requirement else ''})"
    way = f"connector {decision.connector!r}" if decision.connector else "no connector"
    said = decision.reply or (decision.why if decision.outcome is Effect.UNKNOWN else "")
    text = f"{decision.outcome} ({way}{f', {decision.requirement}' if decision.requirement else ''})"
    return f"{text}: {said}" if said else text


# ------------------------------------------------------------------------------------------------ kinds


class Comparison:
    """Says in what ways two decisions on the same facts differ."""

    def __init__(self, before: Directory, after: Directory) -> None:
        self._before, self._after = _connectors(before), _connectors(after)

    def kinds(self, was: Decision, now: Decision) -> frozenset[Kind]:
        """None if a message fares the same, by the same connector and under the same requirement."""
        if was.outcome is now.outcome is Effect.REFUSED:
            return _SAME  # by whom and for what makes no difference to the mail
        kinds: set[Kind] = set()
        if (was.owner, was.connector) != (now.owner, now.connector) and (was.connector or now.connector):
            kinds.add(Kind.CONNECTOR)
        if (kind := _outcomes(was, now)) is not None:
            kinds.add(kind)
        if (change := self._demands(was, now)) != "":
            kinds.add(_CHANGES[change])
        return frozenset(kinds)

    def _demands(self, was: Decision, now: Decision) -> Change:
        if was.demand is not None or now.demand is not None:
            return outbound_change(was.demand, now.demand)
        before = self._before.get((was.owner, was.connector))
        return inbound_change(before, self._after.get((now.owner, now.connector)))


def _connectors(directory: Directory) -> dict[tuple[str, str], InboundConnector]:
    return {
        (owner.name, connector.name): connector
        for owner in directory.organizations
        for connector in owner.inbound_connectors
    }


_CHANGES = {"weaker": Kind.WEAKER, "stronger": Kind.STRONGER, "other": Kind.REQUIREMENT}


def _outcomes(was: Decision, now: Decision) -> Kind | None:
    if Effect.UNKNOWN in {was.outcome, now.outcome}:
        return Kind.UNKNOWN if was.identity != now.identity or was.demand != now.demand else None
    return None if was.outcome is now.outcome else _OUTCOMES.get((was.outcome, now.outcome))


_OUTCOMES = {
    (Effect.ACCEPTED, Effect.REFUSED): Kind.REFUSED,
    (Effect.REFUSED, Effect.ACCEPTED): Kind.ACCEPTED,
    (Effect.DELIVERED, Effect.HELD): Kind.HELD,
    (Effect.DELIVERED, Effect.RETURNED): Kind.RETURNED,
    (Effect.HELD, Effect.RETURNED): Kind.RETURNED,
    (Effect.HELD, Effect.DELIVERED): Kind.DELIVERED,
    (Effect.RETURNED, Effect.DELIVERED): Kind.DELIVERED,
}
