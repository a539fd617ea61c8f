"""Certificates that we present: read them, and choose one by server name and kind of key.

`net.engine` reads them when it builds a context, never during a handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from gatepost.net.certificate import MALFORMED, CertificateError, certificate_facts, quietly
from gatepost.protocols.tls.names import matches
from gatepost.protocols.tls.token_uri import TokenUri, TokenUriError, is_token_uri, parse_token_uri
from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.protocols.tls.facts import CertificateFacts


type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
_PRIVATE_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)

MOST_RSA_BITS: Final = 8192
"""Of a key: with 16,384 each handshake would take a third of a second of CPU."""
_MOST_CHAIN: Final = 100_000  # octets, DER; clients with OpenSSL end handshakes in which 102,400 come


class IdentityError(ValueError):
    """A certificate or key that cannot be used; the text says which and why, for an administrator."""


class ServerIdentity(RedactedStruct, frozen=True):
    """A certificate to present, leaf first and then its intermediates, and its private key, both PEM.

    Of a key in a token `key_pem` is the `pkcs11:` URI.
    """

    REDACTED = ("key_pem",)

    chain_pem: bytes
    key_pem: bytes

    @property
    def in_token(self) -> bool:
        """Whether the key is in a token, so that only OpenSSL's provider can use it."""
        return is_token_uri(self.key_pem[:16].decode("ascii", "replace"))


class Credentials(RedactedStruct, frozen=True):
    """An identity that has been read and found to fit together; a key in a token is compared when it is used."""

    REDACTED = ("key",)

    chain_pem: bytes
    key: PrivateKey | TokenUri
    leaf: CertificateFacts

    @property
    def key_family(self) -> str:
        """The key's kind without its size ("RSA", "EC", …): a context holds one certificate of each."""
        return self.leaf.key.split("-", maxsplit=1)[0]


def read_identity(identity: ServerIdentity) -> Credentials:
    """Parse an identity. Raises IdentityError if it cannot be read or if key and certificate do not belong together."""
    try:
        with quietly():
            leaf, *others = x509.load_pem_x509_certificates(identity.chain_pem)
        facts = certificate_facts(leaf.public_bytes(serialization.Encoding.DER))
    except (*MALFORMED, CertificateError) as failure:
        raise IdentityError(f"the certificate chain cannot be read: {failure}") from failure
    if (size := sum(len(each.public_bytes(serialization.Encoding.DER)) for each in (leaf, *others))) > _MOST_CHAIN:
        raise IdentityError(
            f"the chain of {facts.subject} has {size} bytes, more than clients take: leave out what is not its issuer"
        )
    if facts.key.startswith("RSA-PSS"):
        raise IdentityError(f"the certificate {facts.subject} has a kind of key that cannot be used: {facts.key}")
    if identity.in_token:
        return Credentials(identity.chain_pem, _token_uri(identity, facts), facts)
    key = _private_key(identity, facts)
    public = _spki(key.public_key())
    if public != _spki(leaf.public_key()):
        if any(public == _spki(other.public_key()) for other in others):
            raise IdentityError(
                f"the private key does not belong to the first certificate of the file, {facts.subject}, but to a "
                "later one: put that one first, then its issuers in their order"
            )
        raise IdentityError(f"the private key does not belong to the certificate {facts.subject}")
    if isinstance(key, rsa.RSAPrivateKey):
        _try_rsa(key, facts.subject)
    return Credentials(identity.chain_pem, key, facts)


def _private_key(identity: ServerIdentity, facts: CertificateFacts) -> PrivateKey:
    """The key as it is read, unchecked. Raises IdentityError."""
    try:
        # Event loops read identities, and to check the numbers of a key of 8192 bits takes all threads five seconds.
        key = serialization.load_pem_private_key(identity.key_pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as failure:
        if b"PKCS#11 PROVIDER URI" in identity.key_pem:
            raise IdentityError(
                f"the key of {facts.subject} is in a token: name it by its pkcs11: URI instead of a file"
            ) from failure
        raise IdentityError(f"the private key of {facts.subject} cannot be read: {failure}") from failure
    if not isinstance(key, _PRIVATE_KEYS):
        raise IdentityError(f"the certificate {facts.subject} has a kind of key that cannot be used: {facts.key}")
    return key


def _try_rsa(key: rsa.RSAPrivateKey, subject: str) -> None:
    """Sign something. Raises IdentityError."""
    if key.key_size > MOST_RSA_BITS:
        raise IdentityError(f"the RSA key of {subject} has {key.key_size} bits; at most {MOST_RSA_BITS} are possible")
    try:
        key.public_key().verify(key.sign(b"", padding.PKCS1v15(), SHA256()), b"", padding.PKCS1v15(), SHA256())
    except (ValueError, InternalError, InvalidSignature) as failure:
        raise IdentityError(f"the private key of {subject} cannot be used: it does not sign") from failure


def _token_uri(identity: ServerIdentity, facts: CertificateFacts) -> TokenUri:
    try:
        return parse_token_uri(identity.key_pem.decode("ascii", "replace"))
    except TokenUriError as failure:
        raise IdentityError(f"the private key of {facts.subject}: {failure}") from failure


def _spki(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return] # every public key type has it, no base class says so
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def by_server_name(identities: Sequence[Credentials]) -> tuple[list[Credentials], dict[str, list[Credentials]]]:
    """The credentials for clients without a (known) server name, and those for each name a certificate bears.

    Of several certificates with a name the first of each key family is taken. Names may be wildcards ("*.b.example").
    """
    groups: dict[str, list[Credentials]] = {}
    for name in dict.fromkeys(name for credentials in identities for name in credentials.leaf.dns_names):
        groups[name] = _one_a_family([each for each in identities if name in each.leaf.dns_names])
    first = identities[0]
    kin = [each for each in identities if set(each.leaf.dns_names) & set(first.leaf.dns_names)]
    return _one_a_family([first, *kin]), groups


def _one_a_family(identities: Sequence[Credentials]) -> list[Credentials]:
    chosen: dict[str, Credentials] = {}
    for credentials in identities:
        chosen.setdefault(credentials.key_family, credentials)
    return list(chosen.values())


def bearing(identities: Sequence[ServerIdentity], host: str) -> list[CertificateFacts]:
    """The certificates that bear the name `host`, a name in full before a wildcard, as a handshake chooses.

    Raises IdentityError for an identity that cannot be read.
    """
    leaves = [read_identity(identity).leaf for identity in identities]
    exact = [leaf for leaf in leaves if host in leaf.dns_names]
    return exact or [leaf for leaf in leaves if matches(host, leaf)]


def foremost(identities: Sequence[ServerIdentity], host: str) -> list[ServerIdentity]:
    """Those that bear the name `host` first, otherwise in their order: the first is shown to clients without SNI.

    Raises IdentityError for an identity that cannot be read.
    """
    return sorted(identities, key=lambda identity: not bearing([identity], host))
