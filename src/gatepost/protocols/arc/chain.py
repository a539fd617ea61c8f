"""The chain of a message: its ARC sets, whether they are complete, and over which octets their seals are (RFC 8617).

Used by `mail.inbound.authentication`, which asks for keys and has signatures verified, and by `mail.outbound.arc`.

A set of our own has three fields (section 5.1): `mail.outbound.arc` hashes the body and has the key. Its message
signature is that of `protocols.dkim.signature` under another name.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.protocols.dkim.canonical import relaxed_field
from gatepost.protocols.dkim.record import KEY_TYPES
from gatepost.protocols.dkim.signature import folded, folded_signature
from gatepost.protocols.dkim.tags import read_tags
from gatepost.protocols.dkim.verification import ARC, SignatureFault, read_base64, without_signature
from gatepost.protocols.smtp.grammar import GrammarError, parse_domain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.protocols.dkim.fields import Field


MOST_SETS: Final = 50
"""Sets of one chain (RFC 8617 section 4.2.1)."""

RESULTS: Final = "arc-authentication-results"
SEAL: Final = "arc-seal"
_NAMES: Final = (RESULTS, ARC, SEAL)
_INSTANCE: Final = re.compile(rb"\s*i\s*=\s*([1-9]\d{0,3})\s*;")
_ANY_INSTANCE: Final = re.compile(rb"(?:^|;)\s*i\s*=\s*([1-9]\d{0,3})\s*(?:;|\Z)")


class ArcSet(msgspec.Struct, frozen=True):
    """One set: what its three fields are, and the tags of the seal.

    lines: the fields in relaxed form, in the order in which seals cover them (section 5.1.1).
    """

    instance: int
    results: Field
    message_signature: Field
    seal: Field
    cv: str
    algorithm: str
    domain: str
    selector: str
    signature: bytes
    lines: tuple[bytes, ...]


def highest_instance(fields: Iterable[Field]) -> int:
    """The highest instance that any ARC field names, 0 if there is no ARC field."""
    return max((_instance(field) for field in fields if field.name in _NAMES), default=0)


def has_chain(fields: Iterable[Field]) -> bool:
    """Whether there is any ARC field."""
    return any(field.name in _NAMES for field in fields)


def read_chain(fields: Iterable[Field]) -> list[ArcSet]:
    """The sets by their instance, the first one first; [] without any. Raises SignatureFault if the chain is broken.

    Section 5.2: every set from 1 on, whole, each once, and each seal says of the chain before it that it passes.
    """
    by_instance: dict[int, dict[str, Field]] = {}
    for field in fields:
        if field.name not in _NAMES:
            continue
        place = by_instance.setdefault(_instance(field), {})
        if field.name in place:
            raise SignatureFault("fail", f"two {field.name} fields have the same i=")
        place[field.name] = field
    if len(by_instance) > MOST_SETS:
        raise SignatureFault("fail", f"there are more than {MOST_SETS} sets")
    if sorted(by_instance) != list(range(1, len(by_instance) + 1)):
        raise SignatureFault("fail", "a set is missing")
    if any(len(place) < len(_NAMES) for place in by_instance.values()):
        raise SignatureFault("fail", "a set is not complete")
    sets = [_read_set(instance, place) for instance, place in sorted(by_instance.items())]
    for arc_set in sets:
        if arc_set.cv != ("none" if arc_set.instance == 1 else "pass"):
            raise SignatureFault("fail", f"the seal of set {arc_set.instance} has cv={arc_set.cv}")
    return sets


def was_failed(fields: Sequence[Field]) -> bool:
    """Whether the last seal says itself that the chain fails: no set is added any more (section 5.1.2)."""
    highest = highest_instance(fields)
    for field in fields:
        if field.name == SEAL and _instance(field) == highest:
            try:
                return _tags(field).get("cv", "").lower() == "fail"
            except SignatureFault:
                return False
    return False


def sealed_octets(sets: Sequence[ArcSet]) -> bytes:
    """The octets that the seal of the last of these sets is over (section 5.1.1)."""
    lines = [line for arc_set in sets for line in arc_set.lines]
    lines[-1] = relaxed_field(without_signature(sets[-1].seal.octets))
    return b"\r\n".join(lines)


def _read_set(instance: int, place: dict[str, Field]) -> ArcSet:
    seal = place[SEAL]
    tags = _tags(seal)
    if "h" in tags:
        raise SignatureFault("fail", f"the seal of set {instance} has h=")
    try:
        algorithm = tags["a"].lower()
        if algorithm not in KEY_TYPES:
            raise SignatureFault("fail", f"a= of the seal of set {instance} is not supported")
        return ArcSet(
            instance,
            place[RESULTS],
            place[ARC],
            seal,
            tags["cv"].lower(),
            algorithm,
            parse_domain(tags["d"]),
            parse_domain(tags["s"]),
            read_base64(tags["b"]),
            tuple(relaxed_field(place[name].octets) for name in _NAMES),
        )
    except (KeyError, GrammarError, ValueError):
        raise SignatureFault("fail", f"the seal of set {instance} cannot be read") from None


def _tags(field: Field) -> dict[str, str]:
    try:
        return read_tags(field.octets.partition(b":")[2].decode("ascii"), "the seal")
    except ValueError:
        raise SignatureFault("fail", f"{field.name} cannot be read") from None


def _instance(field: Field) -> int:
    """The i= of a field, 0 if it has none; of the results it is the first tag (section 4.1.1)."""
    value = field.octets.partition(b":")[2]
    match = _INSTANCE.match(value) if field.name == RESULTS else _ANY_INSTANCE.search(value)
    return int(match[1]) if match else 0


_LONGEST: Final = 900  # octets of a line of the results


class Seal(msgspec.Struct, frozen=True):
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
        lines = [line for arc_set in before for line in arc_set.lines]
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
