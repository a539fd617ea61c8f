"""Private keys at rest: sealed with a master key that is not in the data directory (AES-256-GCM, HKDF of RFC 5869).

Used by `pki.certificates.inventory`. A backup of the data directory without the master key holds no key that can be
used.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gatepost.net.named_files import open_to_read

SEALED: Final = b"gp1\0"
"""How everything that is sealed begins."""

_NONCE: Final = 12
_SALT: Final = 16
_LEAST: Final = 32
_MOST: Final = 4096
_HELP: Final = "make one with: (umask 077; head -c 32 /dev/urandom > FILE)"
_GONE: Final = f"restore the one that sealed the keys, as no other opens them; if none is sealed yet, {_HELP}"
_ACCOUNT: Final = "run this as root or as the gateway's account, which must be able to read it (chgrp, chmod 0640)"


class VaultError(Exception):
    """The master key cannot be had, or does not open what was sealed; the text says what to do, and holds no secret."""


class Vault:
    """Seals and opens with one master key of at least 32 bytes. Raises VaultError for a shorter or an absurd one."""

    __slots__ = ("_master",)

    def __init__(self, master: bytes) -> None:
        if not _LEAST <= len(master) <= _MOST:
            raise VaultError(f"the master key has {len(master)} bytes, {_LEAST} to {_MOST} are needed; {_HELP}")
        self._master = master

    @classmethod
    def of(cls, setting: str, environment: Mapping[str, str] = os.environ) -> Vault | None:
        """The vault of `store.master_key`: "file:PATH", "env:NAME", "credential:NAME"; None for "".

        The content of a file or credential is the key as it is; that of a variable too, so it must be text. Raises
        VaultError.
        """
        return cls(read_secret(setting, environment)) if setting else None

    def seal(self, secret: bytes, place: str) -> bytes:
        """`secret` as it may lie on disk. place: what it belongs to; elsewhere it does not open."""
        salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
        return SEALED + salt + nonce + self._cipher(salt).encrypt(nonce, secret, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Open content that was sealed for `place`. Raises VaultError."""
        if not sealed.startswith(SEALED):
            raise VaultError(f"{place}: sealed in a form that this version does not know")
        rest = sealed[len(SEALED) :]
        salt, nonce, content = rest[:_SALT], rest[_SALT : _SALT + _NONCE], rest[_SALT + _NONCE :]
        try:
            return self._cipher(salt).decrypt(nonce, content, place.encode())
        except (InvalidTag, ValueError) as failure:
            raise VaultError(f"{place}: the master key is not the one that it was sealed with") from failure

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, b"gatepost private keys").derive(self._master))


def read_secret(
    setting: str, environment: Mapping[str, str] = os.environ, *, what: str = "master key", gone: str = _GONE
) -> bytes:
    """Read a secret of the settings, "file:PATH", "env:NAME" or "credential:NAME": at most 4097 bytes of it.

    what: the secret's name, and gone: what to do if it is missing, for the error. Raises VaultError.
    """
    kind, _, name = setting.partition(":")
    match kind:
        case "file":
            return _read(Path(name), what, gone)
        case "credential":
            folder = environment.get("CREDENTIALS_DIRECTORY")
            if not folder:
                shell = f"systemd-run --pipe --wait --uid=gatepost --property=LoadCredential={name}:FILE gatepost ..."
                raise VaultError(
                    f"{setting}: systemd gave no credentials; the unit needs LoadCredential={name}:FILE, "
                    f"a command from a shell: {shell}"
                )
            return _read(Path(folder) / name, what, gone)
        case "env":
            if name not in environment:
                raise VaultError(f"{setting}: there is no such variable in the environment")
            return environment[name].encode()
        case _:
            raise VaultError(f"{setting!r}: write file:PATH, env:NAME or credential:NAME")


def _read(path: Path, what: str, gone: str) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise VaultError(f"{what} {path}: mode {mode:04o} lets others use it; run: chmod 0600 {path}")
        with os.fdopen(open_to_read(path), "rb") as file:
            return file.read(_MOST + 1)
    except OSError as error:
        what_to_do = _ACCOUNT if isinstance(error, PermissionError) else gone
        raise VaultError(f"{what} {path}: {error.strerror}; {what_to_do}") from error
