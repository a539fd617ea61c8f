"""The certificates that a hybrid plan is about: those that the gateway presents, and the one that Exchange does.

Called by `manage.cli.hybrid`. Nothing is fetched and no key is read: revocation is for `connector validate` to look up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, ending, fail
from gatepost.manage.cli.output import _, printable, say
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.inventory import inventory_of, listed_certificates
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import MALFORMED, certificate_facts, parse, quietly
from gatepost.net.chain import judge
from gatepost.net.revocation import published
from gatepost.pki.certificates.entry import PendingRequest, Purpose, State
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import ConnectorType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path as FilePath

    from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector
    from gatepost.protocols.tls.facts import CertificateFacts, ChainVerdict
    from gatepost.settings.model import Settings


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
        fail(
            BAD_INPUT,
            "--exchange-certificate: %(path)s: it contains no certificate (PEM, leaf first)",
            path=printable(path),
        )
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
        say("%(what)s: %(name)s: it contains no certificate", err=True, what=what, name=printable(name))
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
