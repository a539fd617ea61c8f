"""Domains, domain patterns, addresses of hosts and networks in resources, each normalized to one form.

Used by the models of `connectors` and `settings` when they parse, and by `policy.connectors.match`. Every function
raises ValueError with a sentence that says what is wrong and what to write instead. Nothing here asks the DNS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from gatepost.protocols.smtp.grammar import GrammarError, parse_address, parse_domain

_SOCKET_OCTETS = 107
_MAPPED_PREFIX = 96  # of ::ffff:0:0, which holds all of IPv4 (RFC 4291 section 2.5.5.2)

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Claim(NamedTuple):
    """An accepted domain of an organization, and whether it is verified."""

    organization: str
    name: str
    verified: bool = True


def resource_label(kind: str, name: str, organization: str = "") -> str:
    """A resource as sentences name it: "outbound connector 'bank' of contoso". kind: as resource files have it."""
    whose = f"{name!r} of {organization}" if organization else repr(name)
    labels = {
        "accepted_domain": f"accepted domain {whose}",
        "mailbox": f"mailbox {whose}",
        "inbound_connector": f"inbound connector {whose}",
        "outbound_connector": f"outbound connector {whose}",
        "mail_flow_rule": f"mail flow rule {whose}",
        "oauth_issuer": f"OAuth issuer {whose}",
        "content_hook": f"content hook {whose}",
        "dkim_key": f"DKIM key {whose}",
    }
    return labels.get(kind, f"{kind} {whose}")


def domain_name(text: str) -> str:
    """A domain in lower-case A-labels without a trailing dot (RFC 5321 section 4.1.2); no address literal."""
    if "*" in text:
        raise ValueError(f"{text!r} has a wildcard, and one domain is needed here")
    if text.startswith("["):
        raise ValueError(f"{text!r} is an address literal, and a domain is needed here")
    try:
        return parse_domain(text.removesuffix("."))
    except GrammarError as error:
        raise ValueError(f"{text!r} is not a domain: {error.why}") from None


def domain_pattern(text: str, *, every: bool = True) -> str:
    """A domain, or "*.domain" for it and all its subdomains (Exchange's reading), or if `every` "*" for all domains."""
    if text == "*":
        if every:
            return text
        raise ValueError("'*' would match every domain; name one, as 'b.example' or '*.b.example'")
    if text.startswith("*."):
        return "*." + domain_name(text[2:])
    if "*" in text:
        raise ValueError(f"{text!r}: a wildcard may only come first, as in '*.b.example'")
    return domain_name(text)


def mail_address(text: str) -> str:
    """An addr-spec with its domain in lower-case A-labels; the local part as it was written."""
    try:
        path = parse_address(text)
    except GrammarError as error:
        raise ValueError(f"{text!r} is not a mail address: {error}") from None
    return f"{text.rpartition('@')[0]}@{domain_name(path.domain)}"


def address_pattern(text: str) -> str:
    """An address, in lower case with its domain in A-labels, or what `domain_pattern` takes for all its addresses."""
    local_part, at, _ = text.rpartition("@")
    if not at:
        return domain_pattern(text)
    if not local_part or "*" in local_part:
        raise ValueError(f"{text!r}: for all addresses of a domain write the domain alone, as 'b.example'")
    try:
        path = parse_address(text)
    except GrammarError as error:
        raise ValueError(f"{text!r} is not a mail address: {error.why}") from None
    return f"{path.local_part}@{domain_name(path.domain)}".lower()


def parents(domain: str) -> Iterator[str]:
    """The domain itself, then each domain above it, down to the last label."""
    while domain:
        yield domain
        domain = domain.partition(".")[2]


def covers(pattern: str, domain: str) -> bool:
    """Whether a pattern in the form of `domain_pattern` takes in a domain in the form of `domain_name`.

    "*" takes in every domain, and the empty one of the null reverse-path; "*.b.example" takes in b.example as well.
    """
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return domain == pattern[2:] or domain.endswith(pattern[1:])
    return domain == pattern


def patterns(domain: str) -> Iterator[str]:
    """The patterns that take a domain in, those that `covers` says so of, the most specific first."""
    if domain:
        yield domain
        for parent in parents(domain):
            yield f"*.{parent}"
    yield "*"


def circle_from(addresses: Sequence[str], place: int, most: int = 10) -> list[str]:
    """From one address of a circle back to it; of a long one the first `most` addresses."""
    turned = [addresses[(place + step) % len(addresses)] for step in range(min(len(addresses), most))]
    return [*turned, *["…"][: len(addresses) - len(turned)], addresses[place]]


def network(text: str) -> Network:
    """An IPv4 or IPv6 address or network; bits behind the prefix may be set, as Exchange allows.

    IPv4 that is mapped into IPv6 ("::ffff:192.0.2.1") is the IPv4 it stands for: clients are compared as that.
    """
    try:
        result = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address or a network: write '192.0.2.1', '192.0.2.0/24' or '2001:db8::/48'"
        ) from None
    if isinstance(result, ipaddress.IPv6Network) and result.network_address.scope_id is not None:
        raise ValueError(f"{text!r} has a zone, as only addresses of this machine have; leave it out")
    mapped = result.network_address.ipv4_mapped if isinstance(result, ipaddress.IPv6Network) else None
    if mapped is not None and result.prefixlen >= _MAPPED_PREFIX:
        return ipaddress.IPv4Network((mapped, result.prefixlen - _MAPPED_PREFIX))
    return result


