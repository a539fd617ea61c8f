"""The subjects of certificate alarms: names to cover, client certificates in use, failing renewals.

Used by `node.alarms` and `gatepost certificate alarms`. It reads the store and the files of client certificates that
connectors name, and nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.analysis.alarms.alarm import Severity
from gatepost.analysis.alarms.site_certificates import SiteCertificate
from gatepost.analysis.checks.certificate_alarms import FailedRenewal, Scope, WantedName, presented_servers
from gatepost.analysis.checks.own_policy import own_policies
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.issuer import Issuer
from gatepost.pki.acme.schedule import Progress, is_under_way
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.pki.certificates.inventory import entry_from
from gatepost.pki.certificates.lifecycle import is_covered
from gatepost.pki.site.records import SiteError
from gatepost.pki.site.store import SiteStore
from gatepost.protocols.mtasts.policy import StsMode, covers
from gatepost.protocols.mtasts.publish import StsPublication, policy_host
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.connectors.client_certificate import ClientCertificate
    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


_FAILURES = 2  # that somebody is told of: the first may be the authority's bad hour
_NEAR = 3 * 86400.0  # seconds before a certificate's end from which the first one is told, too
_NEAR_PART = 6  # or this part of a short life


def scope_of(organizations: Sequence[Organization], settings: Settings) -> Scope:
    """The certificates that the resources and settings need: names, and client certificates."""
    hostname, served = settings.server.hostname, bool(settings.mta_sts.address)
    policies = own_policies(organizations, hostname)
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


def failing_renewals(
    settings: Settings, store: ConfigStore, scope: Scope, now: float
) -> dict[str | tuple[str, ...], FailedRenewal | None] | None:
    """The ACME requests that fail, by the id of the certificate to be renewed, by the names where there is none.

    Told after two failures in a row, after one where that may be too late: near the certificate's end, or where nothing
    that is presented has the names. None for one that is tried just now, and for all if it is not known. scope: as
    `scope_of` made it.
    """
    if not settings.acme.is_on:
        return {}
    hosts = [name.name for name in scope.names if name.name != settings.server.hostname]
    try:
        issuer = Issuer(settings, store)
        statuses, entries = issuer.statuses(hosts), issuer.inventory.entries()[1]
    except (AcmeFailed, ValueError):  # the log has it
        return None
    current = presented_servers(entries)
    result: dict[str | tuple[str, ...], FailedRenewal | None] = {}
    for status in statuses:
        progress, entry = status.progress, status.entry
        if not progress.error:
            continue
        urgent = (
            _is_urgent(entry, progress, now) if entry else not all(is_covered(name, current) for name in status.names)
        )
        if is_under_way(progress, now):
            result[entry.id if entry else status.names] = None
        elif progress.failures >= _FAILURES or urgent:
            result[entry.id if entry else status.names] = FailedRenewal(progress.error, progress.not_before)
    return result


def _is_urgent(entry: Entry, progress: Progress, now: float) -> bool:
    """Whether a certificate is near its end, or the next attempt to renew it comes too late."""
    end, life = entry.leaf.not_after, entry.leaf.not_after - entry.leaf.not_before
    return end - now < min(_NEAR, life / _NEAR_PART) or progress.not_before >= end


def site_certificates(settings: Settings, store: ConfigStore) -> tuple[SiteCertificate, ...]:
    """Those of the nodes of this store and, where the site's authority is kept, its newest root and those of all nodes.

    None of them if what is stored cannot be read: the log has it.
    """
    records = SiteStore(store, None, settings.server)
    try:
        members, state = records.memberships().values(), records.state()
    except SiteError:
        return ()
    here = {
        member.node: SiteCertificate(member.node, member.issued, member.not_after, True, member.address)
        for member in members
    }
    known = {node.name: SiteCertificate(node.name, node.renewed, node.not_after) for node in state.nodes.values()}
    roots = (SiteCertificate(root.site, root.added, root.not_after, is_root=True) for root in state.authorities[:1])
    return *roots, *(known | here).values()


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
