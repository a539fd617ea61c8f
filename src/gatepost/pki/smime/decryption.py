"""Decrypt CMS content (RFC 5652 section 6, RFC 5083) with our keys, and name its recipients.

Called by `mail.outbound.smime` in a thread. `cryptography` opens only DER with RSA PKCS #1 v1.5 and AES-CBC, and no
message that has a recipient of another kind, so the structure is read here and only the ciphers are the library's. What
comes out is not trusted: CBC proves nothing of who wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1, HashAlgorithm
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from gatepost.pki.smime import ber

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


_EMPTY: Final = 2  # octets of an element without content
_LEAST_TAG: Final = 12  # octets of a GCM tag, RFC 5084 section 3.2


class CannotDecrypt(ValueError):  # noqa: N818 - it names what was found
    """Encrypted content that stays so; the text says why, and holds nothing of it."""


class Opener(msgspec.Struct, frozen=True):
    """A certificate with the private key that opens what is encrypted to it."""

    certificate: x509.Certificate
    key: PrivateKey


class _Envelope(msgspec.Struct, frozen=True):
    """recipients: one for each RecipientInfo. algorithm: AlgorithmIdentifier of the content. rest: what follows it."""

    recipients: tuple[ber.Element, ...]
    algorithm: ber.Element
    content: ber.Element
    rest: tuple[ber.Element, ...]


def is_enveloped(cms: bytes) -> bool:
    """Whether it is encrypted content for at least one recipient, by AES, and nothing else. Never raises."""
    try:
        info = ber.read(cms)
        envelope = _envelope(info)
        known = _name(envelope.algorithm) in ber.CBC.keys() | ber.GCM.keys()
    except ber.BerError:
        return False
    is_whole = not cms[len(info.raw) :].strip()  # what a program wrote below it would leave in clear
    return bool(envelope.recipients) and known and len(envelope.content.raw) > _EMPTY and is_whole


def decrypted(cms: bytes, openers: Iterable[Opener]) -> tuple[bytes, Opener]:
    """The content and who opened it: the first that can. Raises CannotDecrypt."""
    try:
        envelope = _envelope(ber.read(cms))
    except ber.BerError as error:
        raise CannotDecrypt(f"its encrypted content cannot be read: {error}") from error
    failure = CannotDecrypt("it is not encrypted to any key that the gateway has for its recipients")
    for opener in openers:
        try:
            for key in _content_keys(envelope.recipients, opener):
                return _opened(envelope, key), opener
        except CannotDecrypt as error:
            failure = error
        except (ValueError, IndexError, TypeError, UnsupportedAlgorithm, InvalidTag, InvalidUnwrap) as error:
            failure = CannotDecrypt(f"it names a key of ours, which does not open it ({type(error).__name__})")
    raise failure


def _envelope(info: ber.Element) -> _Envelope:
    """RFC 5652 sections 3 and 6.1, RFC 5083 section 2.1. Raises BerError."""
    if info.tag != ber.SEQUENCE or info.part(0, ber.OID).octets not in {ber.ENVELOPED, ber.AUTH_ENVELOPED}:
        raise ber.BerError("it is not EnvelopedData")
    data = info.part(1, ber.context(0)).part(0, ber.SEQUENCE)
    data.part(0, ber.INTEGER)
    place = 2 if len(data.parts) > 1 and data.parts[1].tag == ber.context(0) else 1
    encrypted = data.part(place + 1, ber.SEQUENCE)
    encrypted.part(0, ber.OID)
    if len(encrypted.parts) <= 2 or encrypted.parts[2].tag not in {ber.context(0), ber.context(0, constructed=False)}:
        raise ber.BerError("it has no encrypted content")
    rest = data.parts[place + 2 :]
    return _Envelope(data.part(place, ber.SET).parts, encrypted.part(1, ber.SEQUENCE), encrypted.parts[2], rest)


def _name(algorithm: ber.Element) -> bytes:
    return algorithm.part(0, ber.OID).octets


# the key of the content


def _content_keys(recipients: tuple[ber.Element, ...], opener: Opener) -> Iterator[bytes]:
    """The key of the content out of each RecipientInfo that names the certificate."""
    for recipient in recipients:
        if recipient.tag == ber.SEQUENCE and isinstance(opener.key, rsa.RSAPrivateKey):
            if _is_for(recipient.parts[1], opener.certificate):
                yield _transported(recipient, opener.key)
        elif recipient.tag == ber.context(1) and isinstance(opener.key, ec.EllipticCurvePrivateKey):
            for part in recipient.parts[-1].parts:
                if _is_for(part.parts[0], opener.certificate):
                    yield _agreed(recipient, part.part(1, ber.OCTET_STRING).octets, opener.key)


def _is_for(identifier: ber.Element, certificate: x509.Certificate) -> bool:
    """Issuer and serial number, or the key's identifier (RFC 5652 section 6.2.1)."""
    if identifier.tag == ber.SEQUENCE:
        serial = int.from_bytes(identifier.part(1, ber.INTEGER).octets, signed=True)
        return serial == certificate.serial_number and bytes(identifier.parts[0].raw) == ber.issuer_of(certificate)
    try:
        key_identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return False
    # [0] IMPLICIT OCTET STRING, in a KeyAgreeRecipientInfo a sequence that begins with one.
    inner = identifier.parts[0].octets if identifier.parts else identifier.octets
    return inner == key_identifier


