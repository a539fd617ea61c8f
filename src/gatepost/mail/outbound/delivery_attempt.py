"""One delivery attempt: a message, its pending recipients on one route, and the result of each so far.

Filled by `mail.outbound.deliverer` as hosts are tried. No I/O, no clock: replies and failures in, decisions out. A
recipient is decided by 2xx for the message, or by 5xx to MAIL, RCPT or the message; whatever says less leaves it to the
next host (RFC 5321 section 5.1), as does a host that lacks what the message needs (RFC 6531 section 3.2: another MX).
What a host said for now, or lacks, counts once there is no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.mail.model.delivery_result import Disposition, RecipientResult, disposition_of
from gatepost.mail.outbound.failure import HopFailed, HopFailure, located
from gatepost.mail.outbound.record import drop_record, failure_record, hop_record, open_record, tries_record
from gatepost.mail.queue.retry_decision import CUT_SHORT, IN_DOUBT, UNTRIED
from gatepost.policy.connectors.values import Cleartext
from gatepost.policy.decisions.requirement import Opportunistic, Requirement
from gatepost.policy.decisions.requiretls import Asks, asks_of
from gatepost.policy.decisions.withheld import concerns_others, public_reply
from gatepost.protocols.smtp.client.transaction import MailTransaction, RecipientReply, TransactionResult
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.mail.model.message import Message, Recipient
    from gatepost.mail.outbound.hop import Hop, OpenHop
    from gatepost.policy.decisions.destination_history import DestinationName, Drop
    from gatepost.protocols.smtp.replies import Reply


# RFC 5321 section 4.5.3.1.8: every server takes a hundred recipients. More only where it says so (RFC 9422).
_RECIPIENTS = 100
_RECIPIENTS_MAX = 1000
_REASONS = 50
# Hosts that defer before the attempt ends: a full mailbox is full on every host, and asking all of them is no courtesy.
_DEFERRING_HOSTS = 5


def may_go_clear(requirement: Requirement, attempts: int) -> bool:
    """Whether mail may leave unencrypted, over a fresh connection, where a handshake failed.

    Only if that is configured, and only on a later attempt, so that a passing fault costs no protection.
    """
    allowed = isinstance(requirement, Opportunistic) and requirement.cleartext is Cleartext.AFTER_FAILED_HANDSHAKE
    return allowed and attempts >= 1


def without_others(result: RecipientResult) -> RecipientResult:
    """The result in words that queue, log and notices may have: none of another organization's hosts and connectors.

    What was really said stays in the detail, for the trace and who may see it there.
    """
    if not concerns_others(result.detail):
        return result
    return replace(result, reply=public_reply(result.reply), detail=result.detail | {"reply": result.reply.text})


def asks(message: Message) -> Asks:
    """The TLS demand of a message itself (RFC 8689), or of a journal copy."""
    relayed = message.require_tls and not message.reverse_path and not message.is_notice
    return asks_of(
        require_tls=message.require_tls,
        tls_required_no=message.tls_required_no,
        relayed_notice=relayed,
        journal=message.is_journal,
    )


class AttemptPart(msgspec.Struct):
    """The recipients of one delivery.

    base: the detail of every result (connector, requirement, reasons). destination: by which the history of connections
    is kept, None without one. drop: how the connection in use falls short of that history, None if it does not.
    """

    recipients: Sequence[Recipient]
    base: dict[str, Any]
    destination: DestinationName | None = None
    drop: Drop | None = None


class DeliveryAttempt(msgspec.Struct):
    """One message, its recipients on one route: those of one delivery, or of several that may share a transaction.

    attempts: made before this one. pending: not decided yet. failures: of the hosts tried so far. deferrals: by
    address, the reply to a pending recipient, and its detail. lacking: the same where a host does not offer what the
    message needs (SMTPUTF8, its size, …), as another may. broken: hops where STARTTLS was offered and failed, with
    the reason. answered: a host answered for a recipient. hold: whether mail waits where a connection falls short of
    the history of its destination; then all parts have the same one. separable: a host refused a RCPT beside recipients
    of another part, and took it without them. forward_paths: by address, what stands in RCPT instead. keeps_sender: the
    message's own reverse-path is used even where it was rewritten. origin: XGATEPOST of MAIL to another node of the
    site, "" on any other route. owned: whether the message is this process's still, or another may
    have it. size, body_type, header_8bit: of the body as it is to be sent.
    """

    message: Message
    parts: Sequence[AttemptPart]
    attempts: int = 0
    size: int = 0
    body_type: str = ""
    header_8bit: bool = False
    keeps_sender: bool = False
    results: list[RecipientResult] = msgspec.field(default_factory=list)
    pending: list[Recipient] = msgspec.field(default_factory=list)
    failures: list[HopFailure] = msgspec.field(default_factory=list)
    deferrals: dict[str, tuple[Reply, dict[str, Any]]] = msgspec.field(default_factory=dict)
    lacking: dict[str, tuple[Reply, dict[str, Any]]] = msgspec.field(default_factory=dict)
    broken: list[tuple[Hop, str]] = msgspec.field(default_factory=list)
    answered: bool = False
    hold: bool = False
    separable: bool = False
    forward_paths: dict[str, str] = msgspec.field(default_factory=dict)
    origin: str = ""
    owned: Callable[[], bool] = lambda: True
    _part_of: dict[int, AttemptPart] = msgspec.field(default_factory=dict)
    _refused: set[int] = msgspec.field(default_factory=set)
    _in_doubt: set[int] = msgspec.field(default_factory=set)

    def __post_init__(self) -> None:
        self._part_of = {id(recipient): part for part in self.parts for recipient in part.recipients}
        self.pending = self.recipients

    @property
    def recipients(self) -> list[Recipient]:
        """Of all parts."""
        return [recipient for part in self.parts for recipient in part.recipients]

    def base_of(self, recipient: Recipient) -> dict[str, Any]:
        """The detail that every result of a recipient has."""
        return self._part_of[id(recipient)].base

    def add_detail(self, detail: dict[str, Any]) -> None:
        """Add detail to all results to come."""
        for part in self.parts if detail else ():
            part.base = part.base | detail

    def batches(self, recipients_max: int, *, apart: bool = False) -> Iterator[list[Recipient]]:
        """The pending recipients, as many at a time as one transaction may have. apart: of one part only."""
        size = min(recipients_max or _RECIPIENTS, _RECIPIENTS_MAX)
        for waiting in self.apart(self.pending) if apart else [list(self.pending)]:
            for start in range(0, len(waiting), size):
                yield waiting[start : start + size]

    def add_reasons(self, reasons: Sequence[str]) -> None:
        """Add reasons to all results to come, each once."""
        for part in self.parts if reasons else ():
            known = part.base.get("reasons", [])
            part.base = part.base | {"reasons": list(dict.fromkeys((*known, *reasons)))[:_REASONS]}

    def transaction(self, batch: Sequence[Recipient], opened: OpenHop) -> MailTransaction:
        """The transaction for a batch. A recipient that is named twice, or by an alias as well, gets one RCPT.

        REQUIRETLS is left out only where policy said that it may be.
        """
        message, first = self.message, batch[0]
        paths = {self._path(recipient): recipient for recipient in reversed(batch)}
        return MailTransaction(
            reverse_path=message.reverse_path if self.keeps_sender else first.return_path or message.reverse_path,
            recipients=[(path, recipient.notify, recipient.orcpt) for path, recipient in reversed(paths.items())],
            size=self.size,
            body_type=self.body_type,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            require_tls=message.require_tls and not _goes_without_requiretls(opened),
            header_8bit=self.header_8bit,
            origin=self.origin,
        )

    def _path(self, recipient: Recipient) -> str:
        """The address in RCPT for a recipient."""
        return self.forward_paths.get(recipient.address, recipient.address)

    def settle(self, batch: Sequence[Recipient], outcome: TransactionResult, opened: OpenHop) -> list[list[Recipient]]:
        """Take over the results of a transaction; undecided recipients stay pending, with a failure as the reason.

        The batches to be sent after it, as in `_alone`.
        """
        results = {result.address: result for result in outcome.recipients}
        alone = self._alone(batch, results, outcome)
        asked_again = {id(recipient) for again in alone for recipient in again} if alone else ()
        self.answered = self.answered or bool(alone)
        detail = open_record(opened)
        if self.message.inbound.get("transcribed"):
            detail["transcript"] = list(opened.connection.transcript)
        if self.message.require_tls:
            detail["requiretls"] = opened.hop.without_requiretls if _goes_without_requiretls(opened) else "passed on"
        undecided: HopFailure | None = None
        deferred: dict[Reply, HopFailure] = {}
        for recipient in batch:
            if id(recipient) in asked_again:
                continue
            result, part = results[self._path(recipient)], self._part_of[id(recipient)]
            if leaves_open(result):
                undecided = _broken_off(result, opened)
                continue
            self.answered = True
            self.separable |= result.reply.positive and id(recipient) in self._refused
            known = part.base | detail
            if part.drop is not None:
                known |= drop_record(part.drop)
            if self.origin:
                known["handover"] = hop_record(opened.hop.host, result.reply)
            if result.reply.transient or result.local:
                waiting = self.deferrals if result.reply.transient else self.lacking
                waiting[recipient.address] = result.reply, known
                self._in_doubt.discard(id(recipient))
                deferred.setdefault(result.reply, _deferral(result.reply, opened))
            else:
                self.decide(recipient, result.reply, known)
        self.failures += list(deferred.values())[:_REASONS]
        if undecided is not None:
            self.failures.append(undecided)
        return alone

    def apart(self, batch: Sequence[Recipient]) -> list[list[Recipient]]:
        """A batch by its parts, which is as each would be sent by itself."""
        parts: dict[int, list[Recipient]] = {}
        for recipient in batch:
            parts.setdefault(id(self._part_of[id(recipient)]), []).append(recipient)
        return list(parts.values())

    def _alone(
        self, batch: Sequence[Recipient], results: Mapping[str, RecipientReply], outcome: TransactionResult
    ) -> list[list[Recipient]]:
        """The refused recipients of each part where the peer would have taken recipients of another part.

        Some hosts take one domain at a time, and some judge a message by one of its recipients' domains. What the peer
        says of a part counts once that was sent alone.
        """
        if len(self.parts) < 2 or len(groups := self.apart(batch)) < 2:
            return []
        results_by_group = [[(recipient, results[self._path(recipient)]) for recipient in group] for group in groups]
        at_data = outcome.data_reply
        taken = {
            number
            for number, members in enumerate(results_by_group)
            if any(answer.reply.positive or answer.reply is at_data for _, answer in members)
        }
        alone = []
        for number, members in enumerate(results_by_group):
            # A part that is refused with the message itself has company if the message was for others, too.
            if not taken - {number}:
                continue
            no = [(recipient, answer) for recipient, answer in members if _is_refusal(answer)]
            alone += [[recipient for recipient, _ in no]] if no else []
            self._refused |= {id(recipient) for recipient, answer in no if answer.reply is not at_data}
        return alone

    def failed(self, failed: HopFailed, hop: Hop) -> None:
        """Record that a hop could not be used."""
        self.failures.append(replace(failed.failure, published=hop.published))
        if failed.handshake:
            self.broken.append((hop, failed.handshake))

    def decide_all(self, reply: Reply, detail: dict[str, Any], *, held: bool = False) -> None:
        """Settle all pending recipients with this reply; nothing more is tried."""
        self.decide_these(list(self.pending), reply, detail, held=held)

    def decide_these(
        self, recipients: Sequence[Recipient], reply: Reply, detail: dict[str, Any], *, held: bool = False
    ) -> None:
        """Settle some pending recipients with this reply."""
        for recipient in recipients:
            self.decide(recipient, reply, self.base_of(recipient) | detail, held=held)

    def conclude(self) -> None:
        """Settle what is pending, as no host is left: by a host's deferral, else by what the failures say together.

        As `stop` does where another process may have the message: it tries it, too.
        """
        if self.pending and not self.owned():
            self.stop()
        for recipient in list(self.pending):
            if recipient.address in self.deferrals:
                self.decide(recipient, *self.deferrals[recipient.address])
            elif recipient.address in self.lacking and not self._may_be_better:
                self.decide(recipient, *self.lacking[recipient.address])
        if self.pending:
            failure = _telling(self.failures)
            detail = failure_record(failure) | tries_record(self.failures)
            self.decide_all(failure.reply, detail, held=_held(self.failures))

    def doubt(self, recipients: Iterable[Recipient]) -> None:
        """Note to whom a message was sent to its end, without a reply before a stop."""
        self._in_doubt |= set(map(id, recipients))

    def stop(self) -> None:
        """Settle what is pending, as the gateway stops: as in doubt, or by a host's deferral, or as untried.

        Nobody fails, nor by a deferral at expiry: hosts that were not tried might have taken it.
        """
        for recipient in list(self.pending):
            base = self.base_of(recipient)
            if id(recipient) in self._in_doubt:
                reply, detail = IN_DOUBT, base
            else:
                reply, detail = self.deferrals.get(recipient.address, (UNTRIED, base))
            self.decide(recipient, reply, detail | CUT_SHORT)

    def deferred_by(self, host: str) -> bool:
        """Whether a host answered, and deferred a recipient: another of its addresses would say the same."""
        return any(failure.answered and failure.host == host for failure in self.failures)

    @property
    def _may_be_better(self) -> bool:
        """Whether a host could not be asked now, by no address of its, and may offer what all others lack."""
        hosts = {failure.host for failure in self.failures if failure.answered}
        return any(failure.host not in hosts and not failure.reply.permanent for failure in self.failures)

    @property
    def ends_early(self) -> bool:
        """Whether so many hosts have deferred it that no other is tried now."""
        return len({failure.host for failure in self.failures if failure.answered}) >= _DEFERRING_HOSTS

    @property
    def unreachable(self) -> bool:
        """Whether no host answered for a single recipient: the destination, not the message, is at fault for now."""
        return (
            bool(self.failures)
            and not self.answered
            and any(result.disposition is Disposition.DEFERRED for result in self.results)
        )

    @property
    def silent(self) -> bool:
        """Whether the hosts talked to no client, whatever the requirement."""
        return bool(self.failures) and all(failure.silent for failure in self.failures)

    @property
    def crowded(self) -> bool:
        """Whether a host turned the connection away for now."""
        return any(failure.crowded for failure in self.failures)

    def decide(self, recipient: Recipient, reply: Reply, detail: dict[str, Any], *, held: bool = False) -> None:
        """Settle a pending recipient for this attempt. held: an administrator must act, trying again is of no use."""
        disposition = Disposition.HELD if held else disposition_of(reply)
        if disposition is not Disposition.DELIVERED and self._met_others(detail) and "tries" not in detail:
            detail = detail | tries_record(self.failures)
        self.results.append(RecipientResult(recipient, disposition, reply, detail))
        self.pending.remove(recipient)

    def _met_others(self, detail: dict[str, Any]) -> bool:
        """Whether more was tried than the host of which `detail` tells."""
        place = detail.get("host"), detail.get("address")
        return any(not failure.answered or (failure.host, failure.address) != place for failure in self.failures)


def _goes_without_requiretls(opened: OpenHop) -> bool:
    return opened.hop.without_requiretls != "" and not opened.facts.requiretls_offered


def leaves_open(result: RecipientReply) -> bool:
    """Whether another host may do better: the connection ended, or the peer ended the session (421)."""
    return result.reply.code == 421 or (result.local and result.reply.transient)


def _is_refusal(result: RecipientReply) -> bool:
    """Whether the peer said no, for now or for good."""
    return not (result.reply.positive or result.local or leaves_open(result))


def _deferral(reply: Reply, opened: OpenHop) -> HopFailure:
    return HopFailure(reply, "", None, opened.hop.host, opened.hop.endpoint, answered=True)


def _broken_off(result: RecipientReply, opened: OpenHop) -> HopFailure:
    host, address = opened.hop.host, opened.hop.endpoint
    reply = located(result.reply, host, address) if result.local else result.reply
    transcript = tuple(opened.connection.transcript)
    published = opened.hop.published
    return HopFailure(reply, "", None, host, address, opened.facts, opened.verdict, transcript, published=published)


def _telling(failures: Sequence[HopFailure]) -> HopFailure:
    """The failure that stands for all: for good only if each of them is.

    A drop in protection says more than a TLS failure, and that more than a silent host; of equals the last one is it,
    as in Exchange's LastAttemptedServerName.
    """
    failures = [failure for failure in failures if not failure.answered] or failures
    transient = [failure for failure in failures if not failure.reply.permanent]

    def weight(failure: HopFailure) -> tuple[bool, bool, int]:
        return failure.drop is not None, failure.result_type is not None, failures.index(failure)

    return max(transient or failures, key=weight)


def _held(failures: Sequence[HopFailure]) -> bool:
    """Whether all that is left of a destination protects less than before.

    While a host that may do better is only out of reach for now, mail waits for it and needs no administrator.
    """
    transient = [failure for failure in failures if not failure.reply.permanent]
    return bool(transient) and all(failure.drop is not None for failure in transient)
