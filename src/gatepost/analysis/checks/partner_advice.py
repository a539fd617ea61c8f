"""Advice on a finding of `gatepost check`, and who must act, for readers without a gateway or a connector.

Called by `analysis.checks.partner_stages` and `analysis.checks.partner_domain`. Pure text. "Here" is the machine that
checks and its network; "they" are whoever runs the other side. `analysis.checks.advice` has the same for those who own
a connector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gatepost.protocols.tls.facts import ChainStatus

AGAIN: Final = "Here: check again, or give it more time."
ANCHORS: Final = "Here: make sure that the file of trusted roots can be read, or choose another."
BLACK_HOLE: Final = (
    "They must look at their server's log for this moment. If it shows nothing, a system in between drops the "
    "handshake: a firewall, or a path that drops large packets."
)
BOGUS: Final = (
    "They must fix the signatures of their zone, or the DS record above it: resolvers that validate refuse these "
    "answers, as they might be forged."
)
CUT_OFF: Final = (
    "They must look at their server's log for this moment: some servers end it for addresses that they do not like. "
    "If it shows nothing, something between cuts the connection."
)
INSIDE: Final = (
    "They must give it a public address. If it is a host of your own network, an administrator of the whole gateway "
    "can check it, or add the network to [network] tenants_may_reach."
)
LATER: Final = "Here: check again in some minutes. If it stays so, their server's reply says what they must change."
STS_KEPT: Final = (
    "They must publish a policy that their hosts meet, or withdraw it by one in mode none: a missing one ends nothing "
    "(RFC 8461 section 8.3)."
)
MTA_STS: Final = "They can publish a policy (RFC 8461); the certificates of all MX hosts must bear their names."
NO_ANSWER: Final = (
    "Here: check whether the nameserver answers for other names. If it does, the nameservers of that domain are down, "
    "and its administrators must act."
)
CLASSICAL_ONLY: Final = (
    "They must update what drops a ClientHello of more than one packet: their server, or a firewall before it."
)
NO_FORWARD_SECRECY: Final = "They must prefer suites with ECDHE, or switch TLS 1.3 on."
NO_SMTP: Final = "The server there is not a working mail server: they must check it, or the port is wrong."
NO_STATUS: Final = (
    "Here: let this machine reach the addresses named over HTTP. If it can, their authority's server is down."
)
OLD_TLS: Final = "They must switch TLS 1.2 and 1.3 on; TLS 1.0 and 1.1 are withdrawn (RFC 8996)."
PUBLISH_TLSA: Final = (
    'They can publish TLSA records ("3 1 1" with the digest of the key, RFC 7672): the zone is signed.'
)
RENEW: Final = "They must renew it, and reload their server."
REQUIRETLS_IN_CLEAR: Final = "They must offer it after STARTTLS only."
REVOKED: Final = "They must replace the certificate at once: its key may be stolen."
SIGN: Final = "They can sign the zone with DNSSEC; DANE needs it, and nothing else protects the MX records."
SILENT_GREETER: Final = (
    "Here: check again; if it stays silent, they must look at it. Some servers greet slowly on purpose: give it time."
)
STS_CERTIFICATE: Final = (
    "They must install a certificate of a public authority with the MX host's name, or take the host out of the policy."
)
STS_FETCH: Final = (
    "They must see that the policy is served over HTTPS, as text/plain, without a redirection. If others can fetch it, "
    "let this machine reach port 443."
)
STS_HOST: Final = (
    "They must add it to the policy and change the id of the TXT record, or take it out of the MX records."
)
STS_INVALID: Final = "They must fix the record or the policy: until then nobody applies it (RFC 8461 section 3)."
STS_WEBPKI: Final = (
    "They must give the policy host a certificate of a public authority with its name. In a test network trust its "
    "root here."
)
TLS_RPT: Final = 'They can ask for reports: TXT "v=TLSRPTv1; rua=mailto:…" at _smtp._tls (RFC 8460).'
TLS_RPT_INVALID: Final = "They must fix the record: until then no reports come (RFC 8460 section 3)."
TURNED_AWAY: Final = (
    "Their reply says why. They must let this machine's address in, or it needs a better standing (reverse DNS, block "
    "lists). From a gateway's own address the answer may be another."
)
UNUSABLE_TLSA: Final = "They must publish usages 3 or 2 with SHA-256 or SHA-512 (RFC 7672 section 3.1)."
WRONG_TLSA: Final = (
    "They must publish a TLSA record for the certificate in use, or go back to the certificate that is published. If "
    "neither was changed, somebody is on the way: do not work around this."
)

_CERTIFICATE: Mapping[ChainStatus, str] = {
    ChainStatus.NO_CERTIFICATE: "They must present a certificate.",
    ChainStatus.SELF_SIGNED: "They can install a certificate of a public authority, or publish TLSA records for "
    "this one.",
    ChainStatus.UNTRUSTED_ROOT: "They must change to a public authority; if theirs is to be trusted here, add its "
    "root to those that are.",
    ChainStatus.INCOMPLETE: "If their authority is a public one, they must send the intermediate certificates along: "
    "the full chain file. If it is a private one and is to be trusted here, add its root to those that are.",
    ChainStatus.EXPIRED: "They must renew it, and reload their server.",
    ChainStatus.NOT_YET_VALID: "They installed it too early, or a clock is wrong.",
    ChainStatus.WRONG_PURPOSE: "They must have a certificate for servers (extended key usage serverAuth).",
    ChainStatus.WEAK_KEY: "They must renew it with a key of RSA 2048 or P-256 at least.",
    ChainStatus.WEAK_SIGNATURE: "They must renew it: SHA-1 signatures prove nothing any more.",
}
_INVALID: Final = "They must replace the certificate, or the chain they send: it breaks the rules of RFC 5280."
# OpenSSL's words for bytes that are no TLS record, and ours for bytes that came before the handshake.
_NO_TLS: Final = ("wrong version number", "http request", "packet", "no smtp reply", "plaintext behind")


def alias(host: str, canonical: str) -> str:
    """An MX record that names an alias."""
    return f"They should name {canonical} in the MX record in place of {host} (RFC 5321 section 5.1)."


def certificate(status: ChainStatus) -> str:
    """The chain is not trusted."""
    return _CERTIFICATE.get(status, _INVALID)


def handshake(error: str) -> str:
    """The handshake failed, with OpenSSL's or the peer's words."""
    words = error.lower()
    if "starttls was answered" in words:
        return "Their server offers TLS but cannot do it: its certificate or key is broken."
    if "in reply to nothing" in words:
        return "A reply came before the handshake: their server is broken, or somebody between adds to what it says."
    if any(sign in words for sign in _NO_TLS):
        return "What follows STARTTLS is not TLS: they must look at their server, or at what stands before it."
    if "version" in words or "protocol" in words:
        return "No TLS version in common: they must switch TLS 1.2 or 1.3 on."
    if "handshake failure" in words or "cipher" in words or "group" in words:
        return "No cipher suite, group or kind of key in common: they must update their server (gatepost tls profiles)."
    return "They must look at their server's log for this moment; if it shows nothing, a system in between breaks TLS."


def name(host: str) -> str:
    """The certificate is for somebody else."""
    return f"They must present a certificate with the name {host}."


def no_address(host: str) -> str:
    """A name without addresses."""
    return f"They must give {host} an A or AAAA record, or take it out of their MX records."


def no_starttls(host: str, keywords: Sequence[str]) -> str:
    """EHLO listed no STARTTLS."""
    if any(keyword.upper().startswith("XXXX") for keyword in keywords):
        return (
            "A firewall on the path overwrites STARTTLS with X (SMTP inspection). Its administrator must switch it off."
        )
    return f"They must switch STARTTLS on at {host}; if it is on, something between takes it out."


def no_way(family: str) -> str:
    """No route."""
    if family == "IPv6":
        return "Here: this machine has no IPv6. Mail goes by the IPv4 addresses."
    return "Here: look at the routes of this machine, and at the firewall."


def refused(port: int) -> str:
    """Nobody listens."""
    return f"They must start their server, or let this machine's address in to port {port}."


def silent(port: int) -> str:
    """Neither yes nor no."""
    return (
        f"First here: may this machine connect to port {port}? Many networks block outgoing port 25. Then theirs: the "
        "host may be down, or a firewall keeps this address out."
    )


def spelling(host: str) -> str:
    """Advice on a name that no nameserver can be asked for."""
    return f"Check the spelling of {host}."