def _transported(recipient: ber.Element, key: rsa.RSAPrivateKey) -> bytes:
    algorithm, encrypted = recipient.part(2, ber.SEQUENCE), recipient.part(3, ber.OCTET_STRING).octets
    name = _name(algorithm)
    if name == ber.RSA:
        return key.decrypt(encrypted, padding.PKCS1v15())
    if name == ber.OAEP:
        return key.decrypt(encrypted, _oaep(algorithm))
    raise CannotDecrypt("its key is encrypted by an unknown method")


def _oaep(algorithm: ber.Element) -> padding.OAEP:
    """RFC 4055 section 4.1: SHA-1 where nothing else is said."""
    digest: type[HashAlgorithm] = SHA1
    mask: type[HashAlgorithm] = SHA1
    for part in algorithm.parts[1].parts if len(algorithm.parts) > 1 else ():
        if part.tag == ber.context(0):
            digest = _hash(_name(part.part(0, ber.SEQUENCE)))
        elif part.tag == ber.context(1):
            mask = _hash(_name(_parameters(part.part(0, ber.SEQUENCE), ber.MGF1)))
        else:
            raise CannotDecrypt("its key is encrypted with a label")
    return padding.OAEP(padding.MGF1(mask()), digest(), None)


def _parameters(algorithm: ber.Element, wanted: bytes) -> ber.Element:
    if _name(algorithm) != wanted:
        raise CannotDecrypt("its key is encrypted by an unknown method")
    return algorithm.part(1, ber.SEQUENCE)


def _hash(name: bytes) -> type[HashAlgorithm]:
    if name not in ber.HASHES:
        raise CannotDecrypt("its key is encrypted with an unknown digest")
    return ber.HASHES[name]


def _agreed(recipient: ber.Element, wrapped: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """RFC 5753 sections 3.1 and 7.2, with a key that the sender made for this message."""
    originator = recipient.part(1, ber.context(0)).part(0, ber.context(1))
    algorithm = recipient.parts[-2]
    wrap = algorithm.part(1, ber.SEQUENCE)
    if _name(algorithm) not in ber.ECDH or _name(wrap) not in ber.WRAP:
        raise CannotDecrypt("its key was agreed by an unknown method")
    material = recipient.parts[2].part(0, ber.OCTET_STRING).octets if recipient.parts[2].tag == ber.context(1) else b""
    public = load_der_public_key(_public_key(originator, key))
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise CannotDecrypt("its key was agreed with a key of another kind")
    size = ber.WRAP[_name(wrap)]
    shared = key.exchange(ec.ECDH(), public)
    derived = X963KDF(ber.ECDH[_name(algorithm)](), size, ber.shared_info(bytes(wrap.raw), size, material)).derive(
        shared
    )
    return aes_key_unwrap(derived, wrapped)


def _public_key(originator: ber.Element, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The sender's key as SubjectPublicKeyInfo; its curve is ours, and is mostly left out."""
    own = ber.read(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).part(0, ber.SEQUENCE)
    return ber.write(ber.SEQUENCE, bytes(own.raw), bytes(originator.parts[1].raw))


# the content


def _opened(envelope: _Envelope, key: bytes) -> bytes:
    name, content = _name(envelope.algorithm), envelope.content.octets
    if name in ber.GCM:
        _check(key, ber.GCM[name])
        parameters = envelope.algorithm.part(1, ber.SEQUENCE)
        return _opened_gcm(envelope, key, parameters.part(0, ber.OCTET_STRING).octets, content)
    if name in ber.CBC:
        _check(key, ber.CBC[name])
        return _opened_cbc(algorithms.AES(key), envelope.algorithm.part(1, ber.OCTET_STRING).octets, content)
    raise CannotDecrypt("it is encrypted by a cipher that is not allowed here")


def _check(key: bytes, size: int) -> None:
    if len(key) != size:
        raise CannotDecrypt("its key has the wrong length")


def _opened_cbc(cipher: algorithms.AES, vector: bytes, content: bytes) -> bytes:
    decryptor = Cipher(cipher, modes.CBC(vector)).decryptor()
    unpadder = PKCS7(ber.BLOCK * 8).unpadder()
    return b"".join([*(unpadder.update(piece) for piece in _through(decryptor, content)), unpadder.finalize()])


def _opened_gcm(envelope: _Envelope, key: bytes, nonce: bytes, content: bytes) -> bytes:
    """RFC 5084 section 3.2. Authenticated attributes count as a SET OF (RFC 5083 section 2.2)."""
    rest = [element for element in envelope.rest if element.tag in {ber.OCTET_STRING, ber.context(1)}]
    attributes = next((bytes(element.raw) for element in rest if element.tag == ber.context(1)), b"")
    tags = [element.octets for element in rest if element.tag == ber.OCTET_STRING]
    if len(tags) != 1:
        raise CannotDecrypt("its authentication tag is missing")
    decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce, tags[0], min_tag_length=_LEAST_TAG)).decryptor()
    if attributes:
        decryptor.authenticate_additional_data(bytes((ber.SET,)) + attributes[1:])
    return b"".join(_through(decryptor, content))


def _through(decryptor: CipherContext, content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), ber.PIECE):
        yield decryptor.update(content[at : at + ber.PIECE])
    yield decryptor.finalize()
