"""One mail transaction of the client: the envelope, the peer's extensions, and the result.

`protocols.smtp.client.sending` turns a `MailTransaction` into commands with `compose` and ends it with a
`TransactionResult`. Nothing here has state.
"""

from __future__ import annotations

from collections.abc import Mapping

import idna
import msgspec

from gatepost.protocols.smtp.extensions import ORIGIN
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import check_type


class MailTransaction(msgspec.Struct):
    """A message to send, as the queue keeps it.

    reverse_path: "" is the null reverse-path. recipients: (address, notify, orcpt), at least one; addresses without
    angle brackets, the last two as in RFC 3461, "" if not given. size: octets of the body (RFC 1870), 0 if not known.
    body_type: "7BIT", "8BITMIME" (RFC 6152) or "BINARYMIME" (RFC 3030). ret: "", "FULL" or "HDRS", envid: xtext (RFC
    3461). require_tls: RFC 8689 REQUIRETLS, the peer must take it over. smtputf8: it came in with SMTPUTF8 (RFC 6531).
    header_8bit: its header section is not all US-ASCII; this matters only with smtputf8, else raw 8-bit headers go
    through as they are. origin: XGATEPOST, for another node of the site, which must take it.
    """

    reverse_path: str
    recipients: list[tuple[str, str, str]]
    size: int = 0
    body_type: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False
    header_8bit: bool = False
    origin: str = ""


class RecipientReply(msgspec.Struct):
    """The result for one recipient. local: the reply is our own, as the peer was not asked or did not answer."""

    address: str
    reply: Reply
    local: bool = False


class TransactionResult(msgspec.Struct):
    """The result of a transaction.

    recipients: one each, in the transaction's order; the reply is the refusal of MAIL, RCPT or DATA, or the final one
    (LMTP: the recipient's own). mail_reply: None if MAIL was not answered. data_reply: the reply to the end of the
    message, or the refusal of DATA or BDAT; None if it never came.
    """

    recipients: list[RecipientReply]
    mail_reply: Reply | None = None
    data_reply: Reply | None = None

    @property
    def accepted(self) -> list[RecipientReply]:
        """Those the peer is now responsible for."""
        return [recipient for recipient in self.recipients if recipient.reply.positive]

    @property
    def refused(self) -> list[RecipientReply]:
        """The others, for now (4xx) or for good (5xx)."""
        return [recipient for recipient in self.recipients if not recipient.reply.positive]


class Peer(msgspec.Struct):
    """The extensions that a peer offers in its EHLO reply. All are off before it, and after HELO.

    size_limit: octets, 0 if it names none (RFC 1870). recipients_max, transactions_max: per transaction and per
    connection, 0 if it names none (RFC 9422). counts_domains: it limits the recipients' domains of a connection; with
    one domain in each transaction, transactions_max keeps that limit, too. origin: XGATEPOST, a node of our own site.
    """

    pipelining: bool = False
    chunking: bool = False
    binarymime: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    requiretls: bool = False
    size: bool = False
    size_limit: int = 0
    recipients_max: int = 0
    transactions_max: int = 0
    counts_domains: bool = False
    origin: bool = False

    @classmethod
    def read(cls, extensions: Mapping[str, str]) -> Peer:
        """From keyword (upper case) -> parameters. Malformed parameters count as not given."""
        limits = dict(item.partition("=")[::2] for item in extensions.get("LIMITS", "").upper().split())
        domains = _number(limits.get("RCPTDOMAINMAX", ""))
        transactions = [number for number in (_number(limits.get("MAILMAX", "")), domains) if number]
        chunking = "CHUNKING" in extensions
        return cls(
            pipelining="PIPELINING" in extensions,
            chunking=chunking,
            binarymime=chunking and "BINARYMIME" in extensions,
            eight_bit="8BITMIME" in extensions,
            smtputf8="SMTPUTF8" in extensions,
            dsn="DSN" in extensions,
            requiretls="REQUIRETLS" in extensions,
            size="SIZE" in extensions,
            size_limit=_number(extensions.get("SIZE", "")),
            recipients_max=_number(limits.get("RCPTMAX", "")),
            transactions_max=min(transactions, default=0),
            counts_domains=domains > 0,
            origin=ORIGIN in extensions,
        )


def _number(text: str) -> int:
    return int(text) if 0 < len(text) <= 18 and text.isascii() and text.isdigit() else 0


class Commands(msgspec.Struct):
    """The commands of a transaction: MAIL and one RCPT for each index in `order`, each line with its CRLF.

    local: index -> our refusal, for recipients that cannot be sent to this peer at all. `lines` is empty if none can.
    """

    lines: list[bytes]
    order: list[int]
    local: dict[int, Reply] = msgspec.field(default_factory=dict)


_NO_BINARYMIME = Reply(554, "5.6.3", ("Conversion required but not supported: the next hop does not offer BINARYMIME",))
_NO_REQUIRETLS = Reply(554, "5.7.30", ("REQUIRETLS needed but the next hop does not offer it",))
_TOO_BIG = Reply(552, "5.3.4", ("Message is larger than the next hop accepts",))
_NO_ORIGIN = Reply(450, "4.3.5", ("The next hop is not a node of this site: it does not offer XGATEPOST",))
_NO_SMTPUTF8 = Reply(553, "5.6.7", ("SMTPUTF8 needed but the next hop does not offer it",))


