"""`gatepost hybrid plan`: what a pair of this gateway and an on-premises Exchange needs on either side.

The certificates that a plan is about are those that the gateway presents, and the one that Exchange does. Nothing is
fetched and no key is read: revocation is for `connector validate` to look up.
"""

from __future__ import annotations

import ipaddress
import sys
import textwrap
import time
from pathlib import Path
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.hybrid.exchange import script
from gatepost.analysis.hybrid.given import Given
from gatepost.analysis.hybrid.plan import HybridPlan
from gatepost.analysis.hybrid.plan import plan as plan_of
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.inventory import inventory_of, listed_certificates
from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import MALFORMED, certificate_facts, parse, quietly
from gatepost.net.chain import judge
from gatepost.net.revocation import published
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.entry import PendingRequest, Purpose, State
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.names import domain_name
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import ConnectorType
from gatepost.settings.roles import ListenerRole
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector
    from gatepost.protocols.tls.facts import CertificateFacts, ChainVerdict
    from gatepost.settings.model import Settings


@click.group()
def hybrid() -> None:
    """Plan a hybrid deployment: this gateway and an on-premises Exchange (docs/hybrid.md)."""


@hybrid.command("plan")
@click.argument("organization", default="", metavar="[ORGANIZATION]")
@click.option(
    "--exchange-host",
    default="",
    metavar="HOST",
    help="Host name of Exchange, also in its certificate. Default: the smart host of the connector to it.",
)
@click.option(
    "--exchange-certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PEM",
    help="The certificate that Exchange presents, leaf first, with its intermediates. The plan checks it.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="A domain that both serve. May be repeated. Default: every accepted domain.",
)
@click.option(
    "--routing-domain",
    default="",
    metavar="DOMAIN",
    help="A domain that only the gateway serves, with which Exchange reaches mailboxes at the gateway.",
)
@click.option(
    "--gateway-address",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="IP address from which the gateway connects to Exchange. May be repeated.",
)
@click.option(
    "--centralised",
    is_flag=True,
    help="Send outgoing mail to the internet through Exchange too (centralised transport).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the steps for Exchange as a PowerShell script.",
)
@gateway_options
def plan(organization: str, output: Path | None, **asked: Any) -> None:
    """Print what a hybrid deployment of this gateway and an on-premises Exchange needs: here, there, and tests.

    For the gateway, the plan lists what exists and what is missing, with the commands that complete it; for Exchange,
    it lists the commands for the Exchange Management Shell. Nothing is changed and no server is contacted: the
    gateway's part comes from its stored configuration, and of Exchange the plan knows only the certificate that you
    pass.

    Exit codes: 0 this gateway is complete, 1 something is missing, 2 usage error or bad input, 3 the data cannot be
    read or written.
    """
    settings = local_settings()
    facts = _given(settings, Gateway(settings).directory(), organization, asked)
    made = plan_of(facts)
    if output is not None:
        unwritten = N_("%(output)s: %(error)s; nothing was written")
        with ending(UNKNOWN, OSError, text=unwritten, output=output), as_caller():
            # Windows PowerShell wants the mark
            output.write_text(script(facts), encoding="utf-8-sig", newline="")
    if not printed_json(made.record()):
        print_plan(made)
    if output is not None:
        say("wrote the steps for Exchange to %(output)s", err=True, output=output)
    sys.exit(0 if made.complete else NO)


def _given(settings: Settings, directory: Directory, name: str, asked: dict[str, Any]) -> Given:
    organization, now = _organization(directory, name), time.time()
    host = _domain("--exchange-host", asked["exchange_host"]) or _known_host(organization)
    routing = _domain("--routing-domain", asked["routing_domain"])
    own = own_certificates(settings, organization)
    exchange = exchange_chain(asked["exchange_certificate"], settings, organization, now)
    texts = warnings(directory.resources, settings.server.hostname)
    return Given(
        organization=organization,
        hostname=settings.server.hostname,
        exchange_host=host,
        domains=_domains(organization, asked["domains"], {routing, host, settings.server.hostname}),
        routing_domain=routing,
        listens=any(listener.role is ListenerRole.MX for listener in settings.listeners),
        server=own.server,
        clients=own.clients,
        files=own.files,
        requests=own.requests,
        exchange=exchange.verdict,
        addresses=[_address(address) for address in asked["addresses"]],
        revocation_hosts=revocation_hosts((*own.chains, *exchange.chain)),
        centralised=asked["centralised"],
        warnings=[text for text in texts if f" of {organization.name}" in text],
        now=now,
    )