def host_port(text: str, default_port: int | None, *, lowest: int = 1) -> tuple[str, int]:
    """Host and port of "host", "host:port", an IP address, or "[v6]:port"; the host in lower case.

    default_port: taken where none is written; None makes the port obligatory. lowest: 0 lets the system choose one.
    """
    host, port_text = _split(text)
    if not port_text:
        if default_port is None:
            raise ValueError(f"{text!r} needs a port: write 'host:port' or '[v6 address]:port'")
        port = default_port
    elif port_text.isascii() and port_text.isdigit() and lowest <= int(port_text[:6]) < 65536:
        port = int(port_text)
    else:
        raise ValueError(f"{text!r}: the port must be a number from {lowest} to 65535")
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        pass
    if re.fullmatch(r"[0-9.]+", host):
        raise ValueError(f"{text!r} is neither an IPv4 address nor a host name")
    return domain_name(host), port


def socket_path(text: str) -> str:
    """The path of a Unix socket: absolute, and no longer than the kernel takes (unix(7))."""
    if not text.startswith("/") or not text.isprintable():
        raise ValueError(f"{text!r} is not the path of a socket: write the absolute path, as '/run/dovecot/lmtp'")
    if len(text.encode()) > _SOCKET_OCTETS:
        raise ValueError(f"{text!r} is longer than the {_SOCKET_OCTETS} octets that the path of a socket may have")
    return text


def is_this_machine(host: str) -> bool:
    """Whether what is sent to a host cannot leave this machine: a socket's path, a loopback address, "localhost"."""
    return host.startswith("/") or any(address.is_loopback for address in addresses_without_lookup(host))


def addresses_without_lookup(host: str) -> tuple[Address, ...]:
    """The IP addresses of a host that are known at once: its own if it is one, and those of localhost (RFC 6761)."""
    if host == "localhost":
        return ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")
    try:
        return (ipaddress.ip_address(host),)
    except ValueError:
        return ()


def _split(text: str) -> tuple[str, str]:
    """Host and port text, "" if none is written."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")) or rest == ":":
            raise ValueError(f"{text!r}: an address in brackets is written '[2001:db8::1]' or '[2001:db8::1]:25'")
        return host, rest[1:]
    if text.count(":") > 1:
        return text, ""
    host, colon, port = text.partition(":")
    if colon and not port:
        raise ValueError(f"{text!r}: a port must follow the colon")
    return host, port


@dataclass(frozen=True, slots=True)  # not a struct, which pydantic does not know
class SmartHost:
    """A next hop named by an outbound connector: a host name (lower-case A-labels) or an IP address, and a port."""

    host: str
    port: int = 25

    @classmethod
    def parse(cls, text: str) -> SmartHost:
        """Read "host", "host:port", an IP address, or "[v6]:port"; the port is 25 unless written."""
        host, port = host_port(text, 25)
        return cls(host, port)

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, so that there is no name to look up or to find in a certificate."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 25 else f"{host}:{self.port}"


ENTRA = "login.microsoftonline.com"


def is_https(value: str) -> bool:
    """Whether it is an https address, with a host and without a user."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc


def https_url(value: str) -> str:
    """Check an https address without user and fragment. Raises ValueError."""
    if not is_https(value) or urlsplit(value).fragment or not value.isascii() or " " in value:
        raise ValueError(f"{value!r} is not an https address; the gateway fetches keys over HTTPS only")
    return value


def https_issuer(value: str) -> str:
    """Check the URL of an issuer of tokens. Raises ValueError."""
    parts = urlsplit(https_url(value))
    if parts.query:
        raise ValueError(f"{value!r} has a query, which an issuer never has (RFC 8414 section 2)")
    if parts.hostname == ENTRA and parts.path.split("/")[1:2] in (["common"], ["organizations"], ["consumers"]):
        raise ValueError(
            f"{value!r} is in no token: each names its tenant's own issuer; write https://{ENTRA}/TENANT-ID/v2.0"
        )
    return value
