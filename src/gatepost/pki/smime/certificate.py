"""Check what an S/MIME certificate may do (RFC 8550 section 4): its owner, and why it cannot encrypt or sign now.

Used by `pki.smime.store`, `mail.outbound.smime` and the `smime` commands. Pure: the time is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.net.certificate import MALFORMED, certificate_facts, quietly
from gatepost.net.chain import extended_usages
from gatepost.policy.connectors.names import domain_name
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.times import day_text, utc

ID_DIGITS: Final = 16
"""Of a fingerprint, by which people name a certificate."""

_DER: Final = Encoding.DER
_USAGES: Final = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_LEAST_RSA: Final = 2048
_LEAST_CURVE: Final = 256
_NAMES: Final = 100  # of a certificate that are looked at


def owner_of(text: str) -> str:
    """An address or a domain in the form in which certificates are kept for it: lower case, domain in A-labels.

    Raises ValueError.
    """
    if "@" not in text:
        return domain_name(text)
    try:
        path = parse_address(text)
    except GrammarError as error:
        raise ValueError(f"{text!r} is not a mail address: {error}") from None
    return f"{path.local_part}@{domain_name(path.domain)}".lower()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, in hexadecimal."""
    return certificate_facts(certificate.public_bytes(_DER)).sha256


def addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """The mail addresses it bears, as `owner_of` has them: rfc822Name, and emailAddress in the subject."""
    texts: list[str] = []
    with quietly():
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            texts += names.get_values_for_type(x509.RFC822Name)[:_NAMES]
        except (x509.ExtensionNotFound, *MALFORMED):
            pass
        try:
            subject = certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)[:_NAMES]
            texts += [attribute.value for attribute in subject if isinstance(attribute.value, str)]
        except MALFORMED:
            pass
    return tuple(dict.fromkeys(owner for text in texts if (owner := _owner(text))))


def _owner(text: str) -> str:
    try:
        return owner_of(text) if "@" in text else ""
    except ValueError:
        return ""


def bears(certificate: x509.Certificate, owner: str) -> bool:
    """Whether it is for an address, or for a gateway of a domain: a DNS name, or an address in it (RFC 3183).

    owner: as `owner_of` has it.
    """
    own = addresses(certificate)
    if "@" in owner:
        return owner in own
    names = certificate_facts(certificate.public_bytes(_DER)).dns_names
    return owner in names or any(text.rpartition("@")[2] == owner for text in own)


def unfit_to_encrypt(certificate: x509.Certificate, now: float) -> str:
    """Explain why the gateway must not encrypt to a certificate, as a clause; "" if it may. now: seconds since 1970."""
    return _unfit(certificate, now, "encryption", _may_encrypt)


def fit(certificates: Iterable[x509.Certificate], now: float) -> tuple[list[x509.Certificate], list[str]]:
    """Those to which something may be encrypted, and why not to the others, a clause each."""
    good: list[x509.Certificate] = []
    bad: list[str] = []
    for certificate in certificates:
        why = unfit_to_encrypt(certificate, now)
        if why:
            bad.append(f"certificate {fingerprint(certificate)[:ID_DIGITS]} {why}")
        else:
            good.append(certificate)
    return good, bad


def unfit_to_sign(certificate: x509.Certificate, now: float) -> str:
    """Explain why the gateway must not sign with a certificate, as a clause; "" if it may."""
    return _unfit(certificate, now, "signatures", _may_sign)


def _may_encrypt(usage: x509.KeyUsage, public: object) -> bool:
    return usage.key_encipherment if isinstance(public, rsa.RSAPublicKey) else usage.key_agreement


def _may_sign(usage: x509.KeyUsage, _public: object) -> bool:
    return usage.digital_signature or usage.content_commitment


def _unfit(certificate: x509.Certificate, now: float, what: str, may: Callable[[x509.KeyUsage, object], bool]) -> str:
    try:
        with quietly():
            return _dates(certificate, now) or _purpose(certificate, what, may)
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        return f"cannot be read ({type(error).__name__})"


def _dates(certificate: x509.Certificate, now: float) -> str:
    moment = utc(now)
    if moment > certificate.not_valid_after_utc:
        return f"expired on {day_text(certificate.not_valid_after_utc.timestamp())}"
    if moment < certificate.not_valid_before_utc:
        return f"is not valid before {day_text(certificate.not_valid_before_utc.timestamp())}"
    return ""


def _purpose(certificate: x509.Certificate, what: str, may: Callable[[x509.KeyUsage, object], bool]) -> str:
    public = certificate.public_key()
    kind = certificate_facts(certificate.public_bytes(_DER)).key
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or kind.startswith("RSA-PSS"):
        return f"has a key of an unsupported kind ({kind})"
    if public.key_size < (_LEAST_RSA if isinstance(public, rsa.RSAPublicKey) else _LEAST_CURVE):
        return f"has a weak key ({kind})"
    usages = extended_usages(certificate)
    if usages is not None and not usages & _USAGES:
        return "is not for mail (extended key usage)"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if may(usage, public) else f"is not for {what} (key usage)"
