"""Run the transactions of a delivery attempt over one connection.

Called by `mail.outbound.deliverer` with a connection that met its requirement. No host is chosen here: what the peer
replies goes into the `DeliveryAttempt`, and recipients that were not sent are returned.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from gatepost.mail.outbound.body import BodyForms, BodyUnreadable, MessageBody
from gatepost.mail.outbound.content import ContentNotReady
from gatepost.mail.outbound.delivery_attempt import DeliveryAttempt, leaves_open
from gatepost.mail.outbound.failure import ConnectionEnded, HopFailed, UnwritableEnvelope, unvalidated
from gatepost.mail.outbound.published import no_fault
from gatepost.policy.decisions.requirement import MxLevel
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Recipient
    from gatepost.mail.outbound.connection import OutboundConnection
    from gatepost.mail.outbound.delivery_services import DeliveryServices
    from gatepost.mail.outbound.hop import OpenHop
    from gatepost.policy.decisions.destination_history import DestinationName
    from gatepost.protocols.smtp.client.transaction import TransactionResult

    type Batches = Sequence[list[Recipient]]


_log = logging.getLogger(__name__)

_UNSENDABLE = Reply(553, "5.1.3", ("The address cannot be written in a command",))

_LOG_INTERVAL = 60.0  # seconds between two lines about one host
_LOGGED_HOSTS = 1000


class TransactionRunner:
    """Sends messages over open connections, and gives each connection back to the pool."""

    def __init__(self, services: DeliveryServices) -> None:
        self._pool = services.pool
        self._memory = services.memory
        self._dnssec_fault = services.lookups.dnssec_fault if services.lookups is not None else no_fault
        self._opener = services.opener
        self._downgrades = DowngradeLog(services.clock)

    async def run(
        self, opened: OpenHop, attempt: DeliveryAttempt, forms: BodyForms, batches: Batches | None = None
    ) -> Batches:
        """Send to the recipients of some batches, by default to all that are pending.

        Returns batches to be sent over another connection; none if the connection ended during a transaction: then the
        next host's turn comes. Raises HopFailed before anything is sent if the destination was seen to protect
        connections better, ContentNotReady and BodyUnreadable if there is no body for this peer.
        """
        await self._compare_with_history(opened, attempt)
        body = await self._body_for_peer(opened, attempt, forms)
        connection = opened.connection
        used = connection.sent > 0
        if batches is None:
            batches = list(attempt.batches(connection.recipients_max, apart=connection.counts_domains))
        left = deque(batches)
        while left:
            batch = left[0]
            connection.owned = attempt.owned
            try:
                result = await connection.send(attempt.transaction(batch, opened), body.small, body.chunks)
            except ConnectionEnded as ended:
                if used:
                    return left
                attempt.failures.append(ended.failure.at(opened.hop.host, opened.hop.endpoint))
                return ()
            except UnwritableEnvelope as error:
                left.popleft()
                left.extendleft(reversed(_sendable(attempt, batch, str(error))))
                continue
            finally:
                attempt.doubt(batch if connection.in_doubt else ())
            if used and _went_stale(connection, result):
                return left
            left.popleft()
            if attempt.message.require_tls:
                self._downgrades.sent(attempt.message.id, opened)
            left.extend(attempt.settle(batch, result, opened))
            if not connection.usable:
                return () if any(leaves_open(reply) for reply in result.recipients) else left
            if connection.spent:
                break
            used = True
        self._pool.give(opened)
        return left

    async def _compare_with_history(self, opened: OpenHop, attempt: DeliveryAttempt) -> None:
        """Compare a connection with the history of each destination. Raises HopFailed if mail must not take it."""
        memory = self._memory
        # "TLS-Required: No" waives what proves the peer, and what it takes says nothing of others. But holding mail
        # where TLS was taken away is an administrator's demand, which no field of a message waives.
        waived = attempt.message.tls_required_no and (opened.facts.tls is not None or not attempt.hold)
        if memory is None or waived:
            return
        try:
            for part in attempt.parts:
                if part.destination is None:
                    continue
                if memory.lost_proof(part.destination, opened):
                    await self._require_validation(part.destination, opened)
                part.drop = memory.recall(part.destination, opened, hold=attempt.hold)
                if part.drop is not None:
                    self._opener.forget_session(opened)
                if part.drop is not None and attempt.hold:
                    raise memory.barred(part.drop, opened)
        except HopFailed:
            self._pool.give(opened)
            raise

    async def _require_validation(self, name: DestinationName, opened: OpenHop) -> None:
        """Let mail wait if our resolver is why DNSSEC does not prove what it proved before. Raises HopFailed."""
        known = opened.verdict.achieved.mx is MxLevel.DNSSEC
        fault = await self._dnssec_fault("" if known else name.domain)
        if fault is not None:
            raise HopFailed(unvalidated(fault.detail, opened.facts))

    async def _body_for_peer(self, opened: OpenHop, attempt: DeliveryAttempt, forms: BodyForms) -> MessageBody:
        """The body as the peer takes it, noted in the attempt. Raises ContentNotReady, BodyUnreadable."""
        peer = opened.connection.peer
        try:
            body, attempt.header_8bit = await forms.for_peer(peer)
        except (BodyUnreadable, ContentNotReady):
            self._pool.give(opened)
            raise
        if body is not forms.whole:
            lacking = "SMTPUTF8" if peer.eight_bit else "8BITMIME"
            attempt.add_reasons([f"the notice was converted to 7 bits: {opened.hop.host} does not offer {lacking}"])
        attempt.size, attempt.body_type = body.size, body.body_type
        return body


class DowngradeLog:
    """Logs that messages with REQUIRETLS left without it, where a connector is relaxed (RFC 8689).

    At most one line a minute for a host, whatever the traffic; the trace has every message. clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged: dict[str, float] = {}  # host -> when
        self._left_out = 0

    def sent(self, message: int, opened: OpenHop) -> None:
        """Log a message with REQUIRETLS that was sent over a connection, if that was without it."""
        hop = opened.hop
        if opened.facts.requiretls_offered or not hop.without_requiretls.startswith("relaxed"):
            return
        now = self._clock()
        if now - self._logged.get(hop.host, now - _LOG_INTERVAL) < _LOG_INTERVAL:
            self._left_out += 1
            return
        if len(self._logged) >= _LOGGED_HOSTS:
            self._logged.clear()
        self._logged[hop.host] = now
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._left_out = 0
        _log.warning("message %d left for %s without REQUIRETLS: %s%s", message, hop.host, hop.without_requiretls, more)


def _sendable(attempt: DeliveryAttempt, batch: list[Recipient], error: str) -> list[list[Recipient]]:
    """The part of a batch that can still be sent where an address of it cannot be written in a command."""
    parts = attempt.apart(batch)
    if len(parts) > 1:
        return parts
    attempt.decide_these(batch, _UNSENDABLE, {"detail": error})
    return []


def _went_stale(connection: OutboundConnection, result: TransactionResult) -> bool:
    """Whether a used connection ended before this transaction began: closed meanwhile, or 421 instead of an answer."""
    return (result.mail_reply is None or result.mail_reply.code == 421) and not connection.usable
