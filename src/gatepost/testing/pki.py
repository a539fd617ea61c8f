"""A public key infrastructure for tests: one root, one intermediate, and leaves of every kind, as PEM files.

Keys are ECDSA P-256 unless asked otherwise (RSA takes a tenth of a second each).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp as ocsp_messages
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One end-entity certificate. chain: leaf and intermediate, as a server is given them; key: mode 0600."""

    name: str
    chain: Path
    certificate: Path
    key: Path

    @property
    def x509(self) -> x509.Certificate:
        """The certificate itself."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    @property
    def sha256(self) -> str:
        """Thumbprint, lower-case hexadecimal."""
        return self.x509.fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: Key


class Pki:
    """A root and an intermediate authority; `leaf` makes as many certificates as a test wants.

    folder: where the PEM files are; without one, a temporary folder, removed at the end of `with`.
    root, intermediate: PEM files; root is what goes into trust_anchors. Two Pki objects do not trust each other.
    Leaves made with `crl` or `ocsp` say where their status is to be had; `gatepost.testing.status_server` serves it,
    and `revoke` changes it.
    """

    def __init__(self, folder: Path | None = None, organization: str = "Gatepost tests") -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-pki-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._organization = organization
        key = make_key("ecdsa")
        self._root = _Authority(self._authority(f"{organization} root", key, None), key)
        key = make_key("ecdsa")
        self._intermediate = _Authority(self._authority(f"{organization} intermediate", key, self._root), key)
        self._revoked: dict[int, tuple[dt.datetime, x509.ReasonFlags]] = {}
        self._crls = 0
        self.root = self._write("root.pem", _pem(self._root.certificate))
        self.intermediate = self._write("intermediate.pem", _pem(self._intermediate.certificate))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the files, unless the folder was given."""
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def leaf(
        self,
        name: str,
        *,
        names: Sequence[str] | None = None,
        key: str = "ecdsa",
        days: tuple[float, float] = (-1, 90),
        usages: Sequence[str] = ("server", "client"),
        incomplete: bool = False,
        crl: str = "",
        ocsp: str = "",
        padding: int = 0,
    ) -> Leaf:
        """A certificate under the intermediate, with its files NAME-KEY….pem.

        names: subjectAltName (DNS names and IP addresses), default (name,). The common name is `name`, without what
        is beyond its 64 characters (RFC 5280 appendix A.1).
        key: "ecdsa", "rsa", "ed25519" or "rsa1024" (too weak). days: validity from and to, counted from now.
        usages: of "server", "client"; () leaves the extension out. incomplete: the chain file holds the leaf alone.
        crl, ocsp: addresses of its CRL distribution point and of its OCSP responder; "" leaves the extension out.
        padding: octets of an extension that nobody knows. Raises ValueError for a key or a usage that there is not.
        """
        if unknown := set(usages) - _USAGES.keys():
            raise ValueError(f"usages has {min(unknown)!r}, not one of {', '.join(_USAGES)}")
        more = [*_status_extensions(crl, ocsp), *_padding(padding)]
        return self._issue(name, names, key, days, usages, chain=not incomplete, more=more)

    def deep(self, name: str, length: int) -> Leaf:
        """A certificate whose chain file holds `length` certificates, each issued by the next, the last by the root.

        length: at least 1, the certificate itself.
        """
        above = self._root
        authorities: list[x509.Certificate] = []
        for number in range(length - 1):
            key = make_key("ecdsa")
            certificate = self._authority(f"{self._organization} {number}", key, above, path_length=None)
            above = _Authority(certificate, key)
            authorities.insert(0, certificate)
        made = self._issue(name, None, "ecdsa", (-1, 90), ("server",), chain=False, issuer=above)
        made.chain.write_bytes(made.certificate.read_bytes() + b"".join(map(_pem, authorities)))
        return made

    def self_signed(
        self, name: str, *, names: Sequence[str] | None = None, days: tuple[float, float] = (-1, 90)
    ) -> Leaf:
        """A certificate that only it itself vouches for."""
        return self._issue(name, names, "ecdsa", days, ("server",), chain=False, issuer=None)

    def expired(self, name: str) -> Leaf:
        """One that ended yesterday."""
        return self.leaf(name, days=(-90, -1))

    def not_yet_valid(self, name: str) -> Leaf:
        """One that begins tomorrow."""
        return self.leaf(name, days=(1, 90))

    def client(self, name: str, *, usages: Sequence[str] = ("client",), crl: str = "", ocsp: str = "") -> Leaf:
        """A certificate for a client alone."""
        return self.leaf(name, usages=usages, crl=crl, ocsp=ocsp)

    def sign(self, request: Path, *, days: tuple[float, float] = (-1, 90)) -> Path:
        """Answer a request for a certificate (CSR, PEM) as authorities do: a file with leaf and intermediate."""
        csr = x509.load_pem_x509_csr(request.read_bytes())
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = _builder(csr.subject, csr, self._intermediate, days)  # type: ignore[arg-type] # its public half
        certificate = _sign(builder.add_extension(names, critical=False), self._intermediate.key)
        return self._write(f"{request.stem}.issued.pem", _pem(certificate) + _pem(self._intermediate.certificate))

    def revoke(self, leaf: Leaf, reason: str = "keyCompromise") -> None:
        """From now on CRLs and OCSP answers say that it is revoked. reason: as in RFC 5280 section 5.3.1."""
        moment = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        self._revoked[leaf.x509.serial_number] = (moment, x509.ReasonFlags(reason))

    def reinstate(self, leaf: Leaf) -> None:
        """As if it had never been revoked."""
        self._revoked.pop(leaf.x509.serial_number, None)

    def crl(self, *, days: tuple[float, float] = (-1, 1)) -> bytes:
        """The intermediate's list of revoked leaves, DER. days: thisUpdate and nextUpdate, counted from now."""
        now = dt.datetime.now(dt.UTC)
        self._crls += 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._intermediate.certificate.subject)
            .last_update(now + dt.timedelta(days=days[0]))
            .next_update(now + dt.timedelta(days=days[1]))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._intermediate.key.public_key()), critical=False
            )
            .add_extension(x509.CRLNumber(self._crls), critical=False)
        )
        for serial, (moment, reason) in self._revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
            builder = builder.add_revoked_certificate(
                entry.add_extension(x509.CRLReason(reason), critical=False).build()
            )
        return builder.sign(self._intermediate.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def ocsp_answer(self, request: bytes) -> bytes:
        """The intermediate's answer to an OCSP request, DER in and out."""
        query = ocsp_messages.load_der_ocsp_request(request)
        now = dt.datetime.now(dt.UTC)
        moment, reason = self._revoked.get(query.serial_number, (None, None))
        response = ocsp_messages.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=query.issuer_name_hash,
            issuer_key_hash=query.issuer_key_hash,
            serial_number=query.serial_number,
            algorithm=query.hash_algorithm,
            cert_status=ocsp_messages.OCSPCertStatus.REVOKED if moment else ocsp_messages.OCSPCertStatus.GOOD,
            this_update=now - dt.timedelta(hours=1),
            next_update=now + dt.timedelta(hours=1),
            revocation_time=moment,
            revocation_reason=reason,
        )
        signed = response.responder_id(ocsp_messages.OCSPResponderEncoding.NAME, self._intermediate.certificate).sign(
            self._intermediate.key, hashes.SHA256()
        )
        return signed.public_bytes(serialization.Encoding.DER)

    def _issue(  # private, called in two places above
        self,
        name: str,
        names: Sequence[str] | None,
        key_kind: str,
        days: tuple[float, float],
        usages: Sequence[str],
        *,
        chain: bool,
        issuer: _Authority | str | None = "intermediate",
        more: Sequence[x509.ExtensionType] = (),
    ) -> Leaf:
        key = make_key(key_kind)
        signer = self._intermediate if isinstance(issuer, str) else issuer
        builder = _builder(self._subject(name), key, signer, days)
        builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(names or (name,))), critical=False)
        if usages:
            extended = x509.ExtendedKeyUsage([_USAGES[usage] for usage in usages])
            builder = builder.add_extension(extended, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        certificate = _sign(builder, signer.key if signer else key)
        stem = f"{name.replace('*', 'any')}-{certificate.serial_number % 2**32:08x}"
        leaf = _pem(certificate)
        return Leaf(
            name,
            chain=self._write(f"{stem}.chain.pem", leaf + _pem(self._intermediate.certificate) if chain else leaf),
            certificate=self._write(f"{stem}.pem", leaf),
            key=self._write(f"{stem}.key", _key_pem(key), 0o600),
        )

    def _authority(
        self, name: str, key: Key, issuer: _Authority | None, *, path_length: int | None = 0
    ) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = _builder(self._subject(name), key, issuer, (-30, 3650))
        length = None if issuer is None else path_length
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
        builder = builder.add_extension(usage, critical=True)
        return _sign(builder, issuer.key if issuer else key)

    def _subject(self, name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._organization),
                x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            ],
        )

    def _write(self, name: str, data: bytes, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.touch(mode=mode)
        path.chmod(mode)
        path.write_bytes(data)
        return path


def make_key(kind: str) -> Key:
    """A fresh private key: "ecdsa" (P-256), "rsa" (2048), "ed25519", "rsa1024"."""
    match kind:
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "rsa1024":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505 - too weak on purpose
        case _:
            raise ValueError(f"key is {kind!r}, not one of ecdsa, rsa, ed25519, rsa1024")


def _builder(
    subject: x509.Name,
    key: Key,
    issuer: _Authority | None,
    days: tuple[float, float],
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    signer_key = (issuer.key if issuer else key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general


def _status_extensions(crl: str, ocsp: str) -> list[x509.ExtensionType]:
    extensions: list[x509.ExtensionType] = []
    if crl:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl)], None, None, None)
        extensions.append(x509.CRLDistributionPoints([point]))
    if ocsp:
        place = x509.UniformResourceIdentifier(ocsp)
        description = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
        extensions.append(x509.AuthorityInformationAccess([description]))
    return extensions


def _padding(octets: int) -> list[x509.ExtensionType]:
    kind = x509.ObjectIdentifier("2.25.1")
    return [x509.UnrecognizedExtension(kind, b"\x04\x00".ljust(octets, b"\x00"))] if octets else []


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