# what was asked


def _organization(directory: Directory, name: str) -> Organization:
    resources = directory.resources
    if name:
        return choose_organization(resources, name)
    if len(resources.organizations) != 1:
        names = ", ".join(organization.name for organization in resources.organizations[:20])
        fail(
            BAD_INPUT,
            _("name the organization, one of: %(names)s", names=names)
            if names
            else (_("no organization is stored yet; add one: gatepost apply -f FILE")),
        )
    return resources.organizations[0]


def _domain(option: str, text: str) -> str:
    with ending(BAD_INPUT, ValueError, place=f"{option}: "):
        return domain_name(text) if text else ""


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        fail(
            BAD_INPUT,
            "--gateway-address: %(text)s is not an IP address; write it like 192.0.2.1 or 2001:db8::1",
            text=repr(text),
        )


def _domains(organization: Organization, asked: tuple[str, ...], others: set[str]) -> list[str]:
    if asked:
        return list(dict.fromkeys(_domain("--domain", text) for text in asked))
    names = (domain.name for domain in organization.accepted_domains)
    return [name for name in names if not name.startswith("*.") and name not in others]


def _known_host(organization: Organization) -> str:
    """The smart host of the connector to Exchange, if a name says it; else the command ends."""
    own = [
        connector
        for connector in organization.outbound_connectors
        if connector.connector_type is ConnectorType.ON_PREMISES
    ]
    own.sort(key=lambda connector: (not connector.cloud_services_mail_enabled, not connector.enabled, connector.name))
    hosts = [smart.host for connector in own for smart in connector.smart_hosts if not smart.is_address]
    if not hosts:
        fail(BAD_INPUT, "the host name of Exchange is missing: --exchange-host ex1.contoso.example")
    return hosts[0]


_WIDTH = 100
_SIDES = {"gateway": N_("here"), "exchange": N_("there")}
_WIDE, _NARROW = 8, 3


def print_plan(plan: HybridPlan) -> None:
    """The whole plan; commands stand in lines of their own, to be copied."""
    _paragraph(
        _(
            "%(organization)s: %(hostname)s (this gateway) and %(exchange_host)s (Exchange). "
            "Forced TLS for all mail takes two connectors on each side, one for each direction; "
            "each server proves its identity with a certificate.",
            organization=plan.organization,
            hostname=plan.hostname,
            exchange_host=plan.exchange_host,
        )
    )
    _heading(_("This gateway"))
    for finding in plan.here:
        _item(_("ok") if finding.complete else _("MISSING"), ours(finding.text), _WIDE)
        _commands(finding.commands)
    _heading(_("Between the two"))
    for line in plan.firewall:
        _item("-", ours(line))
    _heading(_("Exchange (Exchange Management Shell, on each transport server)"))
    for number, step in enumerate(plan.exchange, 1):
        _item(f"{number}.", ours(step.title))
        _commands(step.lines)
    _heading(_("Tests"))
    for check in plan.checks:
        _commands((check.command,))
        _item(_(_SIDES[check.side]), ours(check.expect), _WIDE)
    _heading(_("Common mistakes"))
    for trap in plan.traps:
        _item("-", ours(trap))
    click.echo("")
    missing = sum(not finding.complete for finding in plan.here)
    _paragraph(
        _("Missing on this gateway: %(missing)s.", missing=missing)
        if missing
        else _('This gateway is complete. The state of Exchange is not known here: see "Tests".')
    )


def _heading(text: str) -> None:
    click.echo(f"\n{text}\n")


def _paragraph(text: str) -> None:
    click.echo(textwrap.fill(printable(text), _WIDTH, break_long_words=False, break_on_hyphens=False))


