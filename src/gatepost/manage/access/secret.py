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


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that says nothing of where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
