"""Lines of the evidence log and the chain of hashes that binds them: `HASH SP BODY LF` (docs/evidence.md).

BODY is a JSON object in the canonical form of RFC 8785. HASH is the SHA-256, in lower-case hexadecimal, of the 32
octets of the predecessor's hash followed by the 32 octets of the SHA-256 of BODY; before the first entry of a chain
stand 32 zero octets. So who knows only the digest of an entry can go on with the chain, and an export can leave out
what is not its reader's business. Written by `store.evidence`, checked by `events.evidence.audit`. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gatepost.decoding import from_json

ORIGIN: Final = "0" * 64
"""The value in place of a hash before the first entry of a chain."""

LONGEST_LINE: Final = 1 << 20
"""Octets of a line with its LF. Entries stay far below; what is longer was not written by us."""

_LINE: Final = re.compile(rb"([0-9a-f]{64}) (\{.*\})\n", re.DOTALL)
_encode = msgspec.json.Encoder(order="sorted").encode


class NotCanonical(ValueError):  # noqa: N818 - it names what was found
    """A body is not a JSON object in canonical form; the text says why."""


class Place(NamedTuple):
    """A position in a chain: the number of the last entry, 0 before the first, and its hash."""

    number: int = 0
    head: str = ORIGIN


class Signer(msgspec.Struct, frozen=True):
    """A private key. key: its id, as `key_id` makes it. sign: a message to its Ed25519 signature (RFC 8032)."""

    key: str
    sign: Callable[[bytes], bytes]


class Line(msgspec.Struct, frozen=True):
    """A line as it was read. number: -1 if the body has none. hash, digest: "" and body: {} if it is no line of a log.

    fault: why it cannot have been written by us whatever its hash says, "" if it can.
    """

    hash: str
    digest: str
    body: dict[str, Any]
    number: int = -1
    fault: str = ""


def canonical(body: Mapping[str, Any]) -> bytes:
    """The one form of a body that is hashed and signed: RFC 8785. Keys must be ASCII, numbers whole and below 2^53.

    Half of a surrogate pair, which is not a character and which JSON cannot hold, is written as its escape.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return _encode(_representable(body))


def parse_body(data: bytes) -> dict[str, Any]:
    """A body from its canonical form. Raises NotCanonical: two texts never mean the same entry."""
    try:
        body = from_json(data)
    except msgspec.DecodeError as error:
        raise NotCanonical(f"it is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise NotCanonical("it is not a JSON object")
    if canonical(body) != data:
        raise NotCanonical("it is not in canonical form (RFC 8785)")
    return body


def digest(body: bytes) -> str:
    """SHA-256 of a body in canonical form, hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def link(previous: str, body_digest: str) -> str:
    """The hash of an entry from that of its predecessor and the digest of its body, all hexadecimal."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(body_digest)).hexdigest()


def join(previous: str, body: Mapping[str, Any]) -> tuple[str, bytes]:
    """The hash of a new entry and its line, LF included."""
    data = canonical(body)
    head = link(previous, digest(data))
    return head, b"%b %b\n" % (head.encode(), data)


def parse_line(line: bytes) -> Line:
    """Parse any line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return Line("", "", {}, fault="it is no line of an evidence log")
    head, data = match[1].decode(), match[2]
    try:
        body = parse_body(data)
    except NotCanonical as error:
        return Line(head, digest(data), {}, fault=str(error))
    number = body.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        return Line(head, digest(data), body, fault="it has no number")
    return Line(head, digest(data), body, number)


def key_id(public: bytes) -> str:
    """The id of a key: the SHA-256 of the 32 octets of the Ed25519 public key, hexadecimal."""
    return hashlib.sha256(public).hexdigest()


def signed_part(body: Mapping[str, Any]) -> bytes:
    """The signed octets of a body: its canonical form without the member "signature"."""
    return canonical({name: value for name, value in body.items() if name != "signature"})


def sign_body(body: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The body with the members "key" and "signature"."""
    whole = {**body, "key": signer.key}
    return whole | {"signature": signer.sign(signed_part(whole)).hex()}


def _representable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_representable(name): _representable(item) for name, item in value.items()}
        case list() | tuple():
            return [_representable(item) for item in value]
        case _:
            return value
