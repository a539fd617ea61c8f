"""Match a certificate with a name (RFC 9525), with the connector patterns of Exchange (exchange.md section 2.2).

Used by `policy` on both sides: the next hop's name against what it presented, and a connector's name against a
client's certificate. Pure text over `CertificateFacts`; whether the certificate is trusted is `net.chain`'s question,
not this one.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

import idna

if TYPE_CHECKING:
    from gatepost.protocols.tls.facts import CertificateFacts


_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_SHOWN = 10
_LONGEST = 1000  # no name or address is written longer


def normalise(name: str) -> str:
    """`name` as names are compared: lower case, A-labels, no trailing dot. "" if it is no host name.

    A left-most label "*" is kept; a "*" anywhere else makes it no name (RFC 9525 section 6.3).
    """
    return "" if len(name) > _LONGEST else _normalised(name)


@lru_cache(maxsize=4096)
def _normalised(name: str) -> str:
    """The same names are asked for again and again: of connectors, and of whoever sends much."""
    text = name.removesuffix(".")
    wildcard, text = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True, transitional=False).decode("ascii")
        except idna.IDNAError:
            return ""
    text = text.lower()
    if len(text) > 253 or not all(_is_label(label) for label in text.split(".")):
        return ""
    return wildcard + text


def _is_label(label: str) -> bool:
    return 0 < len(label) <= 63 and _LABEL.issuperset(label)


def node_uri(site: str, node: str) -> str:
    """The URI by which a certificate names a node of a site (SPIFFE X.509-SVID). node: its host name."""
    return f"spiffe://{site}/node/{node}"


def is_ip_address(text: str) -> bool:
    """Whether it is an IP address as such, not in brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_address_literal(host: str) -> bool:
    """Whether a host is an IP address, as such or as a literal ("[192.0.2.1]", "[IPv6:::1]")."""
    return bool(_address(host))


def _address(text: str) -> str:
    """The canonical text of an IP address or address literal ("[192.0.2.1]", "[IPv6:::1]"), "" if it is neither."""
    return "" if len(text) > _LONGEST else _canonical(text)


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    if bare[:5].lower() == "ipv6:":
        bare = bare[5:]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return ""


def matches(reference: str, presented: CertificateFacts, *, common_name: bool = False) -> bool:
    """Whether the certificate bears `reference`.

    reference: "mail.b.example" is that host; "*.b.example" is the domain b.example and all below it, at any depth,
    and equally a certificate whose own name is *.b.example; an IP address matches iPAddress entries only; a URI
    ("spiffe://…") must be the only one in the certificate, as SPIFFE has it, and the same character by character.
    common_name: look at the subject's CN too, beside subjectAltName, as Exchange does (RFC 9525 forbids it, so a
    connector must ask for it).
    """
    if "://" in reference:
        return presented.uris == (reference,)
    if address := _address(reference):
        return any(_address(own) == address for own in presented.ip_addresses)
    wanted = normalise(reference)
    if not wanted:
        return False
    names = presented.dns_names
    if common_name and presented.common_name:
        names = (*names, presented.common_name)
    if wanted.startswith("*."):
        return any(_is_below(wanted[2:], normalise(name)) for name in names)
    return any(_covers(normalise(name), wanted) for name in names)


def _covers(own: str, host: str) -> bool:
    """Whether a certificate's name is `host`, or a wildcard for its left-most label (RFC 9525 section 6.3)."""
    if own.startswith("*."):
        label, _, parent = host.partition(".")
        return bool(label) and parent == own[2:] and _may_have_wildcard(parent)
    return own != "" and own == host


def _is_below(domain: str, own: str) -> bool:
    """Whether a certificate's name, its wildcard taken as it stands, is `domain` or lies below it."""
    if own.startswith("*.") and not _may_have_wildcard(own[2:]):
        return False
    bare = own.removeprefix("*.")
    return bare == domain or bare.endswith("." + domain)


def _may_have_wildcard(parent: str) -> bool:
    """A wildcard directly below a top-level domain would be everybody: it stands for nobody."""
    return "." in parent


def describe_names(certificate: CertificateFacts) -> str:
    """The names a certificate bears, for an administrator: "mail.b.example, *.b.example (CN mail.b.example)"."""
    names = (*certificate.dns_names, *certificate.ip_addresses, *certificate.uris)
    shown = ", ".join(names[:_SHOWN]) or "no subjectAltName"
    if len(names) > _SHOWN:
        shown += f" and {len(names) - _SHOWN} more"
    return f"{shown} (CN {certificate.common_name})" if certificate.common_name else shown
