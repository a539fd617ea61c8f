"""The private halves of DKIM keys: made, sealed beside the resources or left in files, opened, and used to sign.

Used by `mail.outbound.dkim` and `manage.use_cases.dkim`. What is public of a key is in `policy.connectors.dkim_key`.
The private half is content of the configuration store, sealed as certificates' keys are, so that no export, history or
log has it. For one thread at a time, as its store is.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gatepost.pki.certificates.files import CertificateFileError, load_key
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.policy.connectors.values import DkimAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatepost.policy.connectors.dkim_key import DkimKey
    from gatepost.policy.connectors.records import Organization
    from gatepost.store.changes import ConfigStore


RSA_BITS: Final = 2048
"""Of the keys that are made here; verifiers need not take larger ones (RFC 8301 section 3.2)."""

_LEAST_BITS: Final = 1024
_MOST_BITS: Final = 4096
_AGAIN: Final = 10.0  # seconds until a key that could not be used is tried again

_log = logging.getLogger(__name__)


class DkimKeyError(Exception):
    """A key cannot be used; the text says which, why, and what to do, and holds no secret."""


class DkimSigner:
    """A private key that can be used. public_key: its other half, as p= of a record has it."""

    __slots__ = ("_private", "algorithm", "public_key")

    def __init__(self, private: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._private = private
        self.algorithm = (
            DkimAlgorithm.RSA_SHA256 if isinstance(private, RSAPrivateKey) else DkimAlgorithm.ED25519_SHA256
        )
        self.public_key = base64.b64encode(_public(private)).decode("ascii")

    @property
    def bits(self) -> int:
        """The size of an RSA key; 256 of the other kind."""
        return self._private.key_size if isinstance(self._private, RSAPrivateKey) else 256

    def sign(self, octets: bytes) -> bytes:
        """The signature of octets: of their SHA-256, with either kind (RFC 6376 section 3.3.1, RFC 8463 section 3)."""
        if isinstance(self._private, RSAPrivateKey):
            return self._private.sign(octets, PKCS1v15(), SHA256())
        return self._private.sign(sha256(octets).digest())


class DkimKeys:
    """store: where sealed keys are. vault: opens and seals them; None if no master key is set.

    load: the content of a key's file. Raises CertificateFileError.
    """

    def __init__(
        self,
        store: ConfigStore,
        vault: Vault | None,
        *,
        load: Callable[[Path], bytes] = load_key,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._vault = vault
        self._load = load
        self._clock = clock
        self._known: dict[tuple[str, str, str, str], DkimSigner] = {}
        self._failed: dict[tuple[str, str, str, str], tuple[float, str]] = {}
        self._read: dict[bytes, DkimSigner] = {}  # by the SHA-256 of the PEM
        self._read_before: dict[bytes, DkimSigner] = {}

    def signer(self, organization: str, key: DkimKey) -> DkimSigner:
        """The signer with a key. It is cached; a failure is tried again after ten seconds. Raises DkimKeyError."""
        place = organization, key.name, key.public_key, key.key_file
        known = self._known.get(place)
        if known is not None:
            return known
        until, why = self._failed.get(place, (0.0, ""))
        if self._clock() < until:
            raise DkimKeyError(why)
        try:
            dkim_signer = self._known[place] = self._opened(organization, key)
        except DkimKeyError as error:
            if str(error) != why:
                _log.error("%s", error)
            self._failed[place] = self._clock() + _AGAIN, str(error)
            raise
        self._failed.pop(place, None)
        return dkim_signer

    def forget(self) -> None:
        """Open keys and take what files hold again when they are next needed: resources changed, or the files may have.

        A key that is the same is not checked again by the library, which takes 50 ms for RSA, on the event loop.
        """
        self._known.clear()
        self._failed.clear()
        if self._read:
            self._read_before, self._read = self._read, {}

    def has_key(self, organization: str, name: str) -> bool:
        """Whether a private key is sealed here for a name."""
        return self._store.content(content_name(organization, name)) is not None

    def sealed(self, organization: str, name: str, key_pem: bytes) -> dict[str, bytes]:
        """A private key as content for `ConfigStore.apply`. Raises DkimKeyError without a master key."""
        if self._vault is None:
            raise DkimKeyError(
                "a key is stored only sealed: set store.master_key, or leave the key in a file of its own"
            )
        place = content_name(organization, name)
        return {place: self._vault.seal(key_pem, place)}

    def check_master_key(self, organizations: Iterable[Organization]) -> None:
        """Whoever has another master key than the gateway would make what it cannot open. Raises DkimKeyError.

        That one key of those there are can be opened is enough.
        """
        locked = []
        for organization in organizations:
            for key in organization.dkim_keys:
                place = content_name(organization.name, key.name)
                sealed = self._store.content(place)
                if sealed is None or self._vault is None:
                    continue
                try:
                    self._vault.open(sealed, place)
                except VaultError:
                    locked.append(key.name)
                else:
                    return
        if locked:
            raise DkimKeyError(
                f"store.master_key is not the one that {locked[0]} was sealed with: put that one in its place; if it "
                "is lost, first take away what it sealed: gatepost dkim remove"
            )

    def _opened(self, organization: str, key: DkimKey) -> DkimSigner:
        try:
            signer = self._signer_of(self._pem(organization, key))
        except (DkimKeyError, CertificateFileError, VaultError) as error:
            raise DkimKeyError(f"DKIM key {key.name}: {error}") from error
        if why := _mismatch(signer, key):
            raise DkimKeyError(f"DKIM key {key.name}: {why}")
        return signer

    def _signer_of(self, pem: bytes) -> DkimSigner:
        digest = hashlib.sha256(pem).digest()
        signer = self._read.get(digest) or self._read_before.get(digest) or read_key(pem)
        self._read[digest] = signer
        return signer

    def _pem(self, organization: str, key: DkimKey) -> bytes:
        if key.key_file:
            return self._load(Path(key.key_file))
        place = content_name(organization, key.name)
        sealed = self._store.content(place)
        if sealed is None:
            raise DkimKeyError(
                "its private key is not in this gateway's store; bring it in with `gatepost dkim import`, name its "
                "file in key_file, or make a new key with a new selector: gatepost dkim add"
            )
        if self._vault is None:
            raise DkimKeyError("its private key is sealed, and store.master_key not set, or not readable here")
        return self._vault.open(sealed, place)


def made_key(algorithm: DkimAlgorithm) -> bytes:
    """A fresh private key, PEM."""
    rsa = algorithm is DkimAlgorithm.RSA_SHA256
    private = generate_private_key(65537, RSA_BITS) if rsa else Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> DkimSigner:
    """A private key from PEM. Raises DkimKeyError if it is none with which mail can be signed."""
    try:
        # Its size comes before its numbers: to check those of 16,384 bits holds all threads for half a minute.
        private: Any = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(private, RSAPrivateKey) and not _LEAST_BITS <= private.key_size <= _MOST_BITS:
            raise DkimKeyError(
                f"the RSA key has {private.key_size} bits; verifiers take {_LEAST_BITS} to {_MOST_BITS} (RFC 8301)"
            )
        private = load_pem_private_key(pem, None)
    except TypeError:
        raise DkimKeyError("the key has a pass phrase; remove it: openssl pkey -in FILE -out NEW") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise DkimKeyError("there is no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise DkimKeyError("DKIM signs with RSA or Ed25519 keys, and this is of another kind")
    return DkimSigner(private)


def unusable_key(pem: bytes, key: DkimKey) -> str:
    """Why a private key, the content of the `key_file` of a key, cannot be used, "" if it can."""
    try:
        return _mismatch(read_key(pem), key)
    except DkimKeyError as error:
        return str(error)


def _mismatch(signer: DkimSigner, key: DkimKey) -> str:
    """Why a private key is not that of a DKIM key, "" if it is."""
    if signer.algorithm is not key.algorithm:
        return f"its private key is one for {signer.algorithm}"
    if key.public_key in {"", signer.public_key}:
        return ""
    return (
        "its private key is not the counterpart of public_key, by which mail is verified; put the right one in its "
        "place, or make a new key with a new selector: gatepost dkim add"
    )


def content_name(organization: str, name: str) -> str:
    """The name of a private key's content in the store, which no other organization's key can have."""
    return f"dkim/{organization}/{name}"


def places(organization: str, document: Mapping[str, Any] | None) -> set[str]:
    """Names of content that the keys of an organization need, by its document."""
    return {content_name(organization, str(table["name"])) for table in (document or {}).get("dkim_key", [])}


def _public(private: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    if isinstance(private, RSAPrivateKey):
        return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return private.public_key().public_bytes_raw()
