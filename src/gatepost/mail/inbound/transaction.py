"""One mail transaction of a session: the envelope, the body streamed to the store, and the result of both.

`mail.inbound.session` calls it with the events of the protocol; it never sees the wire.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from gatepost.events.trace import handed_over_record, introduction_record, quarantined_event, received_event
from gatepost.mail.inbound.authentication import Arrival
from gatepost.mail.inbound.content import shown_message
from gatepost.mail.inbound.deliveries import AcceptedRecipient, deliveries_of
from gatepost.mail.inbound.journaling import copies_of, journal_deliveries
from gatepost.mail.inbound.quarantine import QuarantineFindings, count_by_holder
from gatepost.mail.model.message import Delivery, Message, QuarantineHold
from gatepost.mail.model.queue_id import format_id
from gatepost.policy.connectors.values import AuthenticationResults
from gatepost.policy.decisions.authentication import forged_ids
from gatepost.policy.decisions.content import decide
from gatepost.policy.decisions.forwarding import organizations_reached
from gatepost.policy.decisions.handover import read_origin
from gatepost.policy.decisions.inbound import decide_filtered
from gatepost.policy.decisions.skipped_hops import skip_hops
from gatepost.protocols.message.authentication_results import (
    FIELD,
    chain_of,
    own_results,
    results_text,
    without_forged,
)
from gatepost.protocols.message.edit import HeaderEdits, HeaderSection, edit_header
from gatepost.protocols.message.fields import HeaderScanner
from gatepost.protocols.message.organization_headers import HeaderChange, changed_headers
from gatepost.protocols.message.received import received_field, relaying_addresses
from gatepost.protocols.message.submission import submitted
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import BodyWriter, StoreFailure, StoreFull
from gatepost.values import replace

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Sequence

    from gatepost.mail.inbound.repeated import RepeatedDecisions
    from gatepost.mail.inbound.service import InboundService
    from gatepost.mail.inbound.usage import Charge
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.hook_index import ApplicableHook
    from gatepost.policy.connectors.records import InboundConnector
    from gatepost.policy.decisions.header_trust import HeaderTrust
    from gatepost.policy.decisions.journaling import JournalCopy
    from gatepost.protocols.smtp.server.events import MailEvent


_SMALL_HEADER = 16 * 1024  # octets that are kept of each header section without being counted: most have fewer
_HEADER_TOO_LARGE = Reply(552, "5.3.4", ("The header section of the message is larger than we accept",))
_NO_RESULTS = (
    "rspamd added no Authentication-Results field for this host name: switch on authentication-results in its "
    "milter_headers.conf, and change_header in the content hook"
)
_FORWARDED = Reply(554, "5.4.6", ("Mail forwarding loop: a recipient has sent this message on already",))
_LOOP = Reply(554, "5.4.6", ("Hop count exceeded - possible mail loop",))
_JOURNAL_LOOP = Reply(554, "5.4.6", ("Journal loop: the journal mailbox sends its copies back to this gateway",))


class Transaction:
    """From an accepted MAIL to the message in the queue, or to nothing.

    charge: its recipients as they count against the limit of its sender, None without one. origin: what another node of
    the site says of the message, None if it comes from elsewhere. examined: it is authenticated or scanned, which is
    the same for every recipient (`policy.decisions.inbound`); known from `begin_body` on.
    """

    __slots__ = (
        "_arrived",
        "_body",
        "_directory",
        "_failure",
        "_forged",
        "_found",
        "_header",
        "_kept_header",
        "_quarantine",
        "_scanner",
        "_service",
        "_session",
        "bytes_seen",
        "charge",
        "examination",
        "examined",
        "journal_copies",
        "mail",
        "message_id",
        "origin",
        "recipients",
    )

    def __init__(self, service: InboundService, session: SessionFacts, mail: MailEvent) -> None:
        self._service = service
        self._session = session
        self._body: BodyWriter | None = None
        self._directory: Directory | None = None
        self._failure: StoreFailure | None = None
        self._forged: frozenset[str] = frozenset()  # authserv-ids with which fields are taken out
        self._header: HeaderSection | None = None
        self._quarantine: QuarantineFindings | None = None
        self._arrived = b""  # the header section, before anything of it was changed
        self._kept_header = b""  # and after that
        self._found: dict[str, Any] = {}  # what the header section was found to be, for the message
        self._scanner = HeaderScanner(service.smtp_limits.header_bytes)
        self.mail = mail
        self.origin = read_origin(mail.parameters.origin) if mail.parameters.origin else None
        self.recipients: list[AcceptedRecipient] = []
        self.message_id = 0
        self.bytes_seen = 0
        self.examination: Task[None] | None = None
        self.journal_copies: tuple[JournalCopy, ...] = ()
        self.charge: Charge | None = None
        self.examined = False

    @property
    def queue_id(self) -> str:
        """The id the message has in the queue, "" before the body begins."""
        return format_id(self.message_id) if self.message_id else ""

    @property
    def organization(self) -> str:
        """Whose mail it is. Known with the first recipient."""
        return self.recipients[0].verdict.organization

    @property
    def receiving(self) -> bool:
        """Whether the body is on its way."""
        return self._body is not None

    def is_held(self) -> bool:
        """Whether mail flow rules hold it in quarantine for a recipient. Asked when it is complete.

        What another node of the site hands over was asked about there.
        """
        directory = self._directory
        if directory is None or not directory.quarantine_rules or self.origin is not None:
            return False
        self._quarantine = QuarantineFindings(directory, self.mail.path.text, self._arrived)
        return any(self._holds())

    def _holds(self) -> list[list[QuarantineHold]]:
        """What holds it for each recipient, and each place that its mail goes to."""
        findings = self._quarantine
        return [
            findings.of(accepted.verdict.organization, target) if findings is not None else []
            for accepted in self.recipients
            for target in accepted.targets
        ]

    def begin_body(
        self, greeted_with: str, directory: Directory, repeated: RepeatedDecisions
    ) -> Awaitable[None] | None:
        """Open the body and put our trace field before it (RFC 5321 section 4.4); an awaitable as from `write`.

        directory: of the configuration that the recipients were judged by. repeated: what was decided in the session.
        """
        self.message_id = self._service.store.new_id()
        self._body = self._service.store.body()
        if self._service.shares is not None:
            self._service.shares.begin(self)
        session = self._session
        self._directory = directory
        verdicts = [recipient.verdict for recipient in self.recipients]
        first = verdicts[0]
        self.examined = bool(first.hooks) or first.authentication is not AuthenticationResults.NONE
        trust = repeated.trust(directory, session, self.mail.path, verdicts)
        self._forged = forged_ids(directory, session, verdicts, self._service.hostname, self._service.nodes())
        self._header = HeaderSection(
            self._service.smtp_limits.header_bytes, lambda section: self._changed(section, trust)
        )
        return self._keep_octets(
            received_field(
                hello=session.hello,
                peer_ip=session.peer_ip,
                by=self._service.hostname,
                greeted_with=greeted_with,
                smtputf8=self.mail.parameters.smtputf8,
                tls=session.tls,
                authenticated=session.user != "",
                queue_id=self.queue_id,
                recipient=self.recipients[0].event.path.text if len(self.recipients) == 1 else "",
                now=self._service.clock(),
            ),
            head=True,
        )

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a chunk of content; an awaitable means the disk is behind. After a failure content is only read over."""
        self.bytes_seen += len(chunk)
        if self._header is not None:
            chunk = self._header.feed(chunk)
            if self._header.held > _SMALL_HEADER or len(self._arrived) > _SMALL_HEADER:
                self._count_header(self._header.held)
        return self._keep(chunk) if chunk else None

    def _count_header(self, held: int) -> None:
        """Count a large header section in the memory for arriving messages. held: octets of one that is not whole."""
        assert self._body is not None  # noqa: S101 - the protocol gives content only after DATA was accepted
        changed = 0 if self._kept_header is self._arrived else len(self._kept_header)
        try:
            self._body.reserve(held + len(self._arrived) + changed)
        except StoreFailure as failure:
            self.failed(failure)

    def _changed(self, section: bytes, trust: HeaderTrust) -> bytes:
        """The header section as it is kept: a user's completed, and without what its sender may not say."""
        self._arrived = section
        if (connector := self.recipients[0].verdict.filter) is not None:
            self._know_client(connector, section)
        if self._forged:
            section, removed = without_forged(section, self._forged)
            if removed:
                self._found["forged_results"] = removed
        if self._session.user:
            service = self._service
            section = submitted(section, queue_id=self.queue_id, hostname=service.hostname, now=service.clock())
        change = changed_headers(section, trust.crossing) if trust.crossing is not None else HeaderChange(section)
        if record := change.record():
            self._found["headers"] = record
        if trust.internal:
            self._found["internal"] = True
        self._kept_header = change.section
        return change.section

    def _know_client(self, connector: InboundConnector, section: bytes) -> None:
        """The filter in front has written who its client was: from here on that is the client of this message."""
        self._session = session = skip_hops(self._session, connector, relaying_addresses(section))
        if session.introduction is not None:
            self._found |= {"peer": session.peer_ip, **introduction_record(session)}

    def _refused_for_client(self) -> Reply | None:
        """Judge the client that the header section named by the rules that waited for it."""
        directory = self._directory
        if directory is None or self.recipients[0].verdict.filter is None:
            return None
        path, session = self.mail.path, self._session
        self.recipients = [
            replace(
                recipient,
                verdict=decide_filtered(directory, session, path, recipient.event.path, recipient.verdict),
            )
            for recipient in self.recipients
        ]
        return next((each.verdict.reply for each in self.recipients if not each.verdict.accepted), None)

    def amend_refusal(self, event: TraceEvent) -> TraceEvent:
        """A row about its refusal, with the client of the message where that is not the one of the connection."""
        if "introduction" in self._found:
            event.peer_address = self._session.peer_ip
            event.detail["introduction"] = self._found["introduction"]
        return event

    def _keep(self, chunk: bytes) -> Awaitable[None] | None:
        if self._failure is not None:
            return None
        head = not self._scanner.done
        if head:
            self._scanner.feed(chunk)
        return self._keep_octets(chunk, head=head)

    def _keep_octets(self, octets: bytes, *, head: bool) -> Awaitable[None] | None:
        """Give the store octets; of a message that is examined, those that may be changed yet are kept apart."""
        assert self._body is not None  # noqa: S101 - the protocol gives content only after DATA was accepted
        try:
            if head and self.examined:
                self._body.write_head(octets)
                return None
            return self._body.write(octets)
        except StoreFailure as failure:
            self.failed(failure)
            return None

    async def examine(self) -> Reply | None:
        """Authenticate it and ask the scanners; the refusal, or None once the header is what they want it to be.

        Whoever is asked, the trace of every recipient has what was found.
        """
        body, verdict = self._body, self.recipients[0].verdict
        assert body is not None  # noqa: S101 - a message ends only after it began
        try:
            if verdict.authentication is AuthenticationResults.GATEWAY:
                await self._authenticate(body)
            refusal = await self._scan(body, verdict.hooks) if verdict.hooks else None
            refusal = refusal or await self._refused_for_room(body.size)
        except StoreFailure as failure:
            return failure.reply
        if verdict.authentication is AuthenticationResults.RSPAMD:
            self._take_results(body)
        return refusal

    async def _refused_for_room(self, size: int) -> Reply | None:
        """The deferral of what is to be held, where the quarantine has no room for it."""
        wanted = count_by_holder(self._holds())
        room = self._service.quarantine
        if not wanted or room is None:
            return None
        reason = await room.take(wanted, size)
        return self._deferred(reason) if reason else None

    def _refused_for_share(self) -> Reply | None:
        """The deferral of what its organization has no room for in a queue that is nearly full."""
        shares, body = self._service.shares, self._body
        if shares is None or body is None:
            return None
        reason = shares.take(self, body.size)
        return self._deferred(reason) if reason else None

    def give_up(self, reason: str) -> None:
        """Its organization has too much in the queue: the body is not kept, and the message deferred at its end."""
        if self._failure is None and self._body is not None:
            self._deferred(reason)
            self._failure = StoreFull(reason)
            self._body.abort()

    def _deferred(self, reason: str) -> Reply:
        """The reply to a message without room; its reason is for the trace of each recipient.

        It says no more than a full disk does: whoever sends learns nothing of a quarantine, or of other organizations.
        """
        self.recipients = [
            replace(recipient, verdict=replace(recipient.verdict, reasons=(*recipient.verdict.reasons, reason)))
            for recipient in self.recipients
        ]
        return StoreFull.reply

    async def _scan(self, body: BodyWriter, hooks: Sequence[ApplicableHook]) -> Reply | None:
        scanners = self._service.hooks
        assert scanners is not None  # noqa: S101 - only where there are some is anybody asked
        assert self._directory is not None  # noqa: S101 - a message ends only after it began
        targets = (target for recipient in self.recipients for target in recipient.targets)
        reached = organizations_reached(self._directory, targets)
        names, path = tuple(recipient.event.path.text for recipient in self.recipients), self.mail.path.text
        shown = shown_message(self._session, path, names, self.queue_id, self._service.hostname, body)
        examination = decide(await scanners.ask(hooks, shown), reached, self._forged)
        self._note(examined=examination.records)
        if examination.quarantines:
            self._quarantine = self._quarantine or QuarantineFindings(self._directory, path, self._arrived)
            self._quarantine.scanned(examination.quarantines)
        if examination.reply is None and examination.edits:
            body.replace_head(reduce(edit_header, examination.edits, body.head))
        return examination.reply

    async def _authenticate(self, body: BodyWriter) -> None:
        """Check the message and put what was found before everything else (RFC 8601 section 4.1)."""
        authenticator, name = self._service.authenticator, self._service.hostname
        assert authenticator is not None  # noqa: S101 - every gateway has one
        session = self._session
        arrival = Arrival(session.peer_ip, session.hello, self.mail.path, self._arrived, body.chunks)
        report = await authenticator.authenticate(arrival)
        edits = HeaderEdits(((FIELD, results_text(name, report.results)),))
        body.replace_head(edit_header(body.head, edits))
        self._authenticated("gateway", [result.text for result in report.results], report.chain)

    def _take_results(self, body: BodyWriter) -> None:
        """Note what rspamd found, if it put that into the header under our name, as it does for its MTA."""
        head = body.head.partition(b"\r\n\r\n")[0] + b"\r\n"
        if said := own_results(head, self._service.hostname.lower()):
            self._authenticated("rspamd", [part.strip() for part in said.split(";")], chain_of(said))
        else:
            self._note(authenticated={"by": "rspamd", "missing": _NO_RESULTS})

    def _authenticated(self, by: str, results: list[str], chain: str) -> None:
        """For the trace, and for the seal that a message gets which is passed on (`mail.outbound.arc`)."""
        self._note(authenticated={"by": by, "results": results})
        self._found |= {"authentication": by, "authserv_id": self._service.hostname, "arc": chain}

    def _note(self, **found: Any) -> None:
        """Add what was found to the verdict on every recipient."""
        self.recipients = [
            replace(recipient, verdict=replace(recipient.verdict, **found)) for recipient in self.recipients
        ]

    def failed(self, failure: StoreFailure) -> None:
        """The store could not keep what it took; the message will be refused, and its header is kept no longer."""
        self._failure = failure.with_traceback(None)  # whose frames would keep the chunk for as long as the session
        self._header, self._arrived, self._kept_header = None, b"", b""
        if self._body is not None:
            self._body.reserve(0)

    def refusal(self) -> Reply | None:
        """Why the complete message cannot be taken, None if it can."""
        if self._header is not None and (rest := self._header.finish()):
            self._keep(rest)
        if self._failure is not None:
            return self._failure.reply
        self._scanner.finish()
        if self._scanner.too_large:
            return _HEADER_TOO_LARGE
        if self._scanner.facts.received_count >= self._service.session_limits.hops:
            return _LOOP
        return (
            self._forwarded_before()
            or self._refused_for_client()
            or self._find_journal_copies()
            or self._refused_for_share()
        )

    def _find_journal_copies(self) -> Reply | None:
        """Find out who journals the message; the refusal if it is a copy that comes back."""
        directory, body = self._directory, self._body
        if directory is None or directory.journals is None or self.origin is not None:
            return None
        # What scanners put into an examined message stands in the head of its body.
        header = body.head if body is not None and body.head else self._kept_header
        section = header.partition(b"\r\n\r\n")[0] + b"\r\n"
        self.journal_copies, came_back = copies_of(directory, self.mail, self.recipients, section)
        return _JOURNAL_LOOP if came_back else None

    def _forwarded_before(self) -> Reply | None:
        """The refusal of a message that comes back to a mailbox which sent it on (RFC 9228 section 3)."""
        if not (delivered_to := self._scanner.facts.delivered_to):
            return None
        seen = {address.lower() for address in delivered_to}
        forwarders = (target.forwarded_by for recipient in self.recipients for target in recipient.targets)
        return _FORWARDED if any(by and by.lower() in seen for by in forwarders) else None

    def queued(self, inbound: dict[str, Any]) -> tuple[Message, list[Delivery], BodyWriter]:
        """What the store shall keep: the message, a delivery for each destination, the body."""
        assert self._body is not None  # noqa: S101 - a message ends only after it began
        if self._service.shares is not None:
            self._service.shares.kept(self)
        now = self._service.clock()
        mail, facts, verdict = self.mail, self._scanner.facts, self.recipients[0].verdict
        message = Message(
            id=self.message_id,
            organization=verdict.organization,
            received=now,
            reverse_path=mail.path.text,
            size=self._body.size,
            body_type=mail.parameters.body,
            smtputf8=mail.parameters.smtputf8,
            require_tls=mail.parameters.require_tls,
            # Who asks for TLS by REQUIRETLS has the field ignored (RFC 8689 section 4.1).
            tls_required_no=facts.tls_required_no and not mail.parameters.require_tls,
            ret=mail.parameters.ret,
            envid=mail.parameters.envid,
            message_id=facts.message_id,
            subject=facts.subject,
            # One id for the whole way through the site: that of the session by which the message came into it.
            session=(self.origin.session if self.origin is not None else "") or self._session.session_id,
            direction=verdict.direction,
            hops=facts.received_count + 1,
            inbound=inbound | self._found | handed_over_record(self.origin, self._session),
        )
        if self.examined:
            self._find_journal_copies()  # scanners may have changed the header
        return message, self._deliveries(message, now), self._body

    def received(
        self, message: Message, deliveries: list[Delivery], reply: Reply, transcript: Sequence[str]
    ) -> list[TraceEvent]:
        """The rows of the trace once it is queued. transcript: of its session, where that is kept."""
        return [
            received_event(
                message,
                accepted.event.path.text,
                accepted.verdict,
                reply,
                transcript,
                [copy.record() for copy in self.journal_copies if copy.organization == accepted.verdict.organization],
            )
            for accepted in self.recipients
        ] + [quarantined_event(delivery) for delivery in deliveries if delivery.quarantine]

    def _deliveries(self, message: Message, now: float) -> list[Delivery]:
        deliveries = deliveries_of(self.recipients, self.origin, self._service, message, self._quarantine, now)
        if not self.journal_copies or self._directory is None:
            return deliveries
        return [*deliveries, *journal_deliveries(self._service, self._directory, message, self.journal_copies)]

    def abort(self) -> None:
        """Forget the body and what it left on disk; nobody is asked about it any longer."""
        if self.examination is not None:
            self.examination.cancel()
            self.examination = None
        if self.charge is not None:
            self.charge.cancel()
        if self._service.shares is not None:
            self._service.shares.end(self)
        if self._body is not None:
            self._body.abort()
            self._body = None
