"""The content step that signs and encrypts (S/MIME, RFC 8551) where a connector or a rule demands it.

One of `mail.outbound.content`'s steps, made by `node.content`. A message that must be encrypted or signed and cannot be
waits, whatever the reason: every way out of `apply` but the last raises. docs/smime.md says what is decided here.
"""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.content import ContentNotReady, OutgoingMessage
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform, TooLarge
from gatepost.pki.smime.certificate import ID_DIGITS, fingerprint, owner_of
from gatepost.pki.smime.decryption import is_enveloped
from gatepost.pki.smime.encryption import encrypted
from gatepost.pki.smime.readiness import Readiness, readiness_of_all
from gatepost.pki.smime.signing import SmimeSigner, signature, signed
from gatepost.pki.smime.store import SmimeStore, SmimeStoreError
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand
from gatepost.policy.decisions.routes import InternalRoute, Unroutable
from gatepost.protocols.dkim.fields import split_fields
from gatepost.protocols.message.authors import addresses
from gatepost.protocols.message.mime_entity import (
    MimeMessage,
    body_type,
    clear_signable,
    multipart_signed,
    opaque,
    seven_bit,
    split,
)
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from cryptography import x509

    from gatepost.mail.model.message import Recipient


_log = logging.getLogger(__name__)

_NO_CERTIFICATE: Final = Reply(450, "4.7.5", ("Encryption needed (S/MIME), no usable certificate of the recipient",))
_NO_SIGNATURE: Final = Reply(450, "4.7.5", ("Signature needed (S/MIME), no usable certificate for the author",))
_NOT_NOW: Final = Reply(451, "4.3.0", ("The message must be protected by S/MIME, which is not possible just now",))
_TOO_LARGE: Final = Reply(552, "5.3.4", ("Message too large to be protected by S/MIME",))

_NAMED_IN: Final = frozenset({"to", "cc", "resent-to", "resent-cc"})
_READ: Final = 65536  # characters of a list of recipients
_CLAIM: Final = b"pkcs7-mime"
_SHOWN: Final = 20


class SmimeProtection:
    """store: certificates and keys. clock: seconds since 1970."""

    def __init__(self, store: SmimeStore, bench: InMemoryTransform, clock: Callable[[], float]) -> None:
        self._store = store
        self._bench = bench
        self._clock = clock

    async def divided(self, outgoing: OutgoingMessage, body: MessageBody) -> list[list[Recipient]]:
        """Those without a certificate wait alone; and an envelope names all it is for, so a Bcc gets one of its own."""
        if not _demand(outgoing).encrypt.required:
            return [list(outgoing.recipients)]
        named = await _named(body)
        groups: dict[str, list[Recipient]] = {}
        for recipient in outgoing.recipients:
            try:
                readiness = self._found(outgoing, recipient.address)
            except Exception:  # noqa: BLE001 - whatever it is, `apply` meets it again and says so
                readiness = Readiness(recipient.address, "", (), "unknown")
            hidden = readiness.owner if "@" not in readiness.owner or readiness.address not in named else "named"
            groups.setdefault(hidden if not readiness.missing else "", []).append(recipient)
        return list(groups.values())

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """As `ContentStep` has it."""
        demand = _demand(outgoing)
        if demand == NO_DEMAND:
            return body, {}
        record: dict[str, Any] = demand.record()
        try:
            if not (demand.encrypt.required or demand.sign.required):
                return body, {"smime": record | {"rehearsal": self._rehearsal(outgoing, demand)}}
            return await self._protected(outgoing, body, demand, record)
        except (BodyUnreadable, ContentNotReady):
            raise
        except TooLarge as failure:
            raise _not_ready(_TOO_LARGE, str(failure), record) from failure
        except SmimeStoreError as failure:
            raise _not_ready(_NOT_NOW, str(failure), record) from failure
        except Exception as failure:
            # Whatever it is: the message must not go on as it came.
            _log.error("S/MIME for message %s failed: %s", outgoing.message.id, type(failure).__name__)
            raise _not_ready(_NOT_NOW, f"S/MIME failed: {type(failure).__name__}", record) from failure

    async def _protected(
        self, outgoing: OutgoingMessage, body: MessageBody, demand: ContentDemand, record: dict[str, Any]
    ) -> tuple[MessageBody, dict[str, Any]]:
        if _CLAIM in (await body.header()).lower() and await self._bench.inspect(body, _encrypted_before):
            return body, {"smime": record | {"encrypted_before": True}}
        certificates: list[x509.Certificate] = []
        if demand.encrypt.required:
            certificates, record["recipients"] = self._certificates(outgoing, record)
        signer = await self._signer(outgoing, body, record) if demand.sign.required else None
        if not (certificates or signer):
            return body, {"smime": record}
        made = await self._bench.made(body, partial(_make, signer=signer, certificates=certificates, record=record))
        return made, {"smime": record}

    def _certificates(
        self, outgoing: OutgoingMessage, record: dict[str, Any]
    ) -> tuple[list[x509.Certificate], dict[str, list[str]]]:
        """The certificates to encrypt to, and those of each recipient. Raises ContentNotReady if one has none."""
        checked = [self._found(outgoing, recipient.address) for recipient in outgoing.recipients]
        missing = [readiness.missing for readiness in checked if readiness.missing]
        if missing:
            raise _not_ready(_NO_CERTIFICATE, "; ".join(missing[:_SHOWN]), record)
        unique = {
            fingerprint(certificate): certificate for readiness in checked for certificate in readiness.certificates
        }
        by = {
            readiness.address: [fingerprint(each)[:ID_DIGITS] for each in readiness.certificates]
            for readiness in checked
        }
        return list(unique.values()), by

    def _found(self, outgoing: OutgoingMessage, recipient: str) -> Readiness:
        asking = _demand(outgoing).encrypt.asking(outgoing.organization)
        return readiness_of_all(self._store, asking, recipient, self._clock())

    async def _signer(self, outgoing: OutgoingMessage, body: MessageBody, record: dict[str, Any]) -> SmimeSigner | None:
        """The signer; None for mail of others that only passes. Raises ContentNotReady."""
        message = outgoing.message
        if message.direction != "originating" or message.is_notice or message.is_journal:
            record["signed_by"] = ""
            return None
        owners = await _authors(body, message.reverse_path)
        domain = owners[-1] if owners else ""
        if domain and not outgoing.directory.owns(outgoing.organization, domain):
            # Whoever added a certificate: an organization signs in the name of its own domains alone.
            detail = f"{domain} is not a verified accepted domain of {outgoing.organization}, which cannot sign for it"
            raise _not_ready(_NO_SIGNATURE, detail, record)
        signer = self._store.signer(outgoing.organization, owners, self._clock())
        if signer is None:
            who = " or ".join(owners) or "the author, as its From does not name a single one"
            advice = _IDENTITY.format(domain or "DOMAIN", outgoing.organization)
            detail = f"there is no certificate that signs for {who}; {advice}"
            raise _not_ready(_NO_SIGNATURE, detail, record)
        record["signed_by"] = signer[0].id
        return signer[1]

    def _rehearsal(self, outgoing: OutgoingMessage, demand: ContentDemand) -> dict[str, Any]:
        """The reasons for which it would hold the message; the author's certificate is not looked for."""
        if not demand.encrypt.rehearsed:
            return {}
        checked = [self._found(outgoing, recipient.address) for recipient in outgoing.recipients]
        missing = [readiness.missing for readiness in checked if readiness.missing]
        return {"encrypt": {"passed": not missing, "missing": missing[:_SHOWN]}}


