"""OCSP responses that a server context staples (RFC 6066 section 8), one for each certificate that it presents.

Filled by `node.certificate_manager` from `pki.certificates.stapling`, read in handshakes by `net.engine`. OpenSSL
leaves out silently what is not about the certificate that it serves; `pki.certificates.stapling` tries each response
before it comes here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net import openssl_private as private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from OpenSSL import SSL


class StapledResponses:
    """Responses by the SHA-256 thumbprint of their certificate, lower-case hexadecimal, DER."""

    __slots__ = ("_responses", "_thumbprints")

    def __init__(self) -> None:
        self._responses: dict[str, bytes] = {}
        self._thumbprints: dict[int, str] = {}

    def replace(self, responses: Mapping[str, bytes]) -> None:
        """Staple these from now on, and nothing else."""
        self._responses = dict(responses)

    def of(self, connection: SSL.Connection, _: object = None) -> bytes:
        """The response for the certificate that this connection presents, b"" if there is none."""
        if not self._responses:
            return b""
        place = private.local_certificate(connection)
        thumbprint = self._thumbprints.get(place)
        if thumbprint is None:
            certificate = connection.get_certificate(as_cryptography=True)
            der = certificate.public_bytes(Encoding.DER) if certificate else b""
            thumbprint = self._thumbprints[place] = hashlib.sha256(der).hexdigest()
        return self._responses.get(thumbprint, b"")
