"""Requests for certificates (PKCS#10, RFC 2986): a fresh key waits, sealed, until its certificate comes back.

Used by `gatepost certificate request` and `certificate add`, which finds the waiting key by its public half. Without a
master key the key waits in a file of mode 0600. For one thread at a time, as the store is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.pki.certificates.entry import CertificateRequestSpec, PendingRequest, Purpose
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import Vault, VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.store.changes import ConfigStore


type _Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_KIND: Final = "certificate_request"
_COMMON_NAME: Final = 64  # characters (RFC 5280, ub-common-name)
_FIELDS: Final = ("names", "purpose", "organization", "label", "key", "added", "key_file", "must_staple")


def _elliptic(curve: ec.EllipticCurve) -> Callable[[], _Key]:
    return lambda: ec.generate_private_key(curve)


def _rsa(bits: int) -> Callable[[], _Key]:
    return lambda: rsa.generate_private_key(65537, bits)


KEY_TYPES: Final[Mapping[str, Callable[[], _Key]]] = {
    "ec-p256": _elliptic(ec.SECP256R1()),
    "ec-p384": _elliptic(ec.SECP384R1()),
    "rsa-2048": _rsa(2048),
    "rsa-3072": _rsa(3072),
    "rsa-4096": _rsa(4096),
}
"""The kinds of keys, and a function that makes each."""


def made_request(wish: CertificateRequestSpec) -> tuple[bytes, bytes]:
    """A fresh key and a request that it signed: (request PEM, key PEM)."""
    key = KEY_TYPES[wish.key]()
    common = (wish.names[0] if wish.names else wish.label)[:_COMMON_NAME]
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if wish.names:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in wish.names])
        builder = builder.add_extension(names, critical=False)
    if wish.purpose is Purpose.CLIENT:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    if wish.must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return request, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class CertificateRequests:
    """store: where they wait. vault: seals their keys; None if no master key is set."""

    def __init__(self, store: ConfigStore, vault: Vault | None) -> None:
        self._store = store
        self._vault = vault

    def waiting(self) -> dict[str, PendingRequest]:
        """Those that wait, by id, the oldest first. Raises ValueError for one that is not of this version."""
        _, document = self._store.load(_KIND)
        requests = [_request(number, table) for number, table in document.get(_KIND, {}).items()]
        return {request.id: request for request in sorted(requests, key=lambda request: (request.added, request.id))}

    def add(
        self, wish: CertificateRequestSpec, request_pem: bytes, key_pem: bytes, *, author: str, now: float
    ) -> PendingRequest:
        """Keep a request with its key, sealed. Raises CertificateFileError without a master key, StoreFailure."""
        number = request_id(request_pem)
        if self._vault is None:
            raise CertificateFileError("a key is stored only sealed: set store.master_key")
        content = {_place(number, "key"): self._vault.seal(key_pem, _place(number, "key"))}
        return self._add(PendingRequest(number, wish, now), request_pem, content, author)

    def add_with_file(
        self, wish: CertificateRequestSpec, request_pem: bytes, key_file: Path, *, author: str, now: float
    ) -> PendingRequest:
        """Keep a request whose key waits in a file. Raises StoreFailure."""
        number = request_id(request_pem)
        return self._add(PendingRequest(number, wish, now, str(key_file)), request_pem, {}, author)

    def _add(
        self, request: PendingRequest, request_pem: bytes, content: dict[str, bytes], author: str
    ) -> PendingRequest:
        kept = content | {_place(request.id, "csr"): request_pem}
        self._store.apply({_KIND: {request.id: _document(request)}}, author=author, content=kept)
        return request

    def of(self, certificate: x509.Certificate) -> PendingRequest | None:
        """The request with whose key a certificate was issued, None if there is none."""
        return self.waiting().get(_id(certificate.public_key()))

    def request_pem(self, request: PendingRequest) -> bytes:
        """The request as sent to the authority, b"" if it is lost."""
        return self._store.content(_place(request.id, "csr")) or b""

    def key_pem(self, request: PendingRequest) -> bytes:
        """The key that waits. Raises CertificateFileError."""
        if request.key_file:
            try:
                return Path(request.key_file).read_bytes()
            except OSError as error:
                raise CertificateFileError(f"request {request.id}: key {request.key_file}: {error.strerror}") from error
        sealed = self._store.content(_place(request.id, "key"))
        if sealed is None or self._vault is None:
            why = "its key is lost: make a new request" if sealed is None else "its key is sealed: set store.master_key"
            raise CertificateFileError(f"request {request.id}: {why}")
        try:
            return self._vault.open(sealed, _place(request.id, "key"))
        except VaultError as failure:
            raise CertificateFileError(f"request {request.id}: {failure}") from failure

    def remove(self, request: PendingRequest, *, author: str, note: str = "") -> int:
        """Forget a request and its key; a file with it stays. Returns the version. Raises StoreFailure."""
        gone = {_place(request.id, what): None for what in ("key", "csr")}
        return self._store.apply({_KIND: {request.id: None}}, author=author, note=note, content=gone)


def _document(request: PendingRequest) -> dict[str, Any]:
    wish = request.wish
    return {
        "names": list(wish.names),
        "purpose": str(wish.purpose),
        "organization": wish.organization,
        "label": wish.label,
        "key": wish.key,
        "must_staple": wish.must_staple,
        "added": request.added,
        "key_file": request.key_file,
    }


def _request(number: str, document: dict[str, Any]) -> PendingRequest:
    try:
        names, purpose, organization, label, key, added, key_file, staple = (document[name] for name in _FIELDS)
        wish = CertificateRequestSpec(tuple(names), key, Purpose(purpose), organization, label, must_staple=staple)
        return PendingRequest(number, wish, added, key_file)
    except KeyError as error:
        raise ValueError(
            f"request {number} is stored in a form that this version does not know: {error} is missing"
        ) from error


def request_id(request_pem: bytes) -> str:
    """Under which a request waits."""
    return _id(x509.load_pem_x509_csr(request_pem).public_key())


def _id(public_key: Any) -> str:
    der: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]


def _place(number: str, what: str) -> str:
    return f"{_KIND}/{number}/{what}"
