"""A message in the queue: its recipients, and its deliveries, each to one destination.

A journal copy is a delivery of the message that it is of: so it is durable with it, and shares its body
(docs/decisions/0096). `sent_as` gives such a delivery the envelope of its own with which it leaves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gatepost.values import replace


class Journal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The properties of a journal copy, kept with the recipient that gets it.

    form: "report" or "copy". to: the journal mailbox. sender: the reverse-path of the message. author: the From address
    of a report, and boundary: of its parts. lines: of its recipients. utf8: the message has a header beyond US-ASCII.
    rules: names of the mail flow rules that journal the message. made: the stored body is the copy already: another
    node made it, or it goes to journal_failures_to, in which case alternate is set. before: the journals that the
    message is itself a copy of, so that journals which journal each other's reports end.
    """

    form: str
    to: str = ""
    sender: str = ""
    author: str = ""
    boundary: str = ""
    lines: tuple[str, ...] = ()
    utf8: bool = False
    rules: tuple[str, ...] = ()
    made: bool = False
    alternate: bool = False
    before: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """For the trace."""
        record: dict[str, Any] = {"form": self.form}
        return record | {"rules": list(self.rules)} if self.rules else record


class QuarantineHold(msgspec.Struct, omit_defaults=True):
    """Why an organization has a message in its quarantine.

    by: "content hook 'av'" or "mail flow rule 'invoices'", of that organization. reason: what the scanner found, "" of
    a rule. days: how long it is kept at most.
    """

    organization: str
    by: str
    reason: str
    days: int


class Recipient(msgspec.Struct, omit_defaults=True):
    """One forward-path of a message with its RFC 3461 parameters, as received.

    notify: "" (default), "NEVER" or a comma list of SUCCESS, FAILURE, DELAY. orcpt: xtext with its address type, "" if
    none. delayed: a delay DSN was sent for it. held: it waits for an administrator, as its destination protects less
    than it was seen to do. released: an administrator let it go all the same. forwarded_by: the address of the mailbox
    that sends the message on to it, "" if none does; return_path: the reverse-path it then goes with, "" for the
    message's own. All recipients of a delivery have the same two. in_doubt: the gateway stopped between sending the
    message and the reply, so that it may arrive twice. journal: set for a journal copy, which has one recipient.
    quarantines: the organizations that must release it, one after the other; the first has it now.
    """

    address: str
    notify: str = ""
    orcpt: str = ""
    delayed: bool = False
    held: bool = False
    released: bool = False
    forwarded_by: str = ""
    return_path: str = ""
    in_doubt: bool = False
    journal: Journal | None = None
    quarantines: list[QuarantineHold] = []


class Message(msgspec.Struct, omit_defaults=True):
    """The envelope of one accepted message and the facts of the session it came by. The body is stored apart.

    id: 63 bits, unique in the installation and growing with time. received: seconds since 1970. reverse_path: "" is the
    null reverse-path. size: bytes of the stored body, the Received field included. hops: Received fields counted in it.
    body_type: "7BIT", "8BITMIME" or "BINARYMIME". ret: "", "FULL" or "HDRS"; envid: xtext (RFC 3461).
    direction: "incoming" or "originating". inbound: facts of the session for the trace (connector, TLS, certificate).
    require_tls: sent with REQUIRETLS. tls_required_no: its header has the opposite, "TLS-Required: No" (both
    RFC 8689); never with require_tls.
    """

    id: int
    organization: str
    received: float
    reverse_path: str
    size: int = 0
    body_type: str = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    message_id: str = ""
    subject: str = ""
    session: str = ""
    direction: str = "incoming"
    hops: int = 0
    inbound: dict[str, Any] = {}
    tls_required_no: bool = False

    @property
    def is_notice(self) -> bool:
        """Whether this gateway made it: `mail.queue.bounce`, or for its owner, or as a report."""
        return "notice_about" in self.inbound

    @property
    def is_tls_report(self) -> bool:
        """Whether it carries a TLS report of ours (`node.report_sending`)."""
        return "tls_report" in self.inbound

    @property
    def is_journal(self) -> bool:
        """Whether it is a journal copy: nothing that comes in by SMTP can say so, but by another node of the site."""
        return "journal" in self.inbound

    @property
    def is_journal_report(self) -> bool:
        """Whether it is one that this gateway wrote around the message."""
        return self.inbound.get("journal") == "report"

    @property
    def from_on_premises(self) -> bool:
        """Whether servers of the organization brought it: nothing that was made here, nothing users submit."""
        made_here = self.is_notice or self.is_journal
        return self.direction == "originating" and not made_here and "user" not in self.inbound

    @property
    def is_internal(self) -> bool:
        """Whether its sender is known to be the organization's own: by a log-in, or on a connector's word."""
        return bool(self.inbound.get("internal"))

    @property
    def has_organization_headers(self) -> bool:
        """Whether it brought Exchange's own header fields, believed (`protocols.message.organization_headers`)."""
        return "renamed" in self.inbound.get("headers", {})


class Return(msgspec.Struct):
    """An administrator's order to return a delivery to its sender. text: for the sender."""

    author: str
    text: str


class Delivery(msgspec.Struct, omit_defaults=True):
    """One message's recipients for one destination: what is scheduled, leased, retried and settled together.

    destination: "organization/domain", the unit of concurrency and back-off. next_at: seconds since 1970, when a
    deferred delivery is due (for a leased one: was due); 0 while it is fresh. expires_at: seconds since 1970, 0 if the
    queue is to say. body: the stored bytes if they are still in memory, else None. owner: as whose a shared store gave
    it out, for itself. quarantine: the organization that has it in quarantine, "" for none; then it has one recipient,
    held is true, and next_at is when it is deleted.
    """

    id: int
    message: Message
    destination: str
    recipients: list[Recipient]
    attempts: int = 0
    next_at: float = 0.0
    expires_at: float = 0.0
    held: bool = False
    last_error: str = ""
    returned: Return | None = None
    body: bytes | None = None
    owner: int = 0
    quarantine: str = ""

    @property
    def organization(self) -> str:
        """The organization whose connectors and rules apply to these recipients. A message may have several."""
        return self.destination.partition("/")[0]

    @property
    def journal(self) -> Journal | None:
        """The properties of the journal copy that it is, None if it is none."""
        return self.recipients[0].journal if self.recipients else None


def sent_as(message: Message, recipients: list[Recipient], organization: str) -> Message:
    """The message as a delivery sends it: a journal copy has the null reverse-path, and is of its organization.

    A report is mail of our own, which needs 8BITMIME where the message does; a copy stays what the message is.
    """
    journal = recipients[0].journal if recipients else None
    if journal is None or journal.made:
        return message
    copy = replace(message, organization=organization, reverse_path="", ret="", envid="", tls_required_no=False)
    if journal.form == "copy":
        copy.direction = message.direction if message.organization == organization else "incoming"
        copy.inbound = message.inbound | {"journal": journal.form}
        return copy
    copy.direction, copy.inbound = "originating", {"journal": journal.form}
    copy.body_type = "8BITMIME" if message.smtputf8 and message.body_type == "7BIT" else message.body_type
    copy.smtputf8 = False
    return copy