def _item(mark: str, text: str, width: int = _NARROW) -> None:
    lead = f"  {mark:<{width}}"
    click.echo(
        textwrap.fill(
            printable(text),
            _WIDTH,
            initial_indent=lead,
            subsequent_indent=" " * len(lead),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _commands(lines: tuple[str, ...]) -> None:
    for line in lines:
        click.echo(f"      {printable(line)}")


_MAX_PEM = 1 << 20
_MAX_HOSTS = 20


class PlanCertificates(NamedTuple):
    """server, clients, files, requests: as in `analysis.hybrid.given.Given`. chains: DER, of all of them."""

    server: list[CertificateFacts]
    clients: dict[str, CertificateFacts]
    files: dict[str, CertificateFacts]
    chains: tuple[bytes, ...]
    requests: tuple[PendingRequest, ...]


class ExchangeChain(NamedTuple):
    """verdict: None if no certificate was shown. chain: DER."""

    verdict: ChainVerdict | None
    chain: tuple[bytes, ...]


def own_certificates(settings: Settings, organization: Organization) -> PlanCertificates:
    """Certificates that the gateway presents: current ones of the inventory, and files of outbound connectors."""
    gateway = Gateway(settings)
    with inventory_of(gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, gateway)
        requests = tuple(inventory.requests.waiting().values())
    for line in listing.trouble:
        click.echo(f"[[certificate]]: {line}", err=True)
    current = sorted(
        (entry for entry in listing.entries.values() if entry.state is State.CURRENT),
        key=lambda entry: entry.current_from,
    )
    mine = [entry for entry in current if entry.purpose is Purpose.CLIENT and entry.organization == organization.name]
    chains = [der for entry in current for der in _certificates(listing.chains.get(entry.id, b""))]
    files: dict[str, CertificateFacts] = {}
    for connector in organization.outbound_connectors:
        certificate = connector.client_certificate
        if certificate is not None and certificate.chain:
            chain = _file(
                certificate.chain, _("client_certificate of outbound connector %(name)s", name=repr(connector.name))
            )
            chains += chain
            files |= {connector.name: certificate_facts(chain[0])} if chain else {}
    server = [entry.leaf for entry in current if entry.purpose is Purpose.SERVER]
    return PlanCertificates(server, {entry.label: entry.leaf for entry in mine}, files, tuple(chains), requests)


def exchange_chain(path: FilePath | None, settings: Settings, organization: Organization, now: float) -> ExchangeChain:
    """The chain in a file, judged by the server's trust anchors, or those of a connector with own servers.

    Ends the command if it cannot be read. now: seconds since 1970.
    """
    if path is None:
        return ExchangeChain(None, ())
    chain = tuple(_certificates(read_file(path, _MAX_PEM, "--exchange-certificate: ")))
    if not chain:
        fail(BAD_INPUT, "--exchange-certificate: %(path)s: it contains no certificate (PEM, leaf first)", path=path)
    connectors: list[InboundConnector | OutboundConnector] = [
        *organization.inbound_connectors,
        *organization.outbound_connectors,
    ]
    own = [connector.trust_anchors for connector in connectors if connector.connector_type is ConnectorType.ON_PREMISES]
    names = dict.fromkeys((settings.tls.trust_anchors, *filter(None, own)))
    verdicts = [_judged(chain, name, now) for name in names]
    return ExchangeChain(next((verdict for verdict in verdicts if verdict.trusted), verdicts[0]), chain)


def revocation_hosts(chain: Iterable[bytes]) -> list[str]:
    """The hosts that certificates name for CRL and OCSP, at most twenty."""
    found: dict[str, None] = {}
    for der in chain:
        with quietly():
            places = published(parse(der))
        for url in (*places.crl, *places.ocsp):
            try:
                host = urlsplit(url).hostname
            except ValueError:
                continue
            if host:
                found[printable(host)] = None
    return sorted(found)[:_MAX_HOSTS]


def _judged(chain: tuple[bytes, ...], anchors: str, now: float) -> ChainVerdict:
    with ending(UNKNOWN, AnchorsError, place=f"trust_anchors {anchors_label(anchors)!r}: "):
        return judge(chain, TrustAnchors.load(anchors), now=now, purpose="client")


def _file(name: str, what: str) -> list[bytes]:
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - a path that a connector names
            chain = _certificates(file.read(_MAX_PEM))
    except OSError as error:
        click.echo(f"{what}: {printable(name)}: {error.strerror}", err=True)
        return []
    if not chain:
        say("%(what)s: %(name)s: it contains no certificate", err=True, what=what, name=name)
    return chain


def _certificates(pem: bytes) -> list[bytes]:
    """The certificates in PEM, DER each; none if there is none."""
    try:
        with quietly():
            return (
                [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)]
                if pem
                else []
            )
    except MALFORMED:
        return []
