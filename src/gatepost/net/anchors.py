"""Trust anchors that a chain may end at, read from the system, a file or a directory.

`net.chain` judges against them. Immutable once loaded; who wants changes on disk loads again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from OpenSSL import crypto

from gatepost.net.certificate import MALFORMED, CertificateError, parse
from gatepost.net.named_files import open_to_read
from gatepost.net.openssl_private import clear_errors
from gatepost.policy.connectors.trust_anchors import is_pem, pem_certificates
from gatepost.times import utc

SYSTEM: Final = "system"
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # BSD, macOS
)
_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})
_MAX_FILE_BYTES = 16 * 1024 * 1024
_REMEMBERED = 256  # certificates: those of a system are about 150, of 1 to 2 KiB each; none is larger than 64 KiB
_KIND: Final = rb"(?:X509 |TRUSTED )?CERTIFICATE-----"
# Up to the next END. Said with `.*?`, reading the system's bundle takes twenty times as long.
_PEM = re.compile(rb"-----BEGIN " + _KIND + rb"((?:[^-]++|-(?!----END " + _KIND + rb"))*+)-----END " + _KIND)


class AnchorsError(ValueError):
    """Trust anchors that cannot be used; the text names the file and the reason."""


class TrustAnchors:
    """A set of certificates that are trusted as they stand: roots, but also an intermediate or a self-signed leaf.

    source: where they come from, for messages. identity: SHA-256 of the set, hexadecimal. subjects: their names, DER.
    """

    __slots__ = ("_certificates", "_digests", "_second", "_store", "identity", "source", "subjects")

    def __init__(self, certificates: Iterable[bytes], source: str) -> None:
        """certificates: DER. Raises AnchorsError for one that OpenSSL cannot read, or if there is none."""
        unique = sorted(set(certificates))
        if not unique:
            raise AnchorsError(f"{source}: no certificate in it")
        try:
            self._certificates = [_openssl_form(der) for der in unique]
        except crypto.Error as failure:
            raise AnchorsError(f"{source}: a certificate that OpenSSL cannot read") from failure
        self.source = source
        digests = [hashlib.sha256(der).digest() for der in unique]
        self.identity = hashlib.sha256(b"".join(digests)).hexdigest()
        self._digests = frozenset(digests)
        self.subjects = frozenset(_subject(der) for der in unique)
        self._second = 0
        self._store: crypto.X509Store | None = None

    def __contains__(self, der: bytes) -> bool:
        return hashlib.sha256(der).digest() in self._digests

    def __len__(self) -> int:
        return len(self._certificates)

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """All of them, DER."""
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in self._certificates)

    @property
    def der(self) -> bytes:
        """The same, one after the other: as the ssl module takes them."""
        return b"".join(self.certificates)

    def __repr__(self) -> str:
        return f"TrustAnchors({self.source!r}, {len(self)} certificates)"

    def store(self, now: float) -> crypto.X509Store:
        """OpenSSL's form of the set for judging at `now`, for `net.chain` alone.

        The time of a store can be set once only, and path building needs it: of two certificates of one authority the
        valid one must be found, not just the other refused.
        """
        if self._store is None or self._second != int(now):
            self._store = crypto.X509Store()
            self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            self._store.set_time(utc(int(now)))
            for certificate in self._certificates:
                self._store.add_cert(certificate)
            self._second = int(now)
        return self._store

    @classmethod
    def load(cls, spec: str) -> TrustAnchors:
        """Read "system", PEM itself, a FILE (PEM, or a certificate in DER) or a DIR of such files. Raises AnchorsError.

        A directory's files count if they end in .pem, .crt, .cer or .der; each must hold a certificate.
        """
        if spec == SYSTEM:
            return cls(_usable(_system_bundle()), SYSTEM)
        if is_pem(spec):
            return cls(_written(spec), "the certificates that are written there")
        path = Path(spec)
        if not path.is_dir():
            return cls(_certificates(path), spec)
        try:
            files = sorted(
                file for file in path.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith(".")
            )
        except OSError as failure:
            raise AnchorsError(f"{spec}: {failure.strerror}") from failure
        return cls((der for file in files for der in _certificates(file)), spec)


# A process reads the system's bundle for every purpose that has anchors of its own, and reads it again at each reload:
# as long as a certificate's octets are the same, so is what they mean. Both values are immutable.
@lru_cache(_REMEMBERED)
def _openssl_form(der: bytes) -> crypto.X509:
    """Raises crypto.Error."""
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    except crypto.Error:
        clear_errors()
        raise


@lru_cache(_REMEMBERED)
def _subject(der: bytes) -> bytes:
    """Its subject in DER. Raises CertificateError."""
    certificate = parse(der)
    try:
        return certificate.subject.public_bytes()
    except MALFORMED as failure:
        raise CertificateError(f"its subject is not a name: {failure}") from failure


def _system_bundle() -> Sequence[bytes]:
    for name in _SYSTEM_BUNDLES:
        if Path(name).is_file():
            return _split(Path(name))
    raise AnchorsError(f"{SYSTEM}: this machine has none of {', '.join(_SYSTEM_BUNDLES)}; install ca-certificates")


def _usable(certificates: Iterable[bytes]) -> Iterable[bytes]:
    """The distribution's certificates that can be read: one that cannot must not take the others along."""
    for der in certificates:
        try:
            _subject(der)
            _openssl_form(der)
        except (CertificateError, crypto.Error):
            pass
        else:
            yield der


def _written(text: str) -> Sequence[bytes]:
    """The certificates of text in PEM. Raises AnchorsError, which names none of it."""
    try:
        return _readable(pem_certificates(text), "trust_anchors")
    except AnchorsError:
        raise
    except ValueError as failure:
        raise AnchorsError(f"trust_anchors: {failure}") from failure


def _certificates(path: Path) -> Sequence[bytes]:
    return _readable(_split(path), str(path))


def _readable(found: Sequence[bytes], where: str) -> Sequence[bytes]:
    for number, der in enumerate(found, 1):
        try:
            _subject(der)
        except CertificateError as failure:
            raise AnchorsError(f"{where}: certificate {number}: {failure}") from failure
    return found


def _split(path: Path) -> Sequence[bytes]:
    """The certificates of one file, in DER."""
    try:
        with os.fdopen(open_to_read(path), "rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as failure:
        raise AnchorsError(f"{path}: {failure.strerror}") from failure
    if len(content) > _MAX_FILE_BYTES:
        raise AnchorsError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    if content.startswith(b"0"):  # DER: a SEQUENCE
        return (content,)
    try:
        result = [base64.b64decode(block, validate=False) for block in _PEM.findall(content)]
    except binascii.Error as failure:
        raise AnchorsError(f"{path}: not base64: {failure}") from failure
    if not result:
        raise AnchorsError(f"{path}: no certificate in it (PEM or DER is expected)")
    return result
