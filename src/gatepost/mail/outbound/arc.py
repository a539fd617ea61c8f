"""Seal what is passed on with ARC, as the last content step: its results go along for who gets it (RFC 8617).

One of the steps of `mail.outbound.content`. Only what was authenticated when it came in is sealed, with a DKIM key of
the organization that passes it on (`policy.decisions.signing`); anything else leaves as it is. What cannot be sealed
leaves without: that is recorded, and no reason to wait, as nothing was promised to anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.mail.outbound.dkim import body_hash
from gatepost.pki.certificates.dkim_keys import DkimKeyError, DkimKeys, DkimSigner
from gatepost.policy.decisions.signing import sealing
from gatepost.protocols.arc.chain import (
    MOST_SETS,
    ArcSet,
    Seal,
    has_chain,
    highest_instance,
    read_chain,
    results_field,
    was_failed,
)
from gatepost.protocols.dkim.fields import Field, chosen_fields, split_fields
from gatepost.protocols.dkim.signature import Signature
from gatepost.protocols.dkim.verification import DKIM, SignatureFault
from gatepost.protocols.message.authentication_results import own_results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.outbound.body import MessageBody
    from gatepost.mail.outbound.content import OutgoingMessage
    from gatepost.policy.connectors.dkim_key import DkimKey


_MOST_SIGNATURES: Final = 10  # DKIM signatures of others that a set covers


class _Set(msgspec.Struct, frozen=True):
    """A set that is to be made. results: its first field. before: the sets that its seal covers."""

    instance: int
    cv: str
    results: bytes
    before: Sequence[ArcSet] = ()


class _Unsealed(Exception):  # noqa: N818 - it is what was found
    """The message leaves without a set of ours. The text is a clause, for the trace."""


class ArcSealing:
    """A content step. keys: opens private keys. clock: seconds since 1970."""

    def __init__(self, keys: DkimKeys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """The body with a set of ours before it, and what the trace has of that. Raises BodyUnreadable."""
        inbound = outgoing.message.inbound
        if not outgoing.leaves or "authentication" not in inbound:
            return body, {}
        header = await body.header()
        fields = split_fields(header.removesuffix(b"\r\n"))
        try:
            planned = _planned(fields, header, str(inbound.get("authserv_id", "")), str(inbound.get("arc", "")))
            key, signer = self._signer(outgoing)
        except _Unsealed as why:
            return body, {"arc_unsealed": str(why)}
        made = self._made(planned, (key, signer), fields, await body_hash(body))
        return body.prepended(made), {"arc": f"i={planned.instance} cv={planned.cv} {key.domain}/{key.selector}"}

    def _signer(self, outgoing: OutgoingMessage) -> tuple[DkimKey, DkimSigner]:
        """Raises _Unsealed."""
        recipient = outgoing.recipients[0]
        domain = (recipient.forwarded_by or recipient.address).rpartition("@")[2].lower()
        chosen = sealing(outgoing.directory, outgoing.organization, domain)
        if not chosen.keys:
            raise _Unsealed(chosen.why)
        (key,) = chosen.keys
        try:
            return key, self._keys.signer(outgoing.organization, key)
        except DkimKeyError as error:
            raise _Unsealed(str(error)) from error

    def _made(
        self, planned: _Set, signing: tuple[DkimKey, DkimSigner], fields: Sequence[Field], digest: bytes
    ) -> bytes:
        """The three fields, the seal first (section 5.1)."""
        key, signer = signing
        now = self._clock()
        names = chosen_fields(fields)
        names += tuple(field.name for field in fields if field.name == DKIM)[:_MOST_SIGNATURES]
        signature = Signature(signer.algorithm, key.domain, key.selector, names, digest, now, planned.instance)
        signed = signature.completed(signer.sign(signature.signed_octets(fields)))
        seal = Seal(planned.instance, planned.cv, signer.algorithm, key.domain, key.selector, now)
        sealed = signer.sign(seal.signed_octets(planned.before, planned.results, signed))
        return seal.completed(sealed) + signed + planned.results


def _planned(fields: Sequence[Field], header: bytes, name: str, chain: str) -> _Set:
    """chain: its state when the message came in. Raises _Unsealed."""
    said = own_results(header, name.lower()) if name else ""
    if not said:
        raise _Unsealed("its Authentication-Results field is gone")
    if not chosen_fields(fields):
        raise _Unsealed("it has too many header fields")
    cv = chain if has_chain(fields) else "none"
    if not cv or (cv == "none" and has_chain(fields)):
        raise _Unsealed("it was not known whether the chain that it brought passes")
    if was_failed(fields):
        raise _Unsealed("its chain has ended: the last seal says that it fails")
    instance = highest_instance(fields) + 1
    if instance > MOST_SETS:
        raise _Unsealed(f"its chain has {MOST_SETS} sets already")
    try:
        before = read_chain(fields) if cv == "pass" else ()
    except SignatureFault as fault:
        raise _Unsealed(f"its chain was changed here: {fault}") from fault
    return _Set(instance, cv, results_field(instance, name, said), before)
