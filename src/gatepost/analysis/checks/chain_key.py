"""The private key of a certificate to be put into service: its public half, and who may read it.

Used by `analysis.checks.chain`. The key itself never leaves this module: only its public half does.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gatepost.analysis.checks.chain_file import ChainFileError

if TYPE_CHECKING:
    from pathlib import Path


_MAX_BYTES = 1024 * 1024
_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----")  # a certificate may stand before it


@dataclass(frozen=True, slots=True)
class KeyFile:
    """path: as it was named. mode: permission bits. public: its public half, DER (SubjectPublicKeyInfo)."""

    path: str
    mode: int
    public: bytes = field(repr=False)


def read_key(path: Path) -> KeyFile:
    """Read a private key in PEM, without a password. Raises ChainFileError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError as failure:
        raise ChainFileError(f"{path}: {failure.strerror}") from failure
    if b"-----BEGIN" not in content:
        raise ChainFileError(f"{path}: no private key in PEM; make one of it: openssl pkey -in {path} -out key.pem")
    if (match := _KEY.search(content)) is None:
        raise ChainFileError(f"{path}: no private key in it; name the file with -----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(content[match.start() :], password=None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError as failure:
        raise ChainFileError(
            f"{path}: the private key is encrypted, and a server cannot type its password; "
            f"decrypt it: openssl pkey -in {path} -out key.pem (umask 077)"
        ) from failure
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise ChainFileError(f"{path}: a private key that cannot be read: {str(failure)[:200]}") from failure
    return KeyFile(str(path), mode, public)
