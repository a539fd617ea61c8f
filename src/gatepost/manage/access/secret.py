"""Secrets that are given out once: 32 random octets, of which only a SHA-256 is kept.

So much randomness needs no slow hash; who reads the file can use none of them. Looked up by the hash, whose time says
nothing of the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_OCTETS = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def fresh(prefix: str = "") -> str:
    """A new secret, in characters that a URL, a cookie and a header may have."""
    return prefix + secrets.token_urlsafe(_OCTETS)


def hash_of(secret: str, prefix: str = "") -> bytes | None:
    """The hash kept of a secret; None if it cannot be one."""
    if not secret.startswith(prefix) or not _FORM.fullmatch(secret, len(prefix)):
        return None
    return hashlib.sha256(secret.encode("ascii")).digest()


def csrf_of(session: str) -> str:
    """The token that the forms of a session carry: made of its secret, which cannot be made of it."""
    return hmac.digest(session.encode("utf-8", "replace"), b"csrf", "sha256").hex()


_AUTHORS = secrets.token_bytes(_OCTETS)


def author_tag(user: str) -> str:
    """A tag of the user for whom a form is made, which nobody else can make; another one after a restart.

    It opens nothing: it says, once the session has ended, to whom what was typed may be shown again.
    """
    return hmac.digest(_AUTHORS, user.encode("utf-8", "replace"), "sha256").hex()


def masked(token: str) -> str:
    """A form token as a page shows it: another text each time, so that the size of a compressed page does not tell it.

    What of the address a page repeats is compressed together with its token (BREACH); a token that never repeats
    cannot be found by trying. token: hexadecimal, as `csrf_of` makes it.
    """
    octets = bytes.fromhex(token)
    mask = secrets.token_bytes(len(octets))
    return (mask + _xor(mask, octets)).hex()


def unmasked(text: str) -> str:
    """The form token in a masked one; any other text as it is."""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        return text
    half = len(octets) // 2
    return _xor(octets[:half], octets[half:]).hex() if len(octets) == 2 * _OCTETS else text


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that says nothing of where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
