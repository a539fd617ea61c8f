"""A message in the queue: its recipients, and its deliveries, each to one destination."""

from __future__ import annotations

from typing import Any

import msgspec


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
    message and the reply, so that it may arrive twice. quarantines: the organizations that must
    release it, one after the other; the first has it now.
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
        """Whether it carries a TLS report of ours (`node.report_mail`)."""
        return "tls_report" in self.inbound

    @property
    def from_on_premises(self) -> bool:
        """Whether servers of the organization brought it: no notice of `mail.queue.bounce`, nothing users submit."""
        return self.direction == "originating" and not self.is_notice and "user" not in self.inbound

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