def compose(transaction: MailTransaction, peer: Peer) -> Commands:
    """MAIL and RCPT commands with the parameters this peer offers, and no others.

    Raises ValueError if there is no recipient, or a value holds what would end it: CR, LF or NUL would begin a command
    of its own, a space or ">" in the wrong place a parameter. Such a value was never ours to accept.
    """
    check_type(transaction.recipients, list | tuple, "the recipients of a transaction")
    if any(not isinstance(recipient, tuple) for recipient in transaction.recipients):
        raise TypeError("each recipient of a transaction is (address, NOTIFY, ORCPT), not an address alone")
    if not transaction.recipients:
        raise ValueError("a transaction without recipients")
    reason = _unsendable(transaction, peer)
    if reason is not None:
        return Commands([], [], dict.fromkeys(range(len(transaction.recipients)), reason))
    reverse_path = transaction.reverse_path
    addresses = [recipient[0] for recipient in transaction.recipients]
    plain = reverse_path.isascii() and "".join(addresses).isascii()
    commands = Commands([], list(range(len(addresses))))
    if not plain and not peer.smtputf8:
        reverse_path, addresses = _downgraded(reverse_path, addresses, commands)
    if commands.order:
        utf8 = peer.smtputf8 and (transaction.smtputf8 or not plain)
        commands.lines.append(_mail(reverse_path, transaction, peer, utf8=utf8))
        for index in commands.order:
            _, notify, orcpt = transaction.recipients[index]
            commands.lines.append(_recipient(addresses[index], notify, orcpt, dsn=peer.dsn, utf8=utf8))
        _check_lines(commands.lines)
        _check_words(transaction)
    return commands


def _unsendable(transaction: MailTransaction, peer: Peer) -> Reply | None:
    """The reply for a message that as a whole cannot go to this peer; None if it can."""
    if 0 < peer.size_limit < transaction.size:
        return _TOO_BIG
    if transaction.body_type == "BINARYMIME" and not peer.binarymime:
        return _NO_BINARYMIME
    if transaction.require_tls and not peer.requiretls:
        return _NO_REQUIRETLS
    if transaction.origin and not peer.origin:
        return _NO_ORIGIN
    if transaction.smtputf8 and transaction.header_8bit and not peer.smtputf8:
        return _NO_SMTPUTF8
    return None


def _downgraded(reverse_path: str, addresses: list[str], commands: Commands) -> tuple[str, list[str]]:
    """The addresses in US-ASCII. Those that have no such form leave `commands.order` for `commands.local`."""
    sender = ascii_form(reverse_path)
    if sender is None:
        commands.local = dict.fromkeys(commands.order, _NO_SMTPUTF8)
        commands.order = []
        return reverse_path, addresses
    forms = [ascii_form(address) for address in addresses]
    commands.local = {index: _NO_SMTPUTF8 for index, form in enumerate(forms) if form is None}
    commands.order = [index for index, form in enumerate(forms) if form is not None]
    return sender, [form or "" for form in forms]


def ascii_form(address: str) -> str | None:
    """The same mailbox without SMTPUTF8, None if there is none.

    A domain has an equal A-label form (RFC 5890), a local part has no other.
    """
    local_part, at, domain = address.rpartition("@")
    if not local_part.isascii():
        return None
    try:
        return local_part + at + (domain if domain.isascii() else idna.encode(domain, uts46=True).decode())
    except idna.IDNAError:
        return None


def _mail(reverse_path: str, transaction: MailTransaction, peer: Peer, *, utf8: bool) -> bytes:
    words = [f"MAIL FROM:<{reverse_path}>"]
    if peer.size and transaction.size:
        words.append(f"SIZE={transaction.size}")
    if transaction.body_type == "BINARYMIME" or (transaction.body_type == "8BITMIME" and peer.eight_bit):
        words.append(f"BODY={transaction.body_type}")
    if utf8:
        words.append("SMTPUTF8")
    if peer.dsn and transaction.ret:
        words.append(f"RET={transaction.ret}")
    if peer.dsn and transaction.envid:
        words.append(f"ENVID={transaction.envid}")
    if transaction.require_tls:
        words.append("REQUIRETLS")
    if transaction.origin:
        words.append(f"{ORIGIN}={transaction.origin}")
    return _line(" ".join(words), utf8=utf8)


def _recipient(address: str, notify: str, orcpt: str, *, dsn: bool, utf8: bool) -> bytes:
    command = f"RCPT TO:<{address}>"
    if dsn and notify:
        command += f" NOTIFY={notify}"
    if dsn and orcpt and (utf8 or orcpt.isascii()):
        command += f" ORCPT={orcpt}"
    return _line(command, utf8=utf8)


def _line(command: str, *, utf8: bool) -> bytes:
    # Without SMTPUTF8 all is US-ASCII by now; anything else here is a fault of the caller and must not go out.
    return command.encode("utf-8" if utf8 else "ascii") + b"\r\n"


def _check_words(transaction: MailTransaction) -> None:
    """Refuse what would become another parameter: a space in one, a ">" in an address outside of quotes."""
    words = [transaction.body_type, transaction.ret, transaction.envid, transaction.origin]
    addresses = [transaction.reverse_path]
    for address, notify, orcpt in transaction.recipients:
        addresses.append(address)
        words += (notify, orcpt)
    if " " in "".join(words):
        raise ValueError("a space in a parameter")
    if ">" in "".join(addresses):
        for address in addresses:
            if ">" in address:
                parse_address(address)


def _check_lines(lines: list[bytes]) -> None:
    flight = b"".join(lines)
    if flight.count(b"\n") != len(lines) or flight.count(b"\r") != len(lines) or b"\0" in flight:
        raise ValueError("a control character in an address or a parameter")