_IDENTITY: Final = "add one: gatepost smime identity add {} FILE --organization {}"


def _not_ready(reply: Reply, detail: str, record: dict[str, Any]) -> ContentNotReady:
    return ContentNotReady(reply, detail, {"smime": record | {"waits_for": detail}})


def _demand(outgoing: OutgoingMessage) -> ContentDemand:
    route = outgoing.route
    return NO_DEMAND if isinstance(route, InternalRoute | Unroutable) else route.content


async def _named(body: MessageBody) -> frozenset[str]:
    """The recipients that everybody may see, as `owner_of` has them; none of a field that cannot be read."""
    return frozenset(owner for value in await _values(body, _NAMED_IN) for owner in _owners(value))


async def _values(body: MessageBody, names: Collection[str]) -> list[str]:
    """The values of the fields of some names, as they stand there."""
    fields = split_fields(await body.header())
    return [field.value.decode("utf-8", "replace") for field in fields if field.name in names]


def _owners(value: str) -> list[str]:
    result = []
    for address in addresses(value, _READ) or ():
        try:
            result.append(owner_of(address))
        except ValueError:
            result.append("")
    return result


async def _authors(body: MessageBody, reverse_path: str) -> tuple[str, ...]:
    """The names a certificate may be for: the author if it is the sender, then its domain; () without one author."""
    values = await _values(body, {"from"})
    owners = _owners(values[0]) if len(values) == 1 else []
    if len(owners) != 1 or not owners[0]:
        return ()
    author = owners[0]
    domain = author.rpartition("@")[2]
    return (author, domain) if _owners(reverse_path) == [author] else (domain,)


# in a thread


def _encrypted_before(content: bytes) -> bool:
    """Whether the content is encrypted by S/MIME; a header that says so is not enough."""
    return is_enveloped(split(content).enveloped)


def _make(
    content: bytes, *, signer: SmimeSigner | None, certificates: Sequence[x509.Certificate], record: dict[str, Any]
) -> tuple[bytes, str]:
    message = split(content)
    if signer is not None:
        message = _signed(message, signer, hidden=bool(certificates))
    if certificates:
        fields, body = opaque(encrypted(message.entity, certificates), "enveloped-data")
        record["encrypted"] = True
        message = MimeMessage(message.header, fields, body)
    octets = message.with_content(message.mime, message.body)
    return octets, body_type(octets)


def _signed(message: MimeMessage, signer: SmimeSigner, *, hidden: bool) -> MimeMessage:
    """Sign: readable by every client (multipart/signed) unless a server on the way must change it. hidden: none can."""
    entity = message.entity
    if clear_signable(entity) and (hidden or seven_bit(entity)):
        fields, body = multipart_signed(entity, signature(entity, signer), f"=_{secrets.token_hex(16)}")
    else:
        fields, body = opaque(signed(entity, signer), "signed-data")
    return MimeMessage(message.header, fields, body)
