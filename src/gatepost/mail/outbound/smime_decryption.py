"""The content step that decrypts mail for local mailboxes with the organization's keys (S/MIME, RFC 8551).

One of `mail.outbound.content`'s steps, made by `node.content`; only where `smime_decrypt` of the organization says so.
What cannot be decrypted is delivered as it came. A key opens mail for its owner alone: who puts somebody else's
encrypted content into a message to himself gets it back as it is.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform, TooLarge
from gatepost.pki.smime.certificate import ID_DIGITS, fingerprint, owner_of
from gatepost.pki.smime.decryption import CannotDecrypt, Opener, decrypted
from gatepost.pki.smime.store import SmimeStore, SmimeStoreError
from gatepost.policy.decisions.routes import LmtpRoute, MailboxRoute
from gatepost.protocols.message.mime_entity import (
    MimeMessage,
    body_type,
    clear_signable,
    fields_of,
    split,
    without_fields,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.message import Recipient
    from gatepost.mail.outbound.content import OutgoingMessage


_log = logging.getLogger(__name__)

_FIELD: Final = "X-Gatepost-SMIME"
_NAMES: Final = frozenset({_FIELD.lower().encode()})
_CLAIM: Final = b"pkcs7-mime"
# The subject of a message whose header is protected stands inside (RFC 9788).
_PROTECTED: Final = re.compile(rb";\s*hp\s*=\s*\"?cipher", re.IGNORECASE)


class SmimeDecryption:
    """store: certificates and keys. hostname: of this gateway, for the field that says what it did."""

    def __init__(self, store: SmimeStore, bench: InMemoryTransform, hostname: str) -> None:
        self._store = store
        self._bench = bench
        self._hostname = hostname

    async def divided(self, outgoing: OutgoingMessage, body: MessageBody) -> list[list[Recipient]]:
        """Each recipient with a key of its own alone, the others by domain."""
        if not _wanted(outgoing) or len(outgoing.recipients) == 1 or _CLAIM not in (await body.header()).lower():
            return [list(outgoing.recipients)]
        groups: dict[tuple[str, ...], list[Recipient]] = {}
        for recipient in outgoing.recipients:
            groups.setdefault(self._owners(outgoing, recipient), []).append(recipient)
        return list(groups.values())

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """As `ContentStep` has it; a message waits only while there is no room for its content."""
        if not _wanted(outgoing):
            return body, {}
        header = await body.header()
        if fields_of(header, _FIELD.lower().encode()):  # what only this step says
            body = body.with_header(without_fields(header, _NAMES), skip=len(header))
        if _CLAIM not in header.lower():
            return body, {}
        record: dict[str, Any] = {}
        try:
            owners = self._owners(outgoing, outgoing.recipients[0])
            openers = self._store.openers(outgoing.domain_owner, owners)
            made = await self._bench.made(body, partial(_make, openers=openers, hostname=self._hostname, record=record))
        except BodyUnreadable:
            raise
        except OSError as error:
            raise BodyUnreadable(f"what was decrypted cannot be kept: {error.strerror}") from error
        except (CannotDecrypt, TooLarge, SmimeStoreError) as failure:
            return body, {"smime": {"decrypted": False, "why": str(failure)}}
        except Exception as failure:  # noqa: BLE001 - it is delivered as it came, whatever is wrong with it
            _log.warning("message %s was not decrypted: %s", outgoing.message.id, type(failure).__name__)
            return body, {"smime": {"decrypted": False, "why": type(failure).__name__}}
        return made, {"smime": record} if record else {}

    def _owners(self, outgoing: OutgoingMessage, recipient: Recipient) -> tuple[str, ...]:
        """The owners of keys that open mail for a recipient: itself, if it has keys, and its domain."""
        try:
            address = owner_of(recipient.address)
        except ValueError:
            return ()
        mailbox = outgoing.directory.mailbox(recipient.address)
        names = dict.fromkeys((address, mailbox.address.lower()) if mailbox is not None else (address,))
        try:
            own = [name for name in names if self._store.has_own(outgoing.domain_owner, name)]
        except SmimeStoreError:
            own = []
        return (*own, address.rpartition("@")[2])


def _wanted(outgoing: OutgoingMessage) -> bool:
    if not isinstance(outgoing.route, MailboxRoute | LmtpRoute) or outgoing.message.is_journal:
        return False  # a journal keeps what was accepted
    # Whose mailbox it is says whether, whoever wrote the message.
    owner = outgoing.directory.organization(outgoing.domain_owner)
    return owner is not None and owner.smime_decrypt


# in a thread


def _make(content: bytes, *, openers: Sequence[Opener], hostname: str, record: dict[str, Any]) -> tuple[bytes, str]:
    message = split(content)
    cms = message.enveloped
    if not cms:
        return content, body_type(content)
    inner, opener = decrypted(cms, openers)
    number = fingerprint(opener.certificate)[:ID_DIGITS]
    said = f"{_FIELD}: decrypted by {hostname};\r\n key={number}; signature=not-verified\r\n".encode()
    octets = said + _opened(message, inner)
    record |= {"decrypted": True, "key": number}
    return octets, body_type(octets)


def _opened(message: MimeMessage, inner: bytes) -> bytes:
    """The message with what was in the envelope. Raises CannotDecrypt if no mail program could read that."""
    if b"\r" not in inner:
        inner = inner.replace(b"\n", b"\r\n")  # as some programs write it; CRLF is its canonical form
    entity = split(inner)
    if entity.header and not entity.mime:
        raise CannotDecrypt("what is in it is no MIME entity")
    if not clear_signable(inner):
        raise CannotDecrypt("what is in it has bare CR or LF, which mail cannot carry")
    header = message.header
    if _PROTECTED.search(entity.mime) and (subject := fields_of(entity.header, b"subject")):
        header = without_fields(header, {b"subject"}) + subject
    fields = without_fields(entity.mime, {b"mime-version"})
    return MimeMessage(header, b"", b"").with_content(fields, entity.body)
