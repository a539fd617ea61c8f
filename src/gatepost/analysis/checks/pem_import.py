"""Import a certificate from an administrator's files: read, ordered, and matched with its key.

Used by `gatepost certificate add`. PEM, DER, PKCS#7 and PKCS#12 come in; out comes what a listener presents, leaf
first, with a sentence for everything that was put right on the way. What cannot be put right is one error that says
what, where, why and what to do. Nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from gatepost.analysis.checks.chain import choose_leaf, public_key
from gatepost.analysis.checks.chain_file import ChainFileError, is_pkcs12, parse_file
from gatepost.analysis.checks.pkcs12_file import CPU_SECONDS, Pkcs12Error, TooSlow, open_pkcs12
from gatepost.net.certificate import certificate_facts, issuer_text, parse, quietly, subject_text
from gatepost.net.chain import Purpose, judge
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.net.path import climb, issuer_places, self_issued
from gatepost.pki.smime import ber
from gatepost.protocols.tls.facts import ChainStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.anchors import TrustAnchors


_MAX_KEY: Final = 1024 * 1024
_PRIVATE: Final = b"PRIVATE KEY-----"
_SPKI: Final = PublicFormat.SubjectPublicKeyInfo
_SEALED: Final = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----([^-]*)-----END")
_MOST_ROUNDS: Final = 10_000_000
"""Of hashing a password: some seconds, in which all threads wait. OpenSSL makes files with 2048."""
_PARAMETERS: Final = 512  # octets, with the salt
_SCRYPT: Final = ber.write(ber.OID, ber.oid("1.3.6.1.4.1.11591.4.11"))
_PKCS5: Final = b"\x06\x09" + ber.oid("1.2.840.113549.1.5")
_PKCS12: Final = b"\x06\x0a" + ber.oid("1.2.840.113549.1.12.1")
_DERIVATION: Final = re.compile(b"%b|(?:%b|%b)." % tuple(map(re.escape, (_SCRYPT, _PKCS5, _PKCS12))), re.DOTALL)


class PasswordNeeded(ChainFileError):  # noqa: N818 - it names what happened
    """The file is encrypted, and no password was given, or not the right one."""


@dataclass(frozen=True, slots=True)
class PemSource:
    """The input of an import.

    source: its name in the text of an error. key_pem: the key, if it came separately (`key_of`). purpose: the end of a
    connection that it is for.
    """

    content: bytes = field(repr=False)
    source: str
    key_pem: bytes = field(default=b"", repr=False)
    password: bytes | None = field(default=None, repr=False)
    purpose: Purpose = "server"


@dataclass(frozen=True, slots=True)
class PemImport:
    """certificates: DER, leaf first, without the root. key_pem: its key, b"" if none came. notes: what was put right.

    warnings: problems that partners may meet, and what to do.
    """

    certificates: tuple[bytes, ...]
    key_pem: bytes = field(repr=False)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def taken_in(
    given: PemSource, *, known: Sequence[bytes] = (), anchors: TrustAnchors | None = None, now: float
) -> PemImport:
    """Read the certificates, and the key if it is among them, and make them fit to be presented.

    known: certificates (DER) that may complete the chain. anchors: what partners are thought to trust; None leaves that
    out. now: seconds since 1970. Raises ChainFileError, PasswordNeeded.
    """
    with quietly():
        certificates, own_key = _read(given)
        key_pem = given.key_pem or own_key
        public = _public(key_pem) if key_pem else b""
        leaf = certificates[choose_leaf(certificates, public)]
        if public and public_key(parse(leaf)) != public:
            raise ChainFileError(_no_match(leaf, certificates, given.source))
        whole = _path(leaf, certificates, known, now)
        path = whole[:-1] if len(whole) > 1 and self_issued(parse(whole[-1])) else whole
        if key_pem:
            _usable(path, key_pem)
        notes = tuple(_notes(leaf, certificates, path))
        return PemImport(tuple(path), key_pem, notes, tuple(_warnings(whole, anchors, given.purpose, now)))


def key_of(content: bytes, source: str, password: bytes | None = None) -> bytes:
    """The private key in `content` (PEM or DER, PKCS#8 or older forms) as PEM without a password.

    Raises ChainFileError, PasswordNeeded.
    """
    if len(content) > _MAX_KEY:
        raise ChainFileError(f"{source}: larger than {_MAX_KEY} bytes; a file with one private key is expected")
    pem = b"-----BEGIN" in content
    if pem and _PRIVATE not in content:
        raise ChainFileError(f"{source}: no private key in it; name the file with -----BEGIN PRIVATE KEY-----")
    load = load_pem_private_key if pem else load_der_private_key
    if password is not None:
        _check_rounds(_sealed_der(content) if pem else content, source)
    try:
        # `read_identity` tries it; to check the numbers of a large one, the library holds all threads for a minute.
        key = load(content, password, unsafe_skip_rsa_key_validation=True)
    except TypeError as failure:  # a password where none is needed, or none where one is
        if password is not None:
            return key_of(content, source)
        raise PasswordNeeded(f"{source}: the private key is encrypted; give its password") from failure
    except (ValueError, UnsupportedAlgorithm, InternalError) as failure:
        # With a wrong password one padding in 256 looks right, and then it is the key that cannot be read.
        if password is not None and (b"ENCRYPTED" in content or "decrypt" in str(failure).lower()):
            raise PasswordNeeded(f"{source}: the password is not the right one") from failure
        # What the library says of it is not told: it is about its own calls, and no help to who pasted the key.
        text = "the private key cannot be read; it must be a whole PEM or DER file, of RSA, ECDSA or Ed25519"
        raise ChainFileError(f"{source}: {text}") from failure
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _sealed_der(pem: bytes) -> bytes:
    """What an encrypted key holds; b"" if none is there, or it is not base64, which the library refuses too."""
    sealed = _SEALED.search(pem)
    try:
        return base64.b64decode(sealed[1] + b"==") if sealed else b""
    except binascii.Error:
        return b""


def _check_rounds(der: bytes, source: str) -> None:
    """Refuse what would take minutes or gigabytes to decrypt, as far as that stands in the open. Raises ChainFileError.

    RFC 8018 appendix A, RFC 7914 section 7.1, RFC 7292 section 4.
    """
    try:
        rounds = _numbers(ber.read(der).parts[-1], 1) if is_pkcs12(der) else 0  # of MacData
        for match in _DERIVATION.finditer(der):
            parameters = ber.read(der[match.end() : match.end() + _PARAMETERS])
            rounds += _numbers(parameters, 3 if match[0] == _SCRYPT else 1)  # N, r and p, or how often it is hashed
    except ber.BerError as failure:
        if is_pkcs12(der):
            raise ChainFileError(f"{source}: PKCS#12 that cannot be read: {failure}; export it again") from failure
        raise ChainFileError(f"{source}: an encrypted key that cannot be read: {failure}; export it again") from failure
    if rounds > _MOST_ROUNDS:
        raise ChainFileError(
            f"{source}: to try a password takes {rounds} rounds, more than {_MOST_ROUNDS}; export it again with fewer"
        )


def _numbers(element: ber.Element, count: int) -> int:
    """The product of the first integers in it, 0 for none."""
    integers = [int.from_bytes(part.octets) for part in element.parts if part.tag == ber.INTEGER][:count]
    return math.prod(integers) if integers else 0


def chain_pem_of(certificates: Sequence[bytes]) -> bytes:
    """Certificates as the store and TLS contexts have them."""
    return b"".join(parse(der).public_bytes(Encoding.PEM) for der in certificates)


def _read(given: PemSource) -> tuple[list[bytes], bytes]:
    """The certificates, DER, and the key, PEM, b"" if there is none."""
    if is_pkcs12(given.content):
        return _from_pkcs12(given)
    file = parse_file(given.content, given.source)
    key = key_of(given.content, given.source, given.password) if file.has_key and not given.key_pem else b""
    return list(file.certificates), key


def _from_pkcs12(given: PemSource) -> tuple[list[bytes], bytes]:
    source, password = given.source, given.password
    _check_rounds(given.content, source)
    try:
        certificates, key = open_pkcs12(given.content, password)
    except TooSlow as failure:
        raise ChainFileError(
            f"{source}: to try a password takes more than {CPU_SECONDS} seconds; export it again with fewer rounds"
        ) from failure
    except Pkcs12Error as failure:
        if "password" in str(failure).lower():
            wrong = (
                "the password is not the right one" if password is not None else "it is encrypted; give its password"
            )
            raise PasswordNeeded(f"{source}: PKCS#12: {wrong}") from failure
        raise ChainFileError(
            f"{source}: PKCS#12 that cannot be read: {str(failure)[:200]}; export it again"
        ) from failure
    if not certificates:
        raise ChainFileError(f"{source}: PKCS#12 without a certificate; export it again, with the certificate")
    return certificates, key


def _public(key_pem: bytes) -> bytes:
    key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    return key.public_key().public_bytes(Encoding.DER, _SPKI)


def _no_match(leaf: bytes, certificates: Sequence[bytes], source: str) -> str:
    facts = certificate_facts(leaf)
    many = (
        f"any of its {len(certificates)} certificates" if len(certificates) > 1 else f"its certificate {facts.subject}"
    )
    return (
        f"{source}: the private key does not belong to {many}; name the key with which this certificate was requested "
        "(after a renewal: the new one)"
    )


def _usable(path: Sequence[bytes], key_pem: bytes) -> None:
    try:
        read_identity(ServerIdentity(chain_pem_of(path), key_pem))
    except IdentityError as failure:
        raise ChainFileError(f"{failure}; RSA of 2048 bits or more, or EC on P-256 or P-384 is expected") from failure


def _path(leaf: bytes, given: Sequence[bytes], known: Sequence[bytes], now: float) -> list[bytes]:
    """Leaf, intermediates and root: from what was given as far as that goes, then from what is known."""
    path = climb(leaf, given, now)
    return path if self_issued(parse(path[-1])) else climb(leaf, [*path, *known], now)


def _notes(leaf: bytes, given: Sequence[bytes], path: Sequence[bytes]) -> list[str]:
    unique = list(dict.fromkeys(given))
    kept = [der for der in unique if der in path]
    notes = []
    if kept != [der for der in path if der in unique]:
        notes.append("the certificates were not in order; they are now, the gateway's own first")
    added = [subject_text(parse(der)) for der in path if der not in unique]
    notes += [f"the chain was completed with {subject}, which was known already" for subject in added]
    for der in unique:
        if der in path or der == leaf:
            continue
        certificate = parse(der)
        root = self_issued(certificate)
        why = "a root, which partners must have themselves" if root else "it is not part of the chain"
        notes.append(f"left out: {subject_text(certificate)} ({why})")
    return notes


def _warnings(path: Sequence[bytes], anchors: TrustAnchors | None, purpose: Purpose, now: float) -> list[str]:
    facts, top = certificate_facts(path[0]), parse(path[-1])
    result = []
    if facts.not_after <= now:
        result.append("it has expired: nobody who checks it will accept it")
    elif facts.not_before > now:
        result.append("it is not valid yet: nobody who checks it will accept it before it is")
    elif anchors is not None:
        verdict = judge(path, anchors, now=now, purpose=purpose)
        if verdict.status is ChainStatus.INCOMPLETE:
            places = " or ".join(issuer_places(top)) or "its authority"
            result.append(
                f"the chain is incomplete: the certificate of {issuer_text(top)} is missing; get it from {places} "
                "and add both together"
            )
        elif not verdict.trusted:
            result.append(f"by {anchors.source} it is {verdict.status}: {verdict.detail}")
    return result
