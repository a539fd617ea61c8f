"""The key that signs the evidence log: Ed25519 (RFC 8032), made by the gateway, never leaving its data directory.

It lies in `evidence-keys` (`store.evidence_keys`): sealed by `pki.certificates.vault` in `signing.key.sealed` where
`store.master_key` is set, else in `signing.key` of mode 0600. It is prepared before processes are confined, and workers
only read it (`node.evidence`). Commands check signatures by the public keys. Blocks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gatepost.events.evidence.chain import Signer, key_id
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.store.evidence_keys import PLAIN_KEY, SEALED_KEY, keys_directory, move_keys
from gatepost.store.sqlite.schema import make_directory
from gatepost.store.whole_file import locked_directory, publish_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gatepost.events.evidence.audit import SignatureCheck


_PLACE: Final = "evidence signing key"
_LIMIT: Final = 65536
_PUBLIC_KEY: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----\r?\n.+?\n-----END PUBLIC KEY-----\r?\n?", re.DOTALL)


def prepare_evidence_key(evidence: Path, vault: Vault | None) -> list[Path]:
    """Have the key that signs in its place, and its public half: for processes that may write there.

    It is brought from where earlier versions had it, made where there is none, and sealed as soon as there is a vault.
    evidence: the directory of all evidence. Returns keys in it that are not used. Raises OSError, or
    CertificateFileError, with what to do.
    """
    make_directory(evidence)
    keys = keys_directory(evidence)
    plain, sealed = keys / PLAIN_KEY, keys / SEALED_KEY
    with locked_directory(evidence.parent):
        unused = move_keys(evidence)
        if not sealed.exists() and (vault is not None or not plain.exists()):
            pem = _private(plain) if plain.exists() else _fresh()
            publish_file(sealed if vault else plain, _sealed(pem, vault))
        _keep_public(keys, _signing_key(keys, vault).public_key())
        if sealed.exists():
            plain.unlink(missing_ok=True)
    return unused


def evidence_signer(evidence: Path, vault: Vault | None) -> Signer:
    """The key that signs, as `prepare_evidence_key` left it; it is only read. Raises as that."""
    key = _signing_key(keys_directory(evidence), vault)
    return Signer(key_id(_raw(key.public_key())), key.sign)


def public_keys_in(data: bytes) -> list[bytes]:
    """The public keys of a file, as `evidence key` prints those of several nodes; all of it if it has none in PEM."""
    return _PUBLIC_KEY.findall(data) or [data]


def readable_keys(keys: Iterable[bytes]) -> tuple[list[bytes], int]:
    """Those of some public keys, PEM, that can be read, and how many cannot: these must be told."""
    readable, others = list[bytes](), 0
    for pem in keys:
        try:
            pem.decode("ascii")
            _public(pem)
        except ValueError:
            others += 1
        else:
            readable.append(pem)
    return readable, others


def public_key_id(pem: bytes) -> str:
    """The id of a public key in PEM. Raises ValueError if it is no Ed25519 public key."""
    return key_id(_raw(_public(pem)))


def signature_check(keys: Iterable[bytes]) -> SignatureCheck:
    """Checks signatures by these public keys, PEM. Raises ValueError if one of them is none."""
    known = {key_id(_raw(key)): key for key in map(_public, keys)}

    def check(key: str, message: bytes, signature: bytes) -> bool | None:
        public = known.get(key)
        if public is None:
            return None
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check


def _signing_key(keys: Path, vault: Vault | None) -> Ed25519PrivateKey:
    plain, sealed = keys / PLAIN_KEY, keys / SEALED_KEY
    pem = _opened(sealed, vault) if sealed.exists() else _private(plain)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateFileError(f"{keys}: the signing key is not an Ed25519 key in PEM; restore the right one")
    return key


def _public(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a public key, but not of Ed25519")  # noqa: TRY004 - what is wrong is the content
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _fresh() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _sealed(pem: bytes, vault: Vault | None) -> bytes:
    return vault.seal(pem, _PLACE) if vault else pem


def _opened(path: Path, vault: Vault | None) -> bytes:
    if vault is None:
        raise CertificateFileError(
            f"{path}: the key is sealed, and store.master_key not set; if the master key is lost, move the file away: "
            "another key is made, whose signatures a verifier must be told of"
        )
    try:
        return vault.open(path.read_bytes(), _PLACE)
    except VaultError as failure:
        raise CertificateFileError(f"{path}: {failure}") from failure


def _private(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise CertificateFileError(f"{path} has mode {mode:04o}, and others may read it; chmod 600 it")
    return path.read_bytes()[:_LIMIT]


def _keep_public(keys: Path, key: Ed25519PublicKey) -> None:
    """Keep the public key for those who verify."""
    path = keys / f"{key_id(_raw(key))[:16]}.pem"
    if not path.exists():
        publish_file(path, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
