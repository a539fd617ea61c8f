"""Advice on each finding of a check, and who must act: one or two sentences for an administrator.

Called by `analysis.checks.findings`. Pure text. "Here" is this gateway and its network; "they" are whoever runs the
other host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.net.stream import LossKind
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict
from gatepost.protocols.tls.names import describe_names
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.mail.outbound.failure import HopFailure
    from gatepost.mail.outbound.hop import Hop
    from gatepost.policy.decisions.requirement import Shortfall


DANE = (
    "They must publish a TLSA record for the certificate that the server presents, or present the one that is "
    "announced; of two servers behind one name both must. Mail waits until then."
)
LOG_IN = (
    "Here: check authentication.username and mechanism, and enter the secret again: gatepost connector secret NAME. If "
    "it is right, ask the smart host's administrators."
)
LOCAL_FAULT = "Here: fix the file or its path; the remote server is not the cause."
NOT_ALLOWED = (
    "Here: if mail may go to that network, the gateway's owner adds it to [network] tenants_may_reach, or writes the "
    "host into the connector or mailbox themselves."
)
DNSSEC = "They must fix the signatures of their zone in the DNS, or the DS record above it."
NO_DNS = (
    "Here: check that the nameservers in [dns] answer, and validate again. If they do for other names, the name "
    "servers of that domain are down, and its administrators must act. Nothing else is known of the host yet."
)
POLICY_UNKNOWN = (
    "Here: the gateway cannot fetch another MTA-STS policy now, and mail to the domain waits. Try again in a minute."
)
CLASSICAL_ONLY = (
    "Mail is delivered with classical key exchange all the same. They must update what drops a ClientHello of more "
    "than one packet: their server, or a firewall before it."
)
LOOP = (
    "Here: if this gateway takes mail for {domain}, add the accepted domain. Else name smart_hosts: by its MX, mail "
    "would come back to us."
)
NO_IPV6 = "Here: this machine has no way to IPv6 addresses. Mail goes by the host's IPv4 addresses meanwhile."
NO_ROUTE = "Here: this machine has no way to that network; look at its routes, and at the firewall."

_CERTIFICATE: Mapping[ChainStatus, str] = {
    ChainStatus.NO_CERTIFICATE: "They must present a certificate. Without one the gateway cannot verify the server.",
    ChainStatus.SELF_SIGNED: "They must install a certificate from an authority that both sides trust. Or put this "
    "certificate, received from them over another channel than this connection, into the "
    "connector's trust_anchors.",
    ChainStatus.UNTRUSTED_ROOT: "If their authority is to be trusted, put its root, received by a safe way, into the "
    "connector's trust_anchors. Otherwise they must change to a public authority.",
    ChainStatus.INCOMPLETE: "One of two causes. If their authority is a public one, they must send the intermediate "
    "certificates along with their own: the chain file of their server (full chain) in place of the single "
    "certificate. If it is a private one, put its root, received by a safe way, into the connector's trust_anchors.",
    ChainStatus.EXPIRED: "They must renew the certificate and restart or reload their server.",
    ChainStatus.NOT_YET_VALID: "They installed the certificate too early, or a clock is wrong: compare the time here "
    "with theirs.",
    ChainStatus.REVOKED: "They must replace the certificate at once. Do not work around this: its key may be stolen.",
    ChainStatus.REVOCATION_UNKNOWN: "Here: let this machine reach the addresses named over HTTP. Or allow "
    'revocation_check = "soft-fail", by which a certificate of which nothing can be learnt counts as good.',
    ChainStatus.WRONG_PURPOSE: "They must have a certificate issued for servers (extended key usage serverAuth).",
    ChainStatus.WEAK_KEY: "They must renew the certificate with a key of RSA 2048 or P-256 at least.",
    ChainStatus.WEAK_SIGNATURE: "They must renew the certificate: SHA-1 signatures prove nothing any more.",
}
# OpenSSL's words for bytes that are no TLS record, and ours for bytes that came before the handshake.
_NO_TLS = ("wrong version number", "http request", "packet", "no smtp reply", "plaintext behind")
_BY_ANCHORS = frozenset({ChainStatus.SELF_SIGNED, ChainStatus.UNTRUSTED_ROOT, ChainStatus.INCOMPLETE})
_INVALID = "They must replace the certificate, or the chain they send: it breaks the rules of RFC 5280."


_LMTP_CERTIFICATE = (
    "Here: the LMTP server must present a certificate for its name in delivery of the mailbox, issued by an authority "
    "in [tls] trust_anchors. Replace its certificate, or add its authority there."
)


def resolve_advice(host: str, domain: str, *, lmtp: bool = False) -> str:
    """The name has no address. domain: whose MX named the host, "" for a smart host or LMTP server."""
    if lmtp:
        return f"Check the spelling of {host} in delivery of the mailbox. If it is right, it needs an A or AAAA record."
    if domain:
        return f"The administrators of {domain} must give {host} an A or AAAA record, or take it out of their MX."
    return f"Check the spelling of {host} in smart_hosts. If it is right, it needs an A or AAAA record."


def connect_advice(hop: Hop, domain: str = "", *, refused: bool) -> str:
    """Nobody answers on the port, or at the socket. domain: as in `resolve_advice`."""
    if hop.lmtp and hop.address.startswith("/"):
        return (
            f"Here: start the LMTP server that listens at {hop.address}, let the gateway's account open that socket, "
            "or correct the path in delivery of the mailbox."
        )
    if hop.lmtp:
        return (
            f"Here: start the LMTP server, or correct delivery of the mailbox: nobody answers on port {hop.port} of "
            f"{hop.address}."
        )
    if refused and domain:
        return (
            f"The administrators of {domain} must open port {hop.port} of {hop.host}, or take it out of their MX; or a "
            "firewall refuses this machine."
        )
    if refused:
        return (
            f"Check the port in smart_hosts: nothing listens on port {hop.port} of {hop.address}, or a firewall "
            "refuses this machine. If the port is right, they must open it."
        )
    return (
        f"Mostly a firewall. First here: may this machine open connections to port {hop.port}? (Many networks block "
        "outgoing port 25.) Then theirs must let this machine's address in."
    )


def greeting_advice(hop: Hop, failure: HopFailure, domain: str = "") -> str:
    """It answered, but not as a mail server that would talk to us. domain: as in `resolve_advice`."""
    if hop.lmtp:
        return (
            f"Here: the log of the server at {hop.endpoint} says why. If it does not speak LMTP, correct delivery of "
            "the mailbox."
        )
    if not failure.loss and failure.reply.code and failure.detail.startswith("in reply to"):
        return (
            "Their server turns this machine away; its reply says why. They must allow this machine's address, or it "
            "needs a better standing (reverse DNS, block lists)."
        )
    if domain:
        return (
            f"The administrators of {domain} must look at {hop.host}, which their MX names: it does not speak SMTP on "
            f"port {hop.port}. Or wait and try again, if it greets slowly on purpose."
        )
    if hop.port == 465:
        return "Port 465 speaks TLS from the first byte and is for mail clients (RFC 8314). Use port 25 in smart_hosts."
    if failure.loss is LossKind.TIMEOUT:
        return (
            f"Something listens on port {hop.port}, but does not speak SMTP first: check host and port in smart_hosts, "
            "or wait and try again if their server greets slowly on purpose."
        )
    return f"The server on port {hop.port} is not a working mail server: check host and port in smart_hosts."


def no_starttls(hop: Hop, keywords: tuple[str, ...], *, required: bool) -> str:
    """EHLO listed no STARTTLS."""
    if any(keyword.startswith("XXXX") for keyword in keywords):
        who = "A firewall on the path overwrites STARTTLS with X (SMTP inspection). Its administrator must stop this."
    else:
        who = f"The administrators of {hop.host} must switch STARTTLS on; if it is on, something between takes it out."
    return f"{who} {'Mail waits until then.' if required else 'Until then the gateway sends mail unencrypted.'}"


def starttls_refused(reply: str) -> str:
    """STARTTLS was offered and then refused."""
    return f"Their server offers TLS but cannot do it ({reply}): its certificate or key is broken. They must act."


_OLD_VERSION = (
    "No TLS version in common: they must switch TLS 1.2 or 1.3 on. Lowering min_tls_version or the profile is "
    "possible, and makes the connection weak."
)
_LIMITED = (
    "They must switch on what is expected, as a rule by updating their server. Or, here: min_key_exchange, groups or "
    "cipher_suites of the connector ask for less."
)
FLOORS: Mapping[str, str] = {
    "TlsVersionTooOld": _OLD_VERSION,
    "KeyExchangeNotAllowed": _LIMITED,
    "CipherSuiteNotAllowed": _LIMITED,
}
"""By the word of a shortfall of `policy.decisions.requirement`."""


def handshake_advice(error: str, *, ours: bool, limited: bool = False) -> str:
    """The handshake failed. error: OpenSSL's or the peer's words. ours: the connector presents a certificate.

    limited: the connector offers less than its profile has.
    """
    words = error.lower()
    if any(sign in words for sign in _NO_TLS):
        return (
            "What they answered after STARTTLS is not TLS: they must look at their server, or at what stands before it."
        )
    if "version" in words or "protocol" in words:
        return _LIMITED if limited else _OLD_VERSION
    if ours and ("certificate" in words or "unknown ca" in words):
        return "They do not accept our certificate: send them its issuer and name, or correct client_certificate here."
    if "handshake failure" in words or "cipher" in words or "group" in words:
        if limited:
            return _LIMITED
        return (
            "No cipher suite, group or kind of key in common: they must allow one of our profile (gatepost tls "
            "profiles), as a rule by updating their server."
        )
    return "They must look at their server's log for this moment; if it shows nothing, a system in between breaks TLS."


def certificate_advice(chain: ChainVerdict | None, *, lmtp: bool = False) -> str:
    """The chain is not trusted. lmtp: it is of an LMTP server, for which no connector can name trust anchors."""
    if lmtp and chain is not None and chain.status in _BY_ANCHORS:
        return _LMTP_CERTIFICATE
    return _CERTIFICATE.get(chain.status, _INVALID) if chain else LOCAL_FAULT


def ends_soon(days: int) -> str:
    """The certificate is good, but not for long."""
    if not days:
        return "They must renew the certificate today; after that, mail that requires a valid certificate waits."
    term = quantity(days, "day")
    return f"They must renew the certificate within {term}; after that, mail that requires a valid certificate waits."


def name_advice(expected: tuple[str, ...], chain: ChainVerdict, *, lmtp: bool = False) -> str:
    """The certificate is for somebody else. lmtp: as above."""
    if lmtp:
        return _LMTP_CERTIFICATE
    wanted = " or ".join(expected)
    if chain.leaf is None:
        return f"They must present a certificate for {wanted}."
    return (
        "Ask them, over another channel than this connection, which name is right. Names in the certificate: "
        f"{describe_names(chain.leaf)}. If one of them is theirs, set tls_domain to it; otherwise they must present a "
        f"certificate for {wanted}."
    )


def revocation_advice() -> str:
    """Nothing could be learnt."""
    return (
        "Here: let this machine reach the addresses named over HTTP, or ask them to staple OCSP responses. It is not "
        "held against them (soft-fail)."
    )


REQUIRETLS = (
    "They must offer it (RFC 8689); few mail systems do. Or, here: a connector for their domain with "
    'requiretls_mode = "relaxed".'
)

_PUBLISHED: Mapping[str, str] = {
    "DaneRequired": 'They must sign their zone and publish TLSA records. Or, here: smtp_dane_mode = "opportunistic".',
    "DnssecInvalid": DNSSEC,
    "HostNotAuthentic": "They must sign their zone, or publish an MTA-STS policy in mode enforce that names the host "
    "(RFC 8689 asks for one of them). Or, here: a connector with smart_hosts, whose names need no proof.",
    "HostHasNoName": "Here: name the smart host by its DNS name; or let the connector validate its domain "
    '(tls_settings = "domain-validation", tls_domain).',
    "HostNotInPolicy": "They must name this host in their MTA-STS policy, or take it out of their MX records.",
}


def published_advice(shortfall: Shortfall) -> str:
    """By what is published of it, a host must not be used now."""
    return _PUBLISHED.get(shortfall.message, NO_DNS)


def recipient_advice(code: int) -> str:
    """The test message was refused."""
    if 400 <= code < 500:
        return "Their server asks to try later (grey-listing, load): validate again in some minutes."
    return (
        "The connection meets the requirements, but their server refuses this message. Its reply says why: an unknown "
        "recipient, the sender (try another one), or this machine's address."
    )
