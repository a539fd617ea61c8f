"""Decide trace rows again under another configuration, on the stored facts.

Used by `analysis.rehearsal.rehearsal` and `analysis.rehearsal.blast_radius`. No I/O. The decision itself is `policy`'s,
by the very functions that decide real mail; what is added is the honesty to say where a row does not suffice. Rows with
the same facts are decided once, so that a million of them take seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatepost.analysis.rehearsal.recorded import INBOUND, OUTBOUND, Decision
from gatepost.analysis.rehearsal.replay_inbound import decide_session
from gatepost.analysis.rehearsal.replay_outbound import HopReplay
from gatepost.decoding import json_decoder
from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.values import Mode
from gatepost.policy.decisions.submission import LOGIN
from gatepost.store.trace import TraceRow, trace_event

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory


class _Row(NamedTuple):
    """The columns of `COLUMNS`."""

    event: str
    organization: str
    direction: str
    sender: str
    recipient: str
    subject: str
    peer_host: str
    peer_address: str
    requirement: str
    achieved: str
    tls: str
    detail: str


COLUMNS = _Row._fields
"""The columns that a decision depends on, in the order in which `RowReplay.decide` takes them."""

_KEPT = 50_000  # decisions


class Replay:
    """Decides rows by one configuration, many of them.

    profile: the server's own TLS profile. then: the configuration by which the rows were decided, as far as is known:
    it says what was offered in a handshake, and by which trust anchors a chain was judged. None: the same.
    """

    def __init__(self, directory: Directory, profile: str = "default", then: Directory | None = None) -> None:
        self.directory = directory
        self._hops = HopReplay(directory, profile, then or directory)

    def decide(self, event: TraceEvent) -> Decision:
        """One row decided again. ValueError for an event that decides nothing (HOLD, DROP, …)."""
        if event.event in INBOUND:
            return decide_session(event, self.directory)
        if event.event in OUTBOUND:
            return self._hops.decide(event)
        raise ValueError(f"{event.event} is no decision of policy")


def with_connector(
    directory: Directory, organization: str, connector: InboundConnector | OutboundConnector, **fields: Any
) -> Directory:
    """The same configuration with some fields of one connector changed, to see what would be."""
    changed = connector.model_copy(update=fields)
    kind = "inbound_connectors" if isinstance(connector, InboundConnector) else "outbound_connectors"

    def switched(owner: Organization) -> Organization:
        if owner.name != organization:
            return owner
        connectors = (changed if each.name == changed.name else each for each in getattr(owner, kind))
        return owner.model_copy(update={kind: tuple(connectors)})

    return directory.with_resources(Resources(tuple(map(switched, directory.resources.organizations))))


def enforced(directory: Directory, organization: str, connector: InboundConnector | OutboundConnector) -> Directory:
    """The same configuration with one connector switched on and enforced."""
    return with_connector(directory, organization, connector, enabled=True, mode=Mode.ENFORCE)


class _Rehearsal(msgspec.Struct, frozen=True):
    passed: bool = True
    requirement: str = ""
    message: str = ""
    result_type: str = ""


class _Detail(msgspec.Struct, frozen=True):
    """The keys of `detail` that an outbound decision depends on."""

    starttls_offered: bool | None = None
    handshake_error: str = ""
    attempt: int = 1
    rehearsal: _Rehearsal | None = None


class _Login(msgspec.Struct, frozen=True):
    """The keys of `detail` that a decision on a user's session depends on; user: "" if nobody logged in.

    `why` says the mechanism, so it counts.
    """

    basis: str = ""
    user: str = ""
    mechanism: str = ""


_BY_LOGIN = f'"{LOGIN}"'
_decode = json_decoder(_Detail)
_login = json_decoder(_Login)


class RowReplay:
    """Decides rows of the trace by several configurations at once; the same facts only once."""

    def __init__(self, replays: Sequence[Replay]) -> None:
        self._replays = replays
        self._known: dict[Hashable, tuple[Decision, ...]] = {}
        rules = [
            rule
            for each in replays
            for organization in each.directory.resources.organizations
            for rule in organization.mail_flow_rules
        ]
        self._by_sender = any(rule.senders or rule.except_senders for rule in rules)
        self._by_recipient = any(rule.recipients or rule.except_recipients for rule in rules)
        self._by_subject = any(rule.header_name.lower() == "subject" for rule in rules)

    def decide(self, row: TraceRow) -> tuple[Decision, ...]:
        """Decide a row by each configuration.

        row: `COLUMNS`. For rows with the same facts, `why` may be from another row.
        """
        key = self._key(_Row._make(row))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            event = trace_event(COLUMNS, row)
            known = self._known[key] = tuple(replay.decide(event) for replay in self._replays)
        return known

    def _key(self, row: _Row) -> Hashable:
        """Everything that a decision depends on, and no more."""
        recipient = self._recipient(row.recipient)
        if row.event in INBOUND:
            login = _login(row.detail) if _BY_LOGIN in row.detail else None
            taken = row.event if row.recipient[:3].upper() == "SRS" else ""  # the keys are no part of a configuration
            return login and (login, row.sender), _domain(row.sender), recipient, row.peer_address, row.tls, taken
        asked_by_rules = (
            row.sender if self._by_sender else "",
            row.recipient if self._by_recipient else recipient,
            row.subject if self._by_subject else "",
        )
        return (
            row.organization,
            row.direction,
            row.peer_host,
            row.peer_address,
            row.requirement,
            row.achieved,
            row.tls,
            _decode(row.detail),
            asked_by_rules,
        )

    def _recipient(self, address: str) -> str:
        domain = _domain(address)
        if any(replay.directory.has_mailboxes(domain) for replay in self._replays):
            return address
        return f"@{domain}" if domain else address


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower() if address.isascii() and '"' not in address else address
