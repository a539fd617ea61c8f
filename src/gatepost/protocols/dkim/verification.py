"""Read a signature of somebody else, and say over which octets it is (RFC 6376 section 6.1).

The field is DKIM-Signature or ARC-Message-Signature.
Used by `mail.inbound.authentication`, which hashes the body, asks the DNS for the key and has the arithmetic done
(`pki.certificates.dkim_verification`). What is not signed as RFC 8301 has it, or signs only a part of the body, is
"policy": somebody could have put anything there, or behind it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dkim.canonical import relaxed_field
from gatepost.protocols.dkim.fields import MOST_FIELDS, Field, field_list
from gatepost.protocols.dkim.record import KEY_TYPES, KeyRecord
from gatepost.protocols.dkim.tags import read_tags
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.smtp.grammar import GrammarError, parse_domain

DKIM: Final = "dkim-signature"
"""The field of a DKIM signature, in lower case."""
ARC: Final = "arc-message-signature"
"""The field of the same in a set of ARC (RFC 8617 section 4.1.2)."""

_CANONICALIZATIONS: Final = frozenset({"simple", "relaxed"})
_SELECTOR: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")  # with underscores, which some have
_NUMBER: Final = re.compile(r"\d{1,76}")
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
# The value of b=, whatever blanks and folds are in it; no other tag's name ends so.
_B_VALUE: Final = re.compile(rb"((?:^[^:]*:|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_EARLIER: Final = 300  # seconds that a clock may be behind that of a signer


class SignatureFault(Exception):  # noqa: N818 - it is what was found
    """A signature that cannot be verified. result: "permerror", "policy" or "fail"; the text is a clause."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result = result


class ReceivedSignature(msgspec.Struct, frozen=True):
    """A signature as it came.

    domain, selector: where its key is. identity: i=, "" for ARC. names: of h=, in lower case. header, body: the
    canonicalizations, "simple" or "relaxed". length: l=, None if all of the body is signed.
    """

    field: Field
    algorithm: str
    domain: str
    selector: str
    identity: str
    names: tuple[str, ...]
    header: str
    body: str
    body_hash: bytes
    signature: bytes
    length: int | None = None

    def signed_octets(self, fields: Sequence[Field]) -> bytes:
        """The octets that are signed. fields: of the message, this one among them (section 3.7)."""
        others = [field for field in fields if field is not self.field]
        form = relaxed_field if self.header == "relaxed" else bytes
        lines = [form(field.octets) for field in field_list(others, self.names)]
        return b"\r\n".join([*lines, form(without_signature(self.field.octets))])

    def check_body(self, digest: bytes, length: int) -> None:
        """digest, length: of the canonical body. Raises SignatureFault if the signature is not over all of that."""
        if self.length is not None and self.length < length:
            raise SignatureFault("policy", "only a part of the body is signed")
        if self.body_hash != digest:
            raise SignatureFault("fail", "the body was changed")

    def check_key(self, record: KeyRecord) -> None:
        """Raises SignatureFault if the key of a record is not for this signature (section 6.1.2)."""
        if not record.public_key:
            raise SignatureFault("permerror", "the key is revoked")
        if record.key_type != KEY_TYPES[self.algorithm]:
            raise SignatureFault("permerror", "the key is of another type")
        if record.hashes and "sha256" not in record.hashes:
            raise SignatureFault("permerror", "the key is not for SHA-256")
        if not {"*", "email"} & set(record.services):
            raise SignatureFault("permerror", "the key is not for mail")
        if record.strict and self.identity and self.identity.rpartition("@")[2] != self.domain:
            raise SignatureFault("permerror", "the key does not sign for subdomains")


def without_signature(octets: bytes) -> bytes:
    """A field with an empty b=."""
    return _B_VALUE.sub(rb"\1", octets, count=1)


