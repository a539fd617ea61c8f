"""The Exchange side of a hybrid pair: commands for the Exchange Management Shell, step by step.

Called by `analysis.hybrid.plan`. The parameters are those of exchange.md section 9.4 (what the hybrid wizard makes),
with the gateway in the place of the service. Every value that resources, settings or the command line say goes
through `quoted`, whatever it contains. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.analysis.hybrid.here import outbound_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.analysis.hybrid.given import Given
    from gatepost.protocols.tls.facts import CertificateFacts


_ADDRESS = "ADDRESS-OF-THE-GATEWAY"
_CONNECTOR = "gatepost"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Step:
    """title: what it is for. lines: PowerShell, a line that ends in ` goes on in the next."""

    title: str
    lines: tuple[str, ...]


def steps(given: Given) -> tuple[Step, ...]:
    """Everything on Exchange's side, in the order in which it is to be done, on each server that sends or receives."""
    return (_certificate(given), _send(given), _receive(given), _domains(given), _remote_domain(given))


def script(given: Given) -> str:
    """The steps as one file of PowerShell, lines ending in CRLF."""
    head = f"Exchange's side of the hybrid pair of {given.exchange_host} and {given.hostname}, by gatepost hybrid plan"
    lines = [comment(head), comment("Run it step by step in the Exchange Management Shell, on each transport server.")]
    for number, step in enumerate(steps(given), 1):
        lines += ["", comment(f"{number}. {step.title}"), *step.lines]
    return "".join(f"{line}\r\n" for line in lines)


def _certificate(given: Given) -> Step:
    leaf = given.exchange.leaf if given.exchange is not None else None
    given_by = quoted(leaf.sha1.upper()) if leaf is not None else "$imported.Thumbprint"
    lines = [
        comment("Once, if the certificate is not there yet; the same one on every server:"),
        comment("$imported = Import-ExchangeCertificate -FileData ([IO.File]::ReadAllBytes('C:\\exchange.pfx')) `"),
        comment("    -Password (Read-Host -AsSecureString 'Password of the PFX') -PrivateKeyExportable $false"),
        f"$certificate = Get-ExchangeCertificate -Thumbprint {given_by}",
        "Enable-ExchangeCertificate -Thumbprint $certificate.Thumbprint -Services SMTP",
        '$tlsCertificateName = "<I>$($certificate.Issuer)<S>$($certificate.Subject)"',
    ]
    title = f"The certificate for {given.exchange_host}; TlsCertificateName finds it by issuer and subject"
    return Step(title, tuple(lines))


def _send(given: Given) -> Step:
    host = quoted(given.hostname)
    narrow = given.routing_domain or next(iter(given.domains), "DOMAIN")
    lines = (
        comment("Once for the organization; -SourceTransportServers names every server that sends."),
        comment(f"For mail to mailboxes on the gateway alone: -AddressSpaces {quoted(f'SMTP:{narrow};1')}"),
        f"New-SendConnector -Name {quoted(f'To {_CONNECTOR}')} -AddressSpaces 'SMTP:*;1' `",
        "    -SourceTransportServers $env:COMPUTERNAME -DNSRoutingEnabled $false `",
        f"    -SmartHosts {host} -SmartHostAuthMechanism None -Port 25 -Fqdn {quoted(given.exchange_host)} `",
        f"    -RequireTLS $true -TlsAuthLevel DomainValidation -TlsDomain {host} `",
        "    -TlsCertificateName $tlsCertificateName -CloudServicesMailEnabled $true",
    )
    return Step("Forced TLS to the gateway: the first of the two connectors", lines)


def _receive(given: Given) -> Step:
    lines = (
        f"New-ReceiveConnector -Name {quoted(f'From {_CONNECTOR}')} -Server $env:COMPUTERNAME `",
        "    -TransportRole FrontendTransport -Usage Custom -Bindings '0.0.0.0:25' `",
        f"    -RemoteIPRanges {listed(given.addresses or (_ADDRESS,))} -Fqdn {quoted(given.exchange_host)} `",
        "    -AuthMechanism Tls -PermissionGroups AnonymousUsers -RequireTLS $true `",
        "    -TlsCertificateName $tlsCertificateName `",
        f"    -TlsDomainCapabilities {quoted(f'{_shown_name(given)}:AcceptCloudServicesMail')}",
        "Restart-Service MSExchangeFrontEndTransport",
    )
    return Step("Forced TLS from the gateway: the second of the two connectors", lines)


def _shown_name(given: Given) -> str:
    """The name in the certificate that the gateway shows, by which Exchange knows it."""
    connector = outbound_of(given)
    certificate = connector.client_certificate if connector is not None else None
    leaf: CertificateFacts | None = None
    if connector is not None and certificate is not None:
        leaf = given.clients.get(certificate.label) if certificate.label else given.files.get(connector.name)
    if leaf is None or given.hostname in leaf.dns_names:
        return given.hostname
    return next(iter(leaf.dns_names), given.hostname)


def _domains(given: Given) -> Step:
    shown = (
        f"Get-AcceptedDomain | Where-Object {{ $_.DomainName -in {listed(given.domains)} }} | Format-Table -AutoSize"
    )
    if not given.routing_domain:
        lines = [
            comment("Exchange sends on what it does not know to the gateway, which sends on what it does not know: a"),
            comment(
                "misspelt address goes round until 554 5.4.6. Better make a routing domain (--routing-domain NAME)."
            ),
            *(f"Set-AcceptedDomain -Identity {quoted(domain)} -DomainType InternalRelay" for domain in given.domains),
        ]
        return Step("Domains that both sides serve", (*lines, shown))
    lines = [comment("Exchange stays authoritative; each mailbox on the gateway is a mail user here.")]
    for box in given.shared_mailboxes[:_SHOWN]:
        name, target = quoted(box.address.partition("@")[0]), quoted(given.routing_address(box))
        lines.append(
            f"New-MailUser -Name {name} -PrimarySmtpAddress {quoted(box.address)} -ExternalEmailAddress {target}"
        )
    if (more := len(given.shared_mailboxes) - _SHOWN) > 0:
        lines.append(comment(f"… and {more} more of the same"))
    return Step("Domains that both sides serve, and the mailboxes on the gateway", (*lines, shown))


def _remote_domain(given: Given) -> Step:
    lines = []
    for domain in given.domains[:1]:
        name = quoted(f"{_CONNECTOR} {domain}")
        lines += [
            comment(
                "Only if received messages have X-CrossPremisesHeadersFiltered: Exchange then wants to be told that"
            ),
            comment("it may believe X-OriginatorOrg for the domain."),
            comment(f"New-RemoteDomain -Name {name} -DomainName {quoted(domain)}"),
            comment(f"Set-RemoteDomain {name} -TrustedMailInboundEnabled $true -TrustedMailOutboundEnabled $true"),
        ]
    return Step("Header fields that cross", tuple(lines))


_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell takes each of these for a single quote."""


def quoted(text: str) -> str:
    """A verbatim string: nothing in it is expanded, and every quote is doubled. What cannot be printed becomes "?"."""
    plain = _printable(text)
    for quote in _QUOTES:
        plain = plain.replace(quote, quote * 2)
    return f"'{plain}'"


def listed(texts: Iterable[str]) -> str:
    """Several of them, as a parameter takes a list."""
    return ", ".join(quoted(text) for text in texts)


def comment(text: str) -> str:
    """A line that does nothing."""
    return f"# {_printable(text)}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
