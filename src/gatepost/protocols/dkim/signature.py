"""The DKIM-Signature field: its hash input and its text (RFC 6376 sections 3.5 and 3.7).

Used by `mail.outbound.dkim` and `mail.outbound.arc`, which hash the body and have the key. Nothing here signs: it says
over which octets.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dkim.canonical import relaxed_field
from gatepost.protocols.dkim.fields import Field, field_list

_WIDTH: Final = 76
_FOLD: Final = "\r\n\t"
_LAST_TAG: Final = "b="


class Signature(msgspec.Struct, frozen=True):
    """The tags of a signature, but for the signature itself.

    algorithm: "rsa-sha256" or "ed25519-sha256". domain, selector: where the key is published, in A-labels. names: of
    the signed fields, as `protocols.dkim.fields.chosen_fields` has them, at least one. body_hash: SHA-256 of the
    canonical body. now: seconds since 1970. The tags l=, i= and x= are not used: all of the body is signed, by the
    domain and no one address of it, and for as long as the key is published. instance: of the ARC set whose message
    signature it is (RFC 8617 section 4.1.2); 0 for a DKIM signature.
    """

    algorithm: str
    domain: str
    selector: str
    names: tuple[str, ...]
    body_hash: bytes
    now: float
    instance: int = 0

    @property
    def unsigned(self) -> bytes:
        """The field with an empty b=, without its last CRLF."""
        listed = [f"{name}:" for name in self.names[:-1]] + [f"{self.names[-1]};"]
        words = [
            f"ARC-Message-Signature: i={self.instance};" if self.instance else "DKIM-Signature: v=1;",
            f" a={self.algorithm};",
            " c=relaxed/relaxed;",
            f" d={self.domain};",
            f" s={self.selector};",
            f" t={int(self.now)};",
            f" h={listed[0]}",
            *listed[1:],
            f" bh={base64.b64encode(self.body_hash).decode()};",
        ]
        return f"{folded(words)}{_FOLD}{_LAST_TAG}".encode("ascii")

    def signed_octets(self, fields: Sequence[Field]) -> bytes:
        """The octets that are signed: the fields of `names` and this field without its value of b= (section 3.7)."""
        lines = [relaxed_field(field.octets) for field in field_list(fields, self.names)]
        return b"\r\n".join([*lines, relaxed_field(self.unsigned)])

    def completed(self, signature: bytes) -> bytes:
        """The field with the signature, and its CRLF."""
        return self.unsigned + folded_signature(base64.b64encode(signature).decode())


def folded_signature(text: str) -> bytes:
    """The value of b= behind its tag, in lines of at most 76 characters, and a CRLF."""
    first = _WIDTH - len(_LAST_TAG)
    pieces = [text[:first], *(text[at : at + _WIDTH] for at in range(first, len(text), _WIDTH))]
    return _FOLD.join(pieces).encode("ascii") + b"\r\n"


def folded(words: Sequence[str]) -> str:
    """Words as lines of at most 76 characters where they allow it. A fold takes the place of a word's first blank."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
            lines.append(word.lstrip(" "))
        else:
            lines[-1] += word
    return _FOLD.join(lines)