def read_signature(field: Field, now: float) -> ReceivedSignature:
    """Parse a field named `DKIM` or `ARC`. now: seconds since 1970. Raises SignatureFault."""
    tags = _tags(field)
    try:
        names = tuple(name.strip(" \t\r\n").lower() for name in tags["h"].split(":"))
        domain, selector = parse_domain(tags["d"]), tags["s"].lower()
        header, _, body = tags.get("c", "simple/simple").lower().partition("/")
        signature = ReceivedSignature(
            field=field,
            algorithm=tags["a"].lower(),
            domain=domain,
            selector=selector,
            identity=_identity(tags, domain) if field.name == DKIM else "",
            names=names,
            header=header,
            body=body or "simple",
            body_hash=read_base64(tags["bh"]),
            signature=read_base64(tags["b"]),
            length=_number(tags, "l"),
        )
        expires = _number(tags, "x")
        signed = _number(tags, "t")
    except KeyError as error:
        raise SignatureFault("permerror", f"it has no {error.args[0]}=") from None
    except GrammarError:
        raise SignatureFault("permerror", "d= is not a domain") from None
    except ValueError as error:
        raise SignatureFault("permerror", str(error)) from None
    if field.name == DKIM and tags.get("v") != "1":
        raise SignatureFault("permerror", "v= is not 1")
    if not _SELECTOR.fullmatch(selector):
        raise SignatureFault("permerror", "s= is not a selector")
    _check(signature, tags)
    _check_times(signed, expires, now)
    return signature


def _tags(field: Field) -> dict[str, str]:
    try:
        return read_tags(field.octets.partition(b":")[2].decode("ascii"), "the signature")
    except ValueError:  # with foreign text, which has no place in our field
        raise SignatureFault("permerror", "it is no list of tags") from None


def _check(signature: ReceivedSignature, tags: dict[str, str]) -> None:
    if signature.algorithm not in KEY_TYPES:
        weak = signature.algorithm == "rsa-sha1"
        raise SignatureFault("policy" if weak else "permerror", "a= is SHA-1" if weak else "a= is not supported")
    if not {signature.header, signature.body} <= _CANONICALIZATIONS:
        raise SignatureFault("permerror", "c= is not supported")
    if "from" not in signature.names:
        raise SignatureFault("permerror", "From is not signed")
    if len(signature.names) > 2 * MOST_FIELDS:
        raise SignatureFault("permerror", f"h= has more than {2 * MOST_FIELDS} names")
    if "dns/txt" not in _BLANKS.sub("", tags.get("q", "dns/txt")).split(":"):
        raise SignatureFault("permerror", "q= is not dns/txt")


def _check_times(signed: int | None, expires: int | None, now: float) -> None:
    if expires is not None and (expires < now or (signed is not None and expires < signed)):
        raise SignatureFault("policy", "it has expired")
    if signed is not None and signed > now + _EARLIER:
        raise SignatureFault("policy", "it is from the future")


def _identity(tags: dict[str, str], domain: str) -> str:
    """The i= of a signature, "@" and its domain by default. Raises ValueError."""
    text = tags.get("i", f"@{domain}")
    local, at, of = text.rpartition("@")
    parent = of.lower().removesuffix(".")
    if not at or (parent != domain and not parent.endswith(f".{domain}")):
        raise ValueError("i= is not in the domain of d=")
    return f"{local}@{parent}"


def read_base64(text: str) -> bytes:
    """Base64 with blanks and folds in it. Raises ValueError with a clause."""
    try:
        return base64.b64decode(_BLANKS.sub("", text), validate=True)
    except binascii.Error:
        raise ValueError("b= or bh= is not base64") from None


def _number(tags: dict[str, str], name: str) -> int | None:
    if name not in tags:
        return None
    if not _NUMBER.fullmatch(tags[name]):
        raise ValueError(f"{name}= is not a number")
    return int(tags[name])


def usable_record(record: KeyRecord | RecordError | None) -> KeyRecord:
    """The record of a key, or SignatureFault why there is none (section 6.1.2)."""
    if record is None:
        raise SignatureFault("permerror", "there is no key")
    if isinstance(record, RecordError):
        raise SignatureFault("permerror", "the record of the key cannot be read")
    return record
