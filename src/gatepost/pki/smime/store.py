"""Certificates of recipients, and the organizations' own with their sealed keys, in the configuration store.

Used by `mail.outbound.smime` and the `smime` commands. Versioned and audited as resources are; keys are sealed by
`pki.certificates.vault` and in no history. For one thread at a time, as its store is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gatepost.net.certificate import MALFORMED, certificate_facts, quietly
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.pki.smime.certificate import ID_DIGITS, fingerprint, unfit_to_sign
from gatepost.pki.smime.decryption import Opener
from gatepost.pki.smime.signing import SmimeSigner
from gatepost.store.changes import ConfigStore, on_newest

CERTIFICATES_MOST: Final = 10
"""Certificates of one recipient."""

_RECIPIENT: Final = "smime_recipient"
_IDENTITY: Final = "smime_identity"


class SmimeStoreError(Exception):
    """A certificate or key cannot be had from the store; the text says why, for an administrator, without a secret."""


class NotAdded(SmimeStoreError):  # noqa: N818 - it names what happened
    """Something is not taken in; the text says what to do first."""


class SmimeIdentity(msgspec.Struct, frozen=True):
    """A certificate of an organization's own, whose key is sealed.

    id: first 16 hexadecimal digits of its SHA-256. owner: the address or domain that it is for. chain: it and its
    intermediates. added: seconds since 1970.
    """

    id: str
    organization: str
    owner: str
    chain: tuple[x509.Certificate, ...]
    added: float = 0.0

    @property
    def name(self) -> str:
        """Under which the store has it."""
        return f"{self.organization}/{self.id}"


class SmimeStore:
    """store: where all is. vault: opens and seals keys; None if no master key is set."""

    def __init__(self, store: ConfigStore, vault: Vault | None) -> None:
        self._store = store
        self._vault = vault
        self._version = -1
        self._identities: tuple[SmimeIdentity, ...] = ()
        self._keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {}

    # recipients

    def recipients(self) -> list[tuple[str, str]]:
        """Organization and owner of everybody of whom there are certificates."""
        _, document = self._store.load(_RECIPIENT)
        names = (name.partition("/") for name in document.get(_RECIPIENT, {}))
        return sorted((organization, owner) for organization, _, owner in names)

    def certificates(self, organization: str, owner: str) -> tuple[x509.Certificate, ...]:
        """All that is kept for an owner, fit or not, in the order in which it came. Raises SmimeStoreError."""
        pem = self._store.content(_place(organization, owner))
        if pem is None:
            return ()
        try:
            with quietly():
                return tuple(x509.load_pem_x509_certificates(pem))
        except MALFORMED as error:
            raise SmimeStoreError(f"the certificates of {owner} cannot be read from the store: {error}") from error

    def certificates_for(self, organization: str, address: str) -> tuple[str, tuple[x509.Certificate, ...]]:
        """The owner and the certificates for a recipient: its own, or those of its domain's gateway.

        address: as `certificate.owner_of` has it. ("", ()) if there are none. Raises SmimeStoreError.
        """
        for owner in (address, address.rpartition("@")[2]):
            if certificates := self.certificates(organization, owner):
                return owner, certificates
        return "", ()

    def add_recipient(
        self, organization: str, owner: str, certificates: Iterable[x509.Certificate], *, author: str, note: str = ""
    ) -> int:
        """Keep certificates beside those that are there. Returns the version. Raises NotAdded, StoreFailure."""
        new = list(certificates)

        def once() -> int:
            version, _ = self._store.load(_RECIPIENT)
            kept = {
                fingerprint(certificate): certificate for certificate in (*self.certificates(organization, owner), *new)
            }
            if len(kept) > CERTIFICATES_MOST:
                raise NotAdded(
                    f"{owner} would have {len(kept)} certificates, {CERTIFICATES_MOST} are the most; first remove "
                    "old ones: gatepost smime recipient remove"
                )
            return self._keep(organization, owner, list(kept.values()), author=author, note=note, expected=version)

        return on_newest(once)

    def remove_recipient(
        self, organization: str, owner: str, which: Sequence[str], *, author: str, note: str = ""
    ) -> int:
        """Forget certificates by their fingerprints; all of them without one. Raises SmimeStoreError, StoreFailure."""

        def once() -> int:
            version, _ = self._store.load(_RECIPIENT)
            left: list[x509.Certificate] = []
            if which:
                left = [
                    certificate
                    for certificate in self.certificates(organization, owner)
                    if fingerprint(certificate) not in which
                ]
            return self._keep(organization, owner, left, author=author, note=note, expected=version)

        return on_newest(once)

    def _keep(
        self,
        organization: str,
        owner: str,
        certificates: Sequence[x509.Certificate],
        *,
        author: str,
        note: str,
        expected: int,
    ) -> int:
        document = {"certificates": [_facts(certificate) for certificate in certificates]} if certificates else None
        content = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates) or None
        return self._store.apply(
            {_RECIPIENT: {f"{organization}/{owner}": document}},  # None removes it
            author=author,
            note=note,
            expected=expected,
            content={_place(organization, owner): content},
        )

    # our own

    def identities(self) -> tuple[SmimeIdentity, ...]:
        """All of them, the newest first. Raises SmimeStoreError if one cannot be read."""
        version = self._store.version()
        if version != self._version:
            _, document = self._store.load(_IDENTITY)
            identities = [_identity(name, table) for name, table in document.get(_IDENTITY, {}).items()]
            self._identities = tuple(sorted(identities, key=lambda identity: (-_begins(identity), identity.id)))
            self._keys.clear()
            self._version = version
        return self._identities

    def signer(self, organization: str, owners: Sequence[str], now: float) -> tuple[SmimeIdentity, SmimeSigner] | None:
        """The signer of the first owner that has a certificate fit for it. Raises SmimeStoreError."""
        for owner in owners:
            for identity in self._of(organization, owner):
                if not unfit_to_sign(identity.chain[0], now):
                    return identity, SmimeSigner(identity.chain[0], self._key(identity), identity.chain[1:])
        return None

    def openers(self, organization: str, owners: Sequence[str]) -> list[Opener]:
        """All that open what is encrypted to some owners; certificates may have expired. Raises SmimeStoreError."""
        return [
            Opener(identity.chain[0], self._key(identity))
            for owner in owners
            for identity in self._of(organization, owner)
        ]

    def has_own(self, organization: str, owner: str) -> bool:
        """Whether there is a certificate of ours for just this owner. Raises SmimeStoreError."""
        return bool(self._of(organization, owner))

    def add_identity(
        self, organization: str, owner: str, chain_pem: bytes, key_pem: bytes, *, author: str, note: str = ""
    ) -> SmimeIdentity:
        """Seal a key and keep it with its certificate. Raises NotAdded, StoreFailure."""
        if self._vault is None:
            raise NotAdded("a key is stored only sealed: set store.master_key")
        self._check_master_key()
        with quietly():
            chain = tuple(x509.load_pem_x509_certificates(chain_pem))
        identity = SmimeIdentity(fingerprint(chain[0])[:ID_DIGITS], organization, owner, chain, time.time())
        document = {"owner": owner, "chain": chain_pem.decode(), "added": identity.added} | _facts(chain[0])
        content = {_key_place(identity): self._vault.seal(key_pem, _key_place(identity))}
        self._store.apply({_IDENTITY: {identity.name: document}}, author=author, note=note, content=content)
        return identity

    def remove_identity(self, identity: SmimeIdentity, *, author: str, note: str = "") -> None:
        """Forget it with its key. Raises StoreFailure."""
        document: dict[str, Any] = {_IDENTITY: {identity.name: None}}
        self._store.apply(document, author=author, note=note, content={_key_place(identity): None})

    def _of(self, organization: str, owner: str) -> list[SmimeIdentity]:
        return [
            identity
            for identity in self.identities()
            if identity.organization == organization and identity.owner == owner
        ]

    def _key(self, identity: SmimeIdentity) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
        if identity.name not in self._keys:
            self._keys[identity.name] = self._unsealed(identity)
        return self._keys[identity.name]

    def _unsealed(self, identity: SmimeIdentity) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
        sealed = self._store.content(_key_place(identity))
        if sealed is None or self._vault is None:
            why = "its key is not in the store" if sealed is None else "store.master_key is not set"
            raise SmimeStoreError(f"S/MIME identity {identity.id} ({identity.owner}): {why}")
        try:
            key_pem = self._vault.open(sealed, _key_place(identity))
            # It was tried when it came; to check its numbers again takes an event loop up to five seconds.
            key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
        except (VaultError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            why = str(error) if isinstance(error, VaultError) else "its key cannot be read"
            raise SmimeStoreError(f"S/MIME identity {identity.id} ({identity.owner}): {why}") from error
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise SmimeStoreError(
                f"S/MIME identity {identity.id} ({identity.owner}): a key of a kind that is not used here"
            )
        return key

    def _check_master_key(self) -> None:
        """Whoever has another master key than the gateway would make what it cannot open. Raises NotAdded."""
        for identity in self.identities():
            try:
                self._unsealed(identity)
            except SmimeStoreError as error:
                raise NotAdded(f"{error}; put the right one in its place, or first remove this identity") from error


def _place(organization: str, owner: str) -> str:
    return f"{_RECIPIENT}/{organization}/{owner}"


def _key_place(identity: SmimeIdentity) -> str:
    return f"{_IDENTITY}/{identity.name}/key"


def _facts(certificate: x509.Certificate) -> dict[str, Any]:
    """The facts of a certificate that the history keeps."""
    facts = certificate_facts(certificate.public_bytes(Encoding.DER))
    return {
        "sha256": facts.sha256,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "key": facts.key,
    }


def _identity(name: str, document: dict[str, Any]) -> SmimeIdentity:
    organization, _, number = name.partition("/")
    try:
        with quietly():
            chain = tuple(x509.load_pem_x509_certificates(document["chain"].encode()))
        return SmimeIdentity(number, organization, document["owner"], chain, document["added"])
    except (KeyError, AttributeError, *MALFORMED) as error:
        raise SmimeStoreError(
            f"S/MIME identity {name} is stored in a form that this version does not know: {error}"
        ) from error


def _begins(identity: SmimeIdentity) -> float:
    return certificate_facts(identity.chain[0].public_bytes(Encoding.DER)).not_before
