"""Hash and verify passwords, of mailboxes and users: Argon2id in PHC form; and the rules for a user's.

Used by `manage.access.accounts`, and by `mail.inbound.credentials` for mailboxes. No secret is in the text of an error.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.quantity import quantity

# OWASP's least for Argon2id: 19 MiB, 2 passes, 1 lane; about 30 ms of one core.
_MEMORY_KIB: Final = 19_456
_PASSES: Final = 2
_LANES: Final = 1
_HASH_OCTETS: Final = 32
_USERS_LEAST: Final = 12
_USERS_MOST: Final = 1000
_USERS_DIFFERENT: Final = 4

NOBODYS_HASH: Final = (
    f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}$"
    + base64.b64encode(bytes(16)).decode().rstrip("=")
    + "$"
    + base64.b64encode(bytes(_HASH_OCTETS)).decode().rstrip("=")
)
"""A hash for names without an account, so that a wrong name takes as long as a wrong password. No password fits."""


class PasswordError(ValueError):
    """A password that cannot be set. The text says why, and does not contain it."""


def prepared_password(password: str, least: int, most: int) -> str:
    """A new password as two keyboards that mean the same write it (RFC 4013). Raises PasswordError.

    least, most: characters, after that.
    """
    if len(password) > 2 * most:  # nothing long is worked at
        raise PasswordError(f"the password has more than {most} characters")
    try:
        prepared = saslprep(password)
    except SaslError as error:
        raise PasswordError(f"the password has {error}") from None
    if len(prepared) < least:
        raise PasswordError(f"the password has {quantity(len(prepared), 'character')}; at least {least} are needed")
    if len(prepared) > most:
        raise PasswordError(f"the password has more than {most} characters")
    return prepared


def user_password(password: str, name: str) -> str:
    """The new password of a user, prepared: 12 to 1000 characters, not what is tried first. Raises PasswordError."""
    prepared = prepared_password(password, _USERS_LEAST, _USERS_MOST)
    if prepared.casefold() == name.casefold():
        raise PasswordError("the password is the user's name; choose another")
    if len(set(prepared)) < _USERS_DIFFERENT:
        raise PasswordError(f"the password has fewer than {_USERS_DIFFERENT} different characters; choose another")
    return prepared


def argon2_hash(prepared: str, salt: bytes) -> str:
    """Hash a prepared password with its salt, 16 random octets. Takes about 30 ms and 19 MiB."""
    return Argon2id(
        salt=salt, length=_HASH_OCTETS, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB
    ).derive_phc_encoded(prepared.encode())


def verify(password: str, argon2: str) -> bool:
    """Whether a prepared password fits a hash. For a thread: it takes about 30 ms and 19 MiB."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), argon2)
    except (InvalidKey, ValueError):
        return False
    return True
