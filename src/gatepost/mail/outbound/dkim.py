"""Sign messages with DKIM as they leave: the last content step, over exactly what is sent (RFC 6376, RFC 8463).

One of the steps of `mail.outbound.content`. Whether and with which keys is decided in `policy.decisions.signing`. The
body is hashed as it streams by, never joined; a message is signed anew in each attempt, so that a rotation holds for
mail that waits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.outbound.content import ContentNotReady, OutgoingMessage
from gatepost.pki.certificates.dkim_keys import DkimKeyError, DkimKeys, DkimSigner
from gatepost.policy.connectors.values import DkimKeyUnavailable, DkimService
from gatepost.policy.decisions.signing import Provenance, Signing, may_sign, signing
from gatepost.protocols.dkim.canonical import RelaxedBody
from gatepost.protocols.dkim.fields import Field, chosen_fields, split_fields
from gatepost.protocols.dkim.signature import Signature
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.outbound.body import MessageBody
    from gatepost.policy.connectors.dkim_key import DkimKey


_NO_KEY: Final = Reply(451, "4.7.5", ("The message cannot be signed now",))


class DkimSigning:
    """A content step. keys: opens private keys. clock: seconds since 1970."""

    def __init__(self, keys: DkimKeys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """The message with a signature of each current key of its author's domain, if it is one of ours and leaves.

        Raises ContentNotReady where there are keys and none can be used, unless the organization lets mail go unsigned.
        Raises BodyUnreadable.
        """
        directory = outgoing.directory
        if not directory.signing_keys or not outgoing.leaves:
            return body, {}
        origin = provenance(outgoing)
        if may_sign(directory, origin):
            return body, {}  # the usual case of mail that is not ours, and nothing to tell
        fields = split_fields(await body.header())
        chosen = signing(directory, origin, [_text(field) for field in fields if field.name == "from"])
        if not chosen.keys:
            return body, {"dkim_unsigned": chosen.why}
        usable, unusable = self._signers(chosen)
        record: dict[str, Any] = {"dkim_unusable": unusable} if unusable else {}
        if not usable:
            owner = directory.organization(chosen.organization)
            if owner is None or owner.dkim_key_unavailable is DkimKeyUnavailable.DEFER:
                raise ContentNotReady(_NO_KEY, "; ".join(unusable))
            return body, record | {"dkim_unsigned": "no key of its domain can be used"}
        signed = await self._signed(body, fields, usable)
        if signed is None:
            return body, record | {"dkim_unsigned": "it has too many header fields"}
        return signed, record | {"dkim": Signing(tuple(key for key, _ in usable), "").names}

    def _signers(self, found: Signing) -> tuple[list[tuple[DkimKey, DkimSigner]], list[str]]:
        """The keys that can be used, and of the others why they cannot."""
        usable, unusable = [], []
        for key in found.keys:
            try:
                usable.append((key, self._keys.signer(found.organization, key)))
            except DkimKeyError as error:
                unusable.append(str(error))
        return usable, unusable

    async def _signed(
        self, body: MessageBody, fields: Sequence[Field], signers: Sequence[tuple[DkimKey, DkimSigner]]
    ) -> MessageBody | None:
        """The message with its signatures, None if it cannot be signed."""
        names = chosen_fields(fields)
        if not names:
            return None
        digest, now = await body_hash(body), self._clock()
        made = []
        for key, signer in signers:
            signature = Signature(signer.algorithm, key.domain, key.selector, names, digest, now)
            made.append(signature.completed(signer.sign(signature.signed_octets(fields))))
        return body.prepended(b"".join(made))


def provenance(outgoing: OutgoingMessage) -> Provenance:
    """The origin of an outgoing message, for `policy.decisions.signing`."""
    message = outgoing.message
    return Provenance(
        message.organization,
        originating=message.direction == "originating",
        submitted="user" in message.inbound,
        own=message.is_notice or message.is_journal_report,
        # Another node of the site knows by what the server was known that brought it into the site.
        basis=str((message.inbound.get("handover") or message.inbound).get("basis", "")),
        forwarded=any(recipient.forwarded_by for recipient in outgoing.recipients),
        service=DkimService.TLS_REPORTS if message.is_tls_report else DkimService.ALL,
    )


def _text(field: Field) -> str:
    return field.value.decode("utf-8", "replace")


async def body_hash(body: MessageBody) -> bytes:
    """SHA-256 of the canonical body: what stands behind the empty line."""
    digest = hashlib.sha256()
    canonical = RelaxedBody(digest.update)
    skip = len(await body.header()) + 2
    async for chunk in body.chunks():
        if skip < len(chunk):
            canonical.feed(chunk[skip:])
        skip = max(skip - len(chunk), 0)
    canonical.finish()
    return digest.digest()
