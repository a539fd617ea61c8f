"""The subjects of certificate alarms: names to cover, client certificates in use, failing renewals.

Used by `node.alarms` and `gatepost certificate alarms`. It reads the store and the files of client certificates that
connectors name, and nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.analysis.alarms.alarm import Severity
from gatepost.analysis.checks.certificate_alarms import Scope, WantedName
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.issuer import Issuer
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.pki.certificates.inventory import entry_from
from gatepost.policy.connectors.publication import publication
from gatepost.protocols.mtasts.policy import StsMode, covers
from gatepost.protocols.mtasts.publish import policy_host
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.client_certificate import ClientCertificate
    from gatepost.policy.connectors.records import Organization
    from gatepost.protocols.mtasts.publish import StsPublication
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


_FAILURES = 2  # that somebody is told of: the first may be the authority's bad hour


def scope_of(organizations: Sequence[Organization], settings: Settings) -> Scope:
    """The certificates that the resources and settings need: names, and client certificates."""
    hostname, served = settings.server.hostname, bool(settings.mta_sts.address)
    domains = [domain for organization in organizations for domain in organization.accepted_domains]
    policies = _publications(domains, hostname)
    names = {hostname: _own_name(hostname, policies)}
    for policy in policies if served else ():
        host, why = policy_host(policy.domain), f"Senders fetch the MTA-STS policy of {policy.domain} from it."
        names.setdefault(host, WantedName(host, why, Severity.ERROR))
    used = frozenset(
        (name, certificate.label or label) for name, label, certificate in _client_certificates(organizations)
    )
    return Scope(tuple(names.values()), used, settings.acme.is_on)


def _own_name(hostname: str, policies: Sequence[StsPublication]) -> WantedName:
    promised = [
        policy.domain
        for policy in policies
        if policy.policy.mode is StsMode.ENFORCE and any(covers(pattern, hostname) for pattern in policy.policy.mx)
    ]
    if promised:
        why = f"Senders that obey the MTA-STS policy of {promised[0]} do not deliver here."
        return WantedName(hostname, why, Severity.CRITICAL)
    return WantedName(hostname, "It is this server's own name, by which partners look for it.", Severity.WARNING)


def _publications(domains: Sequence[AcceptedDomain], hostname: str) -> list[StsPublication]:
    publications = []
    for domain in domains:
        with suppress(ValueError):  # of resources that an older version stored; it is not served
            publications.append(publication(domain, hostname))
    return [sts_publication for sts_publication in publications if sts_publication is not None]


def failing_renewals(settings: Settings, store: ConfigStore, scope: Scope) -> dict[str, str] | None:
    """The errors of ACME renewals by certificate id: of those that failed twice or more in a row.

    None if that is not known. scope: as `scope_of` made it.
    """
    if not settings.acme.is_on:
        return {}
    hosts = [name.name for name in scope.names if name.name != settings.server.hostname]
    try:
        statuses = Issuer(settings, store).statuses(hosts)
    except (AcmeFailed, ValueError):  # the log has it
        return None
    return {
        status.entry.id: status.progress.error
        for status in statuses
        if status.entry is not None and status.progress.error and status.progress.failures >= _FAILURES
    }


def connector_files(organizations: Sequence[Organization], now: float) -> dict[str, Entry]:
    """The client certificates that connectors name by their files, as if the inventory had them, by id.

    One that cannot be read is left out: mail waits at its connector, and the trace says why.
    """
    result = {}
    for name, label, certificate in _client_certificates(organizations):
        if certificate.label:
            continue
        with suppress(CertificateFileError):
            entry = entry_from(load_identity(Path(certificate.chain), Path(certificate.key)), now=now)
            result[entry.id] = replace(
                entry,
                purpose=Purpose.CLIENT,
                organization=name,
                label=label,
                state=State.CURRENT,
                origin=Origin.FILES,
                chain_file=certificate.chain,
                key_file=certificate.key,
            )
    return result


def _client_certificates(organizations: Sequence[Organization]) -> Iterator[tuple[str, str, ClientCertificate]]:
    """Organization, the connector's name, and what it presents; of connectors that are enabled."""
    for organization in organizations:
        for connector in organization.outbound_connectors:
            if connector.enabled and connector.client_certificate is not None:
                yield organization.name, connector.name, connector.client_certificate
