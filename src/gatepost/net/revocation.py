"""Read CRLs (RFC 5280) and OCSP responses (RFC 6960, RFC 5019): whether a certificate is revoked.

Bytes in, values or one error out: `net.lookups.revocation` fetches, keeps and decides. Nothing here is believed before
its signature is verified with the key that issued the certificate in question.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from gatepost.net.certificate import MALFORMED, has_slow_key, is_authority, issuer_text, quietly, subject_text
from gatepost.times import second_text, utc
from gatepost.values import replace

MAX_LIST_BYTES: Final = 32 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 64 * 1024
_SKEW: Final = 300.0  # seconds that an authority's clock may differ from ours
_WITHOUT_END: Final = 24 * 3600.0  # how old a response without nextUpdate may be
_MAX_PLACES: Final = 4  # addresses of a certificate that are looked at
_MAX_SINGLES: Final = 100  # statements in one OCSP response
_PRIME: Final = (1 << 61) - 1
_REASONS: Final = tuple(x509.ReasonFlags)
_WEAK: Final = (hashes.MD5, hashes.SHA1)
_LIST_EXTENSIONS: Final = (x509.AuthorityKeyIdentifier, x509.CRLNumber, x509.IssuingDistributionPoint)
_ENTRY_EXTENSIONS: Final = (x509.CRLReason, x509.InvalidityDate)


class RevocationError(Exception):
    """A CRL or an OCSP response that says nothing about the certificate; the text says why, for an administrator."""


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """The status of one certificate by one source.

    status: "unknown" is only said by OCSP: the responder does not know the certificate. reason: RFC 5280 section
    5.3.1 ("keyCompromise"), "" if none is given. revoked: seconds since 1970 UTC, 0 unless revoked. until: when the
    source's word ends, seconds since 1970; 0 if it does not say. since: when OCSP said it (thisUpdate), which makes no
    difference to what is said.
    """

    status: Literal["good", "revoked", "unknown"]
    until: float
    reason: str = ""
    revoked: float = 0.0
    since: float = field(default=0.0, compare=False)


class RevocationUrls(msgspec.Struct, frozen=True):
    """The sources of its status that a certificate names. crl, ocsp: http addresses, at most four each.

    unusable: other places (ldap, https, other issuers' lists) in words; "" if there are none.
    """

    crl: tuple[str, ...]
    ocsp: tuple[str, ...]
    unusable: str = ""


def published(certificate: x509.Certificate) -> RevocationUrls:
    """The CRL distribution points and OCSP responders of a certificate. Never raises.

    https is left out: to check its certificate another list would be needed (RFC 5280 section 8).
    """
    unusable: list[str] = []
    with quietly():
        lists = _http(_list_places(certificate, unusable), unusable)
        responders = _http(_responders(certificate), unusable)
    return RevocationUrls(lists, responders, ", ".join(unusable)[:300])


def _http(places: Iterable[str], unusable: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for place in places:
        if place.lower().startswith("http://"):
            found.append(place)
        else:
            unusable.append(f"{place.partition(':')[0][:20]} address")
    return tuple(found[:_MAX_PLACES])


def _list_places(certificate: x509.Certificate, unusable: list[str]) -> list[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    except MALFORMED:
        unusable.append("distribution points that cannot be read")
        return []
    places: list[str] = []
    for point in points:
        if point.crl_issuer or point.reasons:
            unusable.append("list of another issuer or of some reasons only")
        elif point.full_name is None:
            unusable.append("distribution point without address")
        else:
            # The addresses of one point are of one list: the first that can be fetched is enough, the rest are spares.
            places += [name.value for name in point.full_name if isinstance(name, x509.UniformResourceIdentifier)]
    return places


def _responders(certificate: x509.Certificate) -> list[str]:
    try:
        places = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    return [
        place.access_location.value
        for place in places
        if place.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(place.access_location, x509.UniformResourceIdentifier)
    ]


class RevocationList:
    """One verified CRL, kept as 13 octets for each revoked certificate.

    this_update, next_update: seconds since 1970 UTC. size: octets that it takes here.
    """

    __slots__ = ("_dates", "_reasons", "_scope", "_serials", "next_update", "size", "this_update")

    def __init__(
        self,
        entries: Sequence[tuple[int, int, int]],
        scope: x509.IssuingDistributionPoint | None,
        *,
        this_update: float,
        next_update: float,
    ) -> None:
        """entries: serial number by `_shortened`, time of revocation, place of the reason in `_REASONS`; sorted."""
        self._serials = array("Q", (entry[0] for entry in entries))
        self._dates = array("I", (entry[1] for entry in entries))
        self._reasons = bytes(entry[2] for entry in entries)
        self._scope = scope
        self.this_update = this_update
        self.next_update = next_update
        self.size = 1024 + 13 * len(entries)

    def __len__(self) -> int:
        return len(self._serials)

    def check_times(self, now: float) -> None:
        """Raises RevocationError unless the list holds at `now`."""
        _check_times(self.this_update, self.next_update, now, "the list")

    def status_of(self, certificate: x509.Certificate, now: float) -> RevocationStatus:
        """The status of a certificate of its issuer at `now`. Raises RevocationError."""
        self.check_times(now)
        if self._scope is not None:
            _check_scope(self._scope, certificate)
        serial = _shortened(certificate.serial_number)
        place = bisect_left(self._serials, serial)
        if place == len(self._serials) or self._serials[place] != serial:
            return RevocationStatus("good", self.next_update)
        reason = _REASONS[self._reasons[place]]
        if reason is x509.ReasonFlags.remove_from_crl:
            return RevocationStatus("good", self.next_update)
        said = "" if reason is x509.ReasonFlags.unspecified else str(reason.value)
        return RevocationStatus("revoked", self.next_update, said, float(self._dates[place]))


def read_list(der: bytes, issuer: x509.Certificate) -> RevocationList:
    """Parse and verify a complete CRL of `issuer`. Raises RevocationError. Costs about 70 ms per MiB: not on a loop.

    Indirect and delta lists, lists for some reasons only and lists with an unknown critical extension are refused (RFC
    5280 sections 5.2 and 5.3). Whether the list is current is checked later, by `RevocationList.status_of`.
    """
    if len(der) > MAX_LIST_BYTES:
        raise RevocationError(f"the list is larger than {MAX_LIST_BYTES} bytes")
    with quietly():
        try:
            revocation_list = x509.load_der_x509_crl(der)
            _check_list(revocation_list, der, issuer)
            scope = _scope(revocation_list)
            entries = sorted(_entry(entry) for entry in revocation_list)
            begin, end = revocation_list.last_update_utc.timestamp(), _next_update(revocation_list)
            return RevocationList(entries, scope, this_update=begin, next_update=end)
        except MALFORMED as failure:
            raise RevocationError(f"the list cannot be read: {failure}"[:300]) from failure


def _check_list(found: x509.CertificateRevocationList, der: bytes, issuer: x509.Certificate) -> None:
    if found.issuer != issuer.subject:
        raise RevocationError(f"the list is of another issuer than {subject_text(issuer)}")
    _check_usage(issuer)
    _verify(
        issuer,
        found.signature,
        _signed_part(der),
        found.signature_hash_algorithm,
        found.signature_algorithm_parameters,
    )
    for extension in found.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise RevocationError("the list is a delta, which says nothing without its base")
        if extension.critical and not isinstance(extension.value, _LIST_EXTENSIONS):
            raise RevocationError(f"the list has an unknown critical extension {extension.oid.dotted_string}")


def _next_update(found: x509.CertificateRevocationList) -> float:
    if found.next_update_utc is None:
        raise RevocationError("the list does not say when the next one comes (nextUpdate)")
    return found.next_update_utc.timestamp()


def _check_usage(issuer: x509.Certificate) -> None:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return  # a private authority without it may sign anything
    if not usage.crl_sign:
        raise RevocationError(f"{subject_text(issuer)} may not sign lists (keyUsage without cRLSign)")


def _signed_part(der: bytes) -> bytes:
    """The tbsCertList as it was sent. The library would write it anew, for 30 ms per MiB in which nothing else runs."""
    start = _header(der, 0)[0]
    content, length = _header(der, start)
    return der[start : content + length]


def _header(der: bytes, at: int) -> tuple[int, int]:
    """Begin and length of the content of the DER element at `at`. The library has parsed it: it is whole."""
    first = der[at + 1]
    if first < 0x80:
        return at + 2, first
    octets = first & 0x7F
    return at + 2 + octets, int.from_bytes(der[at + 2 : at + 2 + octets])


def _scope(found: x509.CertificateRevocationList) -> x509.IssuingDistributionPoint | None:
    try:
        scope = found.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return None
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name:
        raise RevocationError("the list is indirect, or for some reasons or attribute certificates only")
    return scope


def _check_scope(scope: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> None:
    """RFC 5280 section 6.3.3 (b): an authority may publish several lists, and this must be the certificate's."""
    authority = _is_authority(certificate)
    if (scope.only_contains_user_certs and authority) or (scope.only_contains_ca_certs and not authority):
        raise RevocationError("the list is for another kind of certificate (issuingDistributionPoint)")
    if scope.full_name is not None:
        own = _list_places(certificate, [])
        if not any(isinstance(name, x509.UniformResourceIdentifier) and name.value in own for name in scope.full_name):
            raise RevocationError("the list is of another distribution point (issuingDistributionPoint)")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return is_authority(certificate)
    except MALFORMED as failure:
        raise RevocationError(f"what the certificate is for cannot be read: {failure}"[:300]) from failure


def _shortened(serial: int) -> int:
    """A serial number of up to 20 octets as one of eight; no two of a list meet but by a chance of 2^-61 a pair."""
    return serial % _PRIME


def _entry(entry: x509.RevokedCertificate) -> tuple[int, int, int]:
    reason = x509.ReasonFlags.unspecified
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = extension.value.reason
        elif extension.critical and not isinstance(extension.value, _ENTRY_EXTENSIONS):
            raise RevocationError(f"an entry has an unknown critical extension {extension.oid.dotted_string}")
    moment = max(0, min(int(entry.revocation_date_utc.timestamp()), 0xFFFFFFFF))
    return _shortened(entry.serial_number), moment, _REASONS.index(reason)


def ocsp_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The question for one certificate, DER. SHA-1 names it, as RFC 5019 section 2.1.1 asks; there is no nonce."""
    with quietly():
        try:
            builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303 - see above
            return builder.build().public_bytes(serialization.Encoding.DER)
        except MALFORMED as failure:
            raise RevocationError(f"no OCSP request can be made for the certificate: {failure}"[:300]) from failure


def read_response(der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: float) -> RevocationStatus:
    """The status of a certificate at `now` by an OCSP response. Raises RevocationError.

    It must be signed by the issuer, or by a certificate in the response that the issuer made for this (id-kp-
    OCSPSigning; RFC 6960 section 4.2.2.2), which is not itself looked for among the revoked.
    """
    if len(der) > MAX_RESPONSE_BYTES:
        raise RevocationError(f"the OCSP response is larger than {MAX_RESPONSE_BYTES} bytes")
    with quietly():
        try:
            response = ocsp.load_der_ocsp_response(der)
            _check_success(response)
            signer = _signer(response, issuer, now)
            _verify(signer, response.signature, response.tbs_response_bytes, response.signature_hash_algorithm, None)
            _check_extensions(response)
            return _statement(response, certificate, issuer, now)
        except MALFORMED as failure:
            raise RevocationError(f"the OCSP response cannot be read: {failure}"[:300]) from failure


def _check_success(response: ocsp.OCSPResponse) -> None:
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise RevocationError(f"the OCSP responder says {response.response_status.name.lower()}")


def _check_extensions(response: ocsp.OCSPResponse) -> None:
    for extension in response.extensions:
        if extension.critical and not isinstance(extension.value, x509.OCSPNonce):
            raise RevocationError(f"the OCSP response has an unknown critical extension {extension.oid.dotted_string}")


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> x509.Certificate:
    """The certificate whose key must have signed: the issuer's, or that of a responder it has delegated."""
    if _is_responder(response, issuer):
        return issuer
    delegate = next(
        (certificate for certificate in response.certificates if _is_responder(response, certificate)), None
    )
    if delegate is None:
        raise RevocationError("the OCSP response is signed by neither the issuer nor a certificate sent with it")
    name = subject_text(delegate)
    if has_slow_key(delegate):  # as in chains: it is verified where mail waits meanwhile
        raise RevocationError(f"the OCSP responder {name} has an RSA key with an exponent of more than 256 bits")
    try:
        delegate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as failure:
        said = f"the OCSP responder {name} is not of the issuer but of {issuer_text(delegate)}"
        raise RevocationError(said) from failure
    try:
        usages = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = x509.ExtendedKeyUsage([])
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
        raise RevocationError(f"the OCSP responder {name} was not made for OCSP (id-kp-OCSPSigning)")
    moment = utc(now)
    if not delegate.not_valid_before_utc <= moment <= delegate.not_valid_after_utc:
        raise RevocationError(f"the certificate of the OCSP responder {name} has expired or is not valid yet")
    return delegate


def _is_responder(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    return response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _statement(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate, now: float
) -> RevocationStatus:
    for number, single in enumerate(response.responses):
        if number >= _MAX_SINGLES:
            break
        if _is_about(single, certificate, issuer):
            ends = single.next_update_utc.timestamp() if single.next_update_utc else 0.0
            begin = single.this_update_utc.timestamp()
            _check_times(begin, ends or begin + _WITHOUT_END, now, "the OCSP response")
            return replace(_read_single(single, ends), since=begin)
    raise RevocationError("the OCSP response is about other certificates")


def _is_about(single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the certID is this certificate's (RFC 6960 section 4.1.1), under the hash that the responder chose."""
    if single.serial_number != certificate.serial_number:
        return False
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, single.hash_algorithm)
    ours = builder.build()
    return (ours.issuer_name_hash, ours.issuer_key_hash) == (single.issuer_name_hash, single.issuer_key_hash)


def _read_single(single: ocsp.OCSPSingleResponse, ends: float) -> RevocationStatus:
    match single.certificate_status:
        case ocsp.OCSPCertStatus.GOOD:
            return RevocationStatus("good", ends)
        case ocsp.OCSPCertStatus.REVOKED:
            reason = single.revocation_reason
            moment = single.revocation_time_utc
            said = str(reason.value) if reason and reason is not x509.ReasonFlags.unspecified else ""
            return RevocationStatus("revoked", ends, said, moment.timestamp() if moment else 0.0)
        case _:
            return RevocationStatus("unknown", ends)


def _check_times(begin: float, end: float, now: float, what: str) -> None:
    if begin > now + _SKEW:
        raise RevocationError(
            f"{what} is of the future, {second_text(begin)} (thisUpdate); is one of the clocks wrong?"
        )
    if end < now - _SKEW:
        raise RevocationError(f"{what} has expired on {second_text(end)} (nextUpdate)")


def _verify(
    signer: x509.Certificate,
    signature: bytes,
    signed: bytes,
    algorithm: hashes.HashAlgorithm | None,
    parameters: object,
) -> None:
    """Raises RevocationError unless `signature` is the signer's. parameters: a padding, if the message names one."""
    if isinstance(algorithm, _WEAK):
        raise RevocationError(f"it is signed with {algorithm.name.upper()}, which no longer proves anything")
    key = signer.public_key()
    try:
        match key, algorithm:
            case rsa.RSAPublicKey(), hashes.HashAlgorithm():
                chosen = parameters if isinstance(parameters, padding.PSS) else padding.PKCS1v15()
                key.verify(signature, signed, chosen, algorithm)
            case ec.EllipticCurvePublicKey(), hashes.HashAlgorithm():
                key.verify(signature, signed, ec.ECDSA(algorithm))
            case ((ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey()), None):
                key.verify(signature, signed)
            case _:
                raise RevocationError("its signature algorithm is not that of its signer's key, or is not known here")
    except InvalidSignature as failure:
        raise RevocationError(f"its signature is not that of {subject_text(signer)}") from failure
