"""Sender Rewriting Scheme: rewrite the reverse-path of a forwarded message, and reverse it.

https://www.libsrs2.net/srs/srs.pdf. SRS0=HASH=DAY=domain=local@ours for what comes first-hand,
SRS1=HASH=domain==rest@ours for what another forwarder has rewritten. Called by `policy.decisions.forwarding`. Pure:
keys and the day are parameters.

Hashes are compared without regard to case, as servers on the way may change it, so the alphabet has none to lose: 40
bits in base32. Who finds one by trying has a way to send a notice to one address, no more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address
from gatepost.quantity import quantity
from gatepost.values import RedactedStruct

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CYCLE = 1024  # days that two digits tell apart
_VALID_DAYS = 30  # queues keep a message five days, and what they make of it another five; holidays come on top
_HASH_OCTETS = 5
MAX_KEYS = 8
"""Each is tried for an address that comes back, by whoever sends one."""
_SPECIAL = frozenset('()<>[]:;@\\,"\x20')


class SrsRefused(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """An address that is not ours to take back. The text says why, for us; it quotes nothing secret."""


class SrsKeys(RedactedStruct, frozen=True):
    """keys: the first signs, all verify, so that a key can be changed while mail is on its way back.

    Without a key nothing is rewritten and nothing comes back.
    """

    REDACTED = ("keys",)

    keys: tuple[bytes, ...]

    @property
    def names(self) -> list[str]:
        """Names of the keys, in their order, by which people tell them apart: they say nothing of the keys."""
        return [hashlib.sha256(key).hexdigest()[:16] for key in self.keys]

    def with_new(self, key: bytes) -> SrsKeys:
        """The keys with a new one, which signs. Raises ValueError if there are as many as there may be."""
        if len(self.keys) >= MAX_KEYS:
            raise ValueError(f"there are {len(self.keys)} keys, and more are not kept")
        return SrsKeys((key, *self.keys))

    def without(self, name: str) -> SrsKeys:
        """The keys without one that only verifies. Raises KeyError if none is named so, ValueError if it signs."""
        if name not in self.names:
            raise KeyError(name)
        if name == self.names[0]:
            raise ValueError(f"the key {name} signs")
        return SrsKeys(tuple(key for key, known in zip(self.keys, self.names, strict=True) if known != name))

    def before_signing(self, newer: SrsKeys) -> SrsKeys:
        """`newer`, but for now the key that signs here goes on signing, if it still verifies there.

        So that nobody signs with a key that others do not know yet.
        """
        if not self.keys or self.keys[0] not in newer.keys:
            return newer
        return SrsKeys((self.keys[0], *(key for key in newer.keys if key != self.keys[0])))

    def rewritten(self, reverse_path: Path, domain: str, day: int) -> str | None:
        """The reverse-path with which a message is sent on in the name of `domain` on a day since 1970.

        None if there is none: the path is null, no key is there, or the new one would be longer than an address may be.
        """
        if not reverse_path.domain or not self.keys:
            return None
        local_part = self._forth(reverse_path, day)
        text = f"{_written(local_part)}@{domain}"
        try:
            parse_address(text)
        except GrammarError:
            return None
        return text

    def original(self, local_part: str, day: int) -> Path:
        """The original address in the local part of an SRS address, quotes undone. Raises SrsRefused."""
        kind, rest = local_part[:4].upper(), local_part[5:]
        if not is_srs(local_part):
            raise SrsRefused("it is no SRS address")
        if kind == "SRS1":
            return self._back_to_forwarder(rest)
        text, _, signed = rest.partition("=")
        written_on, _, address = signed.partition("=")
        domain, _, original = address.partition("=")
        if not (domain and original and len(written_on) == 2):
            raise SrsRefused("it does not have the form of an SRS0 address")
        self._verify(text, "0", signed)
        self._check_day(written_on, day)
        return _path(original, domain)

    def _forth(self, path: Path, day: int) -> str:
        local_part, kind = path.local_part, path.local_part[:4].upper()
        if is_srs(local_part) and kind == "SRS0":
            signed = f"{path.domain}={local_part[4:]}"
            return f"SRS1={self._hash(self.keys[0], '1', signed)}={signed}"
        if is_srs(local_part) and local_part[5:].count("=") >= 2:
            # The first forwarder is to hear of it; those between were only told what it said.
            _, _, signed = local_part[5:].partition("=")
            return f"SRS1={self._hash(self.keys[0], '1', signed)}={signed}"
        signed = f"{_day_text(day)}={path.domain}={local_part}"
        return f"SRS0={self._hash(self.keys[0], '0', signed)}={signed}"

    def _back_to_forwarder(self, rest: str) -> Path:
        text, _, signed = rest.partition("=")
        domain, _, tail = signed.partition("=")
        if not domain or len(tail) < 2 or tail[0] not in "=-+":
            raise SrsRefused("it does not have the form of an SRS1 address")
        self._verify(text, "1", signed)
        return _path(f"SRS0{tail}", domain)

    def _verify(self, given: str, kind: str, signed: str) -> None:
        shown = given.upper().encode()
        if not any(hmac.compare_digest(shown, self._hash(key, kind, signed).encode()) for key in self.keys):
            raise SrsRefused("none of our keys made its hash: it is forged, or the key was changed")

    def _check_day(self, text: str, day: int) -> None:
        try:
            high, low = (_DIGITS.index(digit) for digit in text.upper())
        except ValueError:
            raise SrsRefused("its day is not written in base32") from None
        age = (day - (high * 32 + low)) % _CYCLE
        if age > _VALID_DAYS and age != _CYCLE - 1:  # made on another node, where it is tomorrow already
            raise SrsRefused(
                f"it is {quantity(age, 'day')} old, and only those of up to {_VALID_DAYS} days are reversed"
            )

    @staticmethod
    def _hash(key: bytes, kind: str, signed: str) -> str:
        digest = hmac.digest(key, f"SRS{kind}={signed.lower()}".encode(), "sha256")
        return base64.b32encode(digest[:_HASH_OCTETS]).decode()


NO_KEYS = SrsKeys(())


def is_srs(local_part: str) -> bool:
    """Whether a local part, quotes undone, looks as one that a forwarder has made."""
    return local_part[:4].upper() in {"SRS0", "SRS1"} and local_part[4:5] in {"=", "-", "+"}


def _day_text(day: int) -> str:
    high, low = divmod(day % _CYCLE, 32)
    return _DIGITS[high] + _DIGITS[low]


def _written(local_part: str) -> str:
    """A local part as an address has it: quoted where it must be (RFC 5321 section 4.1.2)."""
    plain = not _SPECIAL.intersection(local_part) and ".." not in local_part
    if plain and not local_part.startswith(".") and not local_part.endswith("."):
        return local_part
    return '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _path(local_part: str, domain: str) -> Path:
    try:
        return parse_address(f"{_written(local_part)}@{domain}")
    except GrammarError as error:
        raise SrsRefused(f"the address behind it is invalid: {error}") from None
