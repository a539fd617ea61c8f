"""The access of this process to keys in tokens ([pkcs11]), and the PIN that the token refused.

Given once by the command line (`manage.cli.token_provider`), used by `net.engine` and the trial of a key
(`net.token_trial`). A token locks itself after a few wrong PINs: one that was refused is remembered in a file, and is
not tried again by any process until the PIN in its file is another one. Imports nothing of OpenSSL.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

_SALT: Final = 16
_MOST_PIN: Final = 255
_MOST_KEYS: Final = 64
_LIBRARIES: Final = ("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "riscv64-linux-gnu")


class TokenError(Exception):
    """A key in a token cannot be used; the text says why and what to do, and holds no PIN."""


class TokenAccess(msgspec.Struct, frozen=True):
    """module: the PKCS#11 library. provider: OpenSSL's. pin_file: holds the PIN, "" for a token that needs none.

    refused_file: remembers the PIN that the token refused.
    """

    module: str
    provider: str
    pin_file: str
    refused_file: str


class TokenKeys:
    """The keys in tokens that this process has loaded or tried to load.

    access: None without [pkcs11]. in_doubt: a key failed just now. tried_at: when all keys were last tried by this
    process or the one that it was forked from (`time.monotonic`).
    """

    def __init__(self) -> None:
        self.access: TokenAccess | None = None
        self.in_doubt = False
        self.tried_at = -math.inf
        self._used: dict[str, bytes] = {}

    def note(self, uri: str, chain_pem: bytes) -> None:
        """Remember that a key is used, and with which certificate."""
        self._used.pop(uri, None)
        self._used[uri] = chain_pem
        if len(self._used) > _MOST_KEYS:
            del self._used[next(iter(self._used))]

    @property
    def used(self) -> Mapping[str, bytes]:
        """The chains (PEM) of certificates by the URI of their key, the latest last."""
        return dict(self._used)


TOKEN_KEYS: Final = TokenKeys()
"""Of this process: OpenSSL reads its configuration once, so there is one."""


def default_provider() -> str:
    """Where Debian's package has the provider."""
    places = [f"/usr/lib/{name}/ossl-modules/pkcs11.so" for name in _LIBRARIES]
    return next((place for place in places if Path(place).exists()), places[0])


def openssl_conf(access: TokenAccess) -> str:
    """The configuration by which OpenSSL loads the provider. The PIN is not in it.

    Whatever the default provider can do, it does. The module is not ended with OpenSSL: SoftHSM crashes then.
    """
    return f"""\
openssl_conf = gatepost
[gatepost]
providers = providers
alg_section = algorithms
[algorithms]
default_properties = ?provider=default
[providers]
default = own
pkcs11 = token
[own]
activate = 1
[token]
module = {access.provider}
pkcs11-module-path = {access.module}
pkcs11-module-quirks = no-deinit
activate = 1
"""


def read_pin(access: TokenAccess) -> str:
    """The PIN, "" if none is set. Raises TokenError if its file cannot be used."""
    if not access.pin_file:
        return ""
    path = Path(access.pin_file)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise TokenError(f"pkcs11.pin: {path}: mode {mode:04o} lets others use it; run: chmod 0600 {path}")
        with path.open("rb") as file:
            content = file.read(_MOST_PIN + 2)
    except OSError as error:
        raise TokenError(f"pkcs11.pin: {path}: {error.strerror}") from error
    pin = content.partition(b"\n")[0].rstrip(b"\r")
    if not pin or len(pin) > _MOST_PIN or b"\0" in pin:
        raise TokenError(f"pkcs11.pin: {path}: its first line must be the PIN")
    return pin.decode("utf-8", "surrogateescape")


def check_pin(access: TokenAccess) -> str:
    """The PIN, if the token did not refuse it before. Raises TokenError."""
    pin = read_pin(access)
    try:
        known = Path(access.refused_file).read_bytes()
    except OSError:
        return pin
    if hmac.compare_digest(known, _digest(pin, known[:_SALT])):
        raise TokenError(
            f"the token refused the PIN in {access.pin_file}, which is not tried again, because a token locks itself "
            f"after a few wrong PINs; write the right one. If it is the right one by now: rm {access.refused_file}"
        )
    return pin


@contextmanager
def one_at_a_time(access: TokenAccess) -> Iterator[None]:
    """Let one process of this machine try a PIN, so that the others learn what came of it."""
    path = f"{access.refused_file}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}; run this as the gateway's account, or as root") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def remember_refused(access: TokenAccess, pin: str) -> None:
    """Keep in mind that the token refused this PIN."""
    path = Path(access.refused_file)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        fresh.touch(mode=0o600)
        fresh.write_bytes(_digest(pin, secrets.token_bytes(_SALT)))
        fresh.replace(path)


def forget_refused(access: TokenAccess) -> None:
    """The token took the PIN: what it refused before is of no interest."""
    Path(access.refused_file).unlink(missing_ok=True)


def _digest(pin: str, salt: bytes) -> bytes:
    """Slow on purpose: PINs are short."""
    return salt + hashlib.scrypt(pin.encode("utf-8", "surrogateescape"), salt=salt.ljust(1, b"\0"), n=16384, r=8, p=1)
