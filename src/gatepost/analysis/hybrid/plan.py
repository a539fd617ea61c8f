"""The whole hybrid plan: this side, the other side, how to test both, and common mistakes.

Called by `manage.cli.hybrid`, which prints it. Nothing is changed, nobody is asked. Pure.

The tests go from both ends, with the firewall rules between them. The common mistakes are those of exchange.md sections
7.1, 9.4, 14 and 15.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gatepost.analysis.hybrid.exchange import Step, steps
from gatepost.analysis.hybrid.here import (
    FROM_EXCHANGE,
    TO_EXCHANGE,
    Finding,
    by_address,
    command,
    findings,
    inbound_of,
    outbound_of,
)

if TYPE_CHECKING:
    from gatepost.analysis.hybrid.given import Given


@dataclass(frozen=True, slots=True)
class Check:
    """side: "gateway" or "exchange", where the command is given. expect: what shows that all is well."""

    side: str
    command: str
    expect: str


def firewall(given: Given) -> tuple[str, ...]:
    """The connections that firewalls must allow (exchange.md sections 9.2 and 9.4)."""
    hosts = ", ".join(given.revocation_hosts) or "the CRL and OCSP hosts that the certificates name"
    ways = (
        f"TCP 25 from Exchange to {given.hostname}, and from the gateway to {given.exchange_host}; nothing between "
        "them may read or change SMTP"
    )
    status = f"TCP 80 from both to {hosts}, to look for revoked certificates"
    mx = (
        "MX of the domains: to the gateway. Notices for mail that Exchange relays for others come back by the first "
        "accepted domain"
    )
    return ways, status, mx


def checks(given: Given) -> tuple[Check, ...]:
    """The tests, in this order."""
    return (*_from_here(given), *_from_there(given), _both_ways(given))


def _from_here(given: Given) -> tuple[Check, ...]:
    inbound, outbound = inbound_of(given), outbound_of(given)
    to, known = outbound.name if outbound else TO_EXCHANGE, inbound.name if inbound else FROM_EXCHANGE
    which = (to, "--organization", given.organization.name, "--direction", "outbound")
    relayed = ("--from", "<>", "--to", "someone@elsewhere.example", "--certificate", "exchange.pem")
    reached = "every task succeeded: Exchange is reached, its certificate is the expected one, and a message arrived"
    accepted = (
        f"taken by {known!r}: with this certificate (and its intermediates) even notices relay; without --certificate, "
        "550 5.7.64"
    )
    return (
        Check("gateway", command("connector", "validate", *which, "--recipient", f"user@{_own(given)}"), reached),
        Check("gateway", command("explain", *relayed), accepted),
        Check("gateway", command("connector", "drill", *which), "an attacker in between gets no message"),
    )


def _from_there(given: Given) -> tuple[Check, ...]:
    shown = "-cert exchange.pem -cert_chain exchange.pem -key exchange.key"
    openssl = (
        f"openssl s_client -starttls smtp -connect {given.hostname}:25 -servername {given.hostname} "
        f"-name {given.exchange_host} {shown}"
    )
    send = "Get-SendConnector 'To gatepost' | Format-List Enabled,RequireTLS,Tls*,CloudServicesMailEnabled,SmartHosts"
    receive = 'Get-ReceiveConnector "$env:COMPUTERNAME\\From gatepost" | Format-List Enabled,Tls*,RemoteIPRanges'
    return (
        Check("exchange", f"Test-NetConnection {given.hostname} -Port 25", "TcpTestSucceeded : True"),
        Check("exchange", openssl, "Verify return code: 0 (ok)"),
        Check("exchange", send, "RequireTLS and CloudServicesMailEnabled True, TlsAuthLevel DomainValidation"),
        Check("exchange", receive, "TlsCertificateName and TlsDomainCapabilities are set"),
    )


def _both_ways(given: Given) -> Check:
    """A real message each way."""
    text = (
        "after a message each way: RECEIVE with basis certificate and SEND with authenticated; `gatepost trace show` "
        "has what was done to header fields (headers), and the message in Exchange X-CrossPremisesHeadersPromoted"
    )
    return Check("gateway", command("trace", "search", "--sender", f"@{_own(given)}"), text)


def _own(given: Given) -> str:
    return next(iter(given.domains), "DOMAIN")


TRAPS = (
    (
        "A new certificate of another issuer or subject: Exchange finds none by TlsCertificateName and stops offering "
        "STARTTLS. Set it on every server before the old certificate is removed."
    ),
    (
        "Intermediates that Exchange does not send are not fetched: 550 5.7.64, and the trace says chain-incomplete. "
        "Import the whole chain."
    ),
    (
        "A domain that both sides send on: recipients that neither has go round until 554 5.4.6. Let Exchange be "
        "authoritative, with a mail user for each mailbox on the gateway."
    ),
    (
        "A domain that is authoritative here: recipients that only Exchange has are refused and never reach the "
        "connector. Make it internal-relay."
    ),
    (
        "Exchange takes the Receive connector with the narrowest RemoteIPRanges: where another one holds the gateway's "
        "address, the new one is never used."
    ),
    (
        "Every server with a certificate under the wildcard of the inbound connector may relay. An authority of your "
        "own in trust_anchors narrows that."
    ),
    (
        "What terminates SMTP in between (inspection, a spam filter, some load balancers) takes away certificates and "
        "header fields: mail is external, or waits."
    ),
)


@dataclass(frozen=True, slots=True)
class HybridPlan:
    """here: what is and is not configured on this side. exchange: what to do there. checks, traps: afterwards."""

    organization: str
    hostname: str
    exchange_host: str
    here: tuple[Finding, ...]
    firewall: tuple[str, ...]
    exchange: tuple[Step, ...]
    checks: tuple[Check, ...]
    traps: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing on this side. Of the other side nothing is known."""
        return all(finding.complete for finding in self.here)

    def record(self) -> dict[str, Any]:
        """The plan for machines, under keys that stay."""
        return {"complete": self.complete} | asdict(self)


def plan(given: Given) -> HybridPlan:
    """Make the plan for an organization and its Exchange."""
    return HybridPlan(
        given.organization.name,
        given.hostname,
        given.exchange_host,
        findings(given),
        firewall(given),
        steps(given),
        checks(given),
        (*TRAPS, *by_address(given), *given.warnings),
    )
