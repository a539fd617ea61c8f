"""A set of our own: its three fields, and over which octets they are signed (RFC 8617 section 5.1).

Used by `mail.outbound.arc`, which hashes the body and has the key. The message signature is that of
`protocols.dkim.signature` under another name.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatepost.protocols.dkim.canonical import relaxed_field
from gatepost.protocols.dkim.signature import folded, folded_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.protocols.arc.chain import ArcSet


_LONGEST: Final = 900  # octets of a line of the results


@dataclass(frozen=True, slots=True)
class Seal:
    """The tags of a seal, but for the signature. cv: "none", "pass" or "fail". now: seconds since 1970."""

    instance: int
    cv: str
    algorithm: str
    domain: str
    selector: str
    now: float

    @property
    def unsigned(self) -> bytes:
        """The field with an empty b=, without its last CRLF."""
        words = [
            f"ARC-Seal: i={self.instance};",
            f" a={self.algorithm};",
            f" t={int(self.now)};",
            f" cv={self.cv};",
            f" d={self.domain};",
            f" s={self.selector};",
        ]
        return f"{folded(words)}\r\n\tb=".encode("ascii")

    def signed_octets(self, before: Sequence[ArcSet], results: bytes, message_signature: bytes) -> bytes:
        """before: the sets of the chain; () where it fails, as such a seal covers its own set alone (section 5.1.2).

        results, message_signature: our other two fields, with or without their last CRLF.
        """
        lines = [relaxed_field(field.octets) for arc_set in before for field in arc_set.fields]
        lines += [relaxed_field(results), relaxed_field(message_signature), relaxed_field(self.unsigned)]
        return b"\r\n".join(lines)

    def completed(self, signature: bytes) -> bytes:
        """The field with the signature, and its CRLF."""
        return self.unsigned + folded_signature(base64.b64encode(signature).decode())


def results_field(instance: int, authserv_id: str, said: str) -> bytes:
    """The results as they were found when the message came in, and a CRLF. said: as `own_results` has it."""
    lines = [f"ARC-Authentication-Results: i={instance}; {authserv_id}"]
    lines += [part.strip()[:_LONGEST] for part in said.encode("ascii", "replace").decode().split(";") if part.strip()]
    return (";\r\n\t".join(lines) + "\r\n").encode("ascii")
