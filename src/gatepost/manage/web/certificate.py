"""The certificate of the admin centre: the one that the settings name, or one that it makes for itself.

A browser cannot know a certificate that was made here. Whoever opens the admin centre for the first time compares the
fingerprint that the gateway says at its start; a certificate of the organization's own authority ends that.
"""

from __future__ import annotations

import ssl
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.identity import read_identity
from gatepost.pki.certificates.authority import self_signed
from gatepost.pki.certificates.files import CertificateFileError, load_identity, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.settings.model import Settings


ADMIN_FOLDER: Final = "admin"
"""In the data directory: the certificate that is made here, with its key."""
_LIFETIME: Final = timedelta(days=365)
_RENEWED_BEFORE: Final = timedelta(days=30).total_seconds()
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class AdminCertificate(msgspec.Struct, frozen=True):
    """chain, key: files. sha256: of the leaf, hex. own: whether it was made here, so that no browser knows it."""

    chain: Path
    key: Path
    sha256: str
    own: bool


def admin_certificate(settings: Settings) -> AdminCertificate:
    """The certificate to serve with; made, or made anew a month before it ends, if the settings name none.

    Raises CertificateFileError if it cannot be used, OSError if it cannot be made.
    """
    if settings.admin.chain:
        return _read(Path(settings.admin.chain), Path(settings.admin.key), own=False)
    folder = Path(settings.server.data_dir) / ADMIN_FOLDER
    chain, key = folder / "certificate.pem", folder / "key.pem"
    names = list(dict.fromkeys((settings.server.hostname, *settings.admin.names, *_LOCAL)))
    if not _serves(chain, key, names):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate_pem, key_pem = self_signed(names, lifetime=_LIFETIME)
        # The key first: if we are stopped between the two, they do not fit, and both are made again.
        write_whole(key, key_pem)
        write_whole(chain, certificate_pem)
    return _read(chain, key, own=True)


def tls_context(certificate: AdminCertificate) -> ssl.SSLContext:
    """TLS 1.2 with forward secrecy, or 1.3. Raises OSError (ssl.SSLError) if the certificate cannot be loaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


def _serves(chain: Path, key: Path, names: Sequence[str]) -> bool:
    """Whether the one that was made before still does."""
    try:
        leaf = read_identity(load_identity(chain, key)).leaf
    except (CertificateFileError, ValueError):
        return False
    known = {*leaf.dns_names, *leaf.ip_addresses}
    return leaf.not_after - time.time() > _RENEWED_BEFORE and known >= {name.lower() for name in names}


def _read(chain: Path, key: Path, *, own: bool) -> AdminCertificate:
    leaf = read_identity(load_identity(chain, key)).leaf
    return AdminCertificate(chain, key, leaf.sha256, own)
