"""The profile of certificates of a site's own authority (RFC 5280). No store, no clock.

Used by `pki.site.site`, which keeps keys and records, and by whoever must know a node by its certificate. Nodes and the
site itself are named by a URI in the form of SPIFFE (X.509-SVID): spiffe://SITE/node/HOSTNAME, spiffe://SITE/authority.
A certificate without such a URI, as on-premises servers get, leads to the same root and is not a node.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.net.certificate import MALFORMED, quietly
from gatepost.pki.certificates.authority import BACKDATED, begun, general_name, key_usage, subject_name
from gatepost.protocols.tls.names import node_uri
from gatepost.times import utc

type PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_AUTHORITY_LIFETIME: Final = timedelta(days=3650)
_SITE: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_SCHEME: Final = "spiffe://"
_USAGES: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_EVERY_ADDRESS: Final = ("0.0.0.0/0", "::/0")


class Signer(msgspec.Struct, frozen=True):
    """An authority that can sign. now: seconds since 1970 UTC, for what it signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    now: float


def is_site_name(text: str) -> bool:
    """Whether a site can be called so: lower-case letters, digits, hyphens and dots, at most 63 characters."""
    return _SITE.fullmatch(text) is not None


def endpoint_name(site: str) -> str:
    """The URI of who gives out a site's certificates."""
    return f"{_SCHEME}{site}/authority"


def node_name(site: str, node: str) -> str:
    """The URI of a node. node: its host name."""
    return node_uri(site, node)


def site_of(der: bytes) -> tuple[str, str]:
    """The site that a certificate names, and what of it ("authority", "node/HOSTNAME"); ("", "") if it names none.

    Who signed it is for others to judge. As SPIFFE has it, exactly one URI counts.
    """
    with quietly():
        try:
            names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
            values = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        except (x509.ExtensionNotFound, *MALFORMED):
            return "", ""
    if len(values) != 1 or not values[0].startswith(_SCHEME):
        return "", ""
    site, _, path = values[0].removeprefix(_SCHEME).partition("/")
    return (site, path) if is_site_name(site) and path else ("", "")


def node_of(der: bytes, site: str) -> str:
    """The host name of the node of `site` that a certificate names, "" if it names none."""
    text, path = site_of(der)
    kind, _, name = path.partition("/")
    return name if (text, kind) == (site, "node") else ""


def authority_certificate(site: str, domains: Sequence[str], key: ec.EllipticCurvePrivateKey, now: float) -> bytes:
    """A root for ten years, PEM, for TLS alone and with no authority below it.

    domains: if there are any, it can vouch only for names in them and for no address (section 4.2.1.10).
    """
    begin = _moment(now)
    subject = subject_name(f"{site} CA", site)
    builder = (
        begun(subject, subject, key.public_key(), (begin - BACKDATED, begin + _AUTHORITY_LIFETIME))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(_USAGES, critical=False)
    )
    if domains:
        none = [x509.IPAddress(ipaddress.ip_network(every)) for every in _EVERY_ADDRESS]
        limits = x509.NameConstraints([x509.DNSName(domain) for domain in domains], none)
        builder = builder.add_extension(limits, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def sign_node(signer: Signer, site: str, node: str, public_key: PublicKey, lifetime: float) -> bytes:
    """A node's certificate, PEM. lifetime: seconds from now on."""
    return _sign(signer, public_key, lifetime, (node, site), [x509.DNSName(node), _uri(node_name(site, node))])


def sign_endpoint(signer: Signer, site: str, hostname: str, public_key: PublicKey, lifetime: float) -> bytes:
    """The certificate of who gives out certificates, PEM."""
    return _sign(signer, public_key, lifetime, (hostname, site), [x509.DNSName(hostname), _uri(endpoint_name(site))])


def sign_server(signer: Signer, names: Sequence[str], public_key: PublicKey, lifetime: float) -> bytes:
    """A certificate for a server that is not a node, PEM. names: DNS names or IP addresses, the first also the CN."""
    return _sign(signer, public_key, lifetime, (names[0], ""), [general_name(name) for name in names])


def _sign(
    signer: Signer, public_key: PublicKey, lifetime: float, subject: tuple[str, str], names: list[x509.GeneralName]
) -> bytes:
    root = signer.certificate
    end = min(_moment(signer.now + lifetime), root.not_valid_after_utc)
    valid = (max(_moment(signer.now) - BACKDATED, root.not_valid_before_utc), end)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    usage = key_usage(signs_certificates=False, enciphers_keys=isinstance(public_key, rsa.RSAPublicKey))
    builder = (
        begun(subject_name(*subject), root.subject, public_key, valid)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_USAGES, critical=False)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def _moment(seconds: float) -> datetime:
    return utc(seconds).replace(microsecond=0)
