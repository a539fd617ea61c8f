"""The MTA-STS policy that is published for an accepted domain, and whether senders find it (RFC 8461).

Used by `gatepost domain mta-sts` and by `manage.use_cases.publication`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope, may_reach_private_addresses
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part, choose_part
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.manage.use_cases.resources import seen
from gatepost.manage.use_cases.times import stamp
from gatepost.net.identity import ServerIdentity, bearing
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.presented import presented, settings_identities
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.policy.connectors.publication import publication
from gatepost.protocols.mtasts.policy import StsMode
from gatepost.protocols.mtasts.publish import StsPublication, policy_host, record_name
from gatepost.protocols.tlsrpt import record as tlsrpt
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.checks.partner_report import Finding
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


_FETCH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """The policy published for a domain.

    found: None if nothing is. certificate: the one that serves it, as a sentence has it; "" if there is none. problems:
    what to mend, a sentence each. served_at: address of our server of policies, "" if it is off.
    """

    organization: str
    domain: str
    found: StsPublication | None
    certificate: str
    problems: tuple[str, ...]
    hostname: str
    served_at: str

    @property
    def zone(self) -> list[str]:
        """The lines of the zone."""
        if self.found is None:
            return []
        host = f"{policy_host(self.found.domain)}. IN CNAME {self.hostname}."
        return [self.found.zone_line, host, reports_line(self.found.domain)]

    def notes(self, *, checked: bool) -> list[str]:
        """Problems and remarks. checked: the findings have the remarks on the policy already."""
        remarks = self.found.remarks if self.found is not None and not checked else ()
        return [*self.problems, *(remark.text for remark in remarks)]


def reports_line(domain: str) -> str:
    """The line of the zone that asks for reports about TLS (RFC 8460); any address does."""
    return f'{tlsrpt.record_name(domain)}. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@{domain}"'


class GetMtaStsPolicy(msgspec.Struct, kw_only=True):
    """The domain, and how far to check."""

    organization: Annotated[str, Meta(description="Name of the organization.")]
    domain: Annotated[str, Meta(description="Name of the accepted domain.")]
    check: Annotated[bool, Meta(description="Also look at it as a sender would, which takes up to half a minute.")] = (
        False
    )
    private: Annotated[
        bool, Meta(description="With check: the policy host may be at an address that is not public.")
    ] = False


class PublicationFinding(msgspec.Struct):
    """verdict: pass, info, warn, fail or unknown. fix: what to do."""

    stage: str
    verdict: str
    text: str
    evidence: str
    fix: str


class MtaStsPolicy(msgspec.Struct):
    """The MTA-STS policy of a domain, as `gatepost domain mta-sts --json` prints it (RFC 8461).

    published: whether there is one. policy: its text, "" for none. record: name, text and id of the
    TXT record, which changes with the policy; {} for none. zone: lines that the DNS needs. served_at: address of our
    server of policies, "" if it is off. certificate: the one that serves it. notes: what to mend. findings: what a
    sender finds, where it was asked for.
    """

    organization: str
    domain: str
    published: bool
    mode: str
    policy: str
    url: str
    record: dict[str, str]
    zone: list[str]
    served_at: str
    certificate: str
    notes: list[str]
    findings: list[PublicationFinding]


@use_case(
    "GET /organizations/{organization}/domains/{domain}/mta_sts",
    scope=Scope.READ,
    visibility=Visibility.ORGANIZATION,
    tag="checks",
)
def get_mta_sts_policy(context: Context, request: GetMtaStsPolicy) -> MtaStsPolicy:
    """The MTA-STS policy of an accepted domain, and whether senders find it.

    `private` is for who may make connectors for the whole gateway.
    """
    who, settings = context.principal, context.settings
    part = choose_part(seen(context.gateway, who), DOMAIN, request.domain, request.organization)
    if request.private and not (settings.outbound.private_policy_hosts or may_reach_private_addresses(who)):
        text = "the gateway goes to addresses that are not public for who may make connectors for all of it only"
        raise Refusal(RefusalKind.FORBIDDEN, text)
    policy = policy_of(settings, part)
    return policy_record(policy, check_policy(settings, policy, private=request.private) if request.check else ())


def policy_of(settings: Settings, part: Part) -> PublishedPolicy:
    """The policy of an accepted domain. Raises Refusal (UNREADABLE) if an older version stored one that cannot be."""
    with refusing(
        RefusalKind.UNREADABLE, ValueError, text="{label}: no sender could use its policy: {error}", label=part.label
    ):
        sts_publication = publication(part.record, settings.server.hostname)
    certificate, problems = _names(settings, sts_publication) if sts_publication is not None else ("", ())
    return PublishedPolicy(
        part.organization.name,
        part.name,
        sts_publication,
        certificate,
        problems,
        settings.server.hostname,
        settings.mta_sts.address,
    )


def check_policy(settings: Settings, policy: PublishedPolicy, *, private: bool = False) -> tuple[Finding, ...]:
    """Check as a sender does: DNS, policy, certificate, MX records. Takes seconds. Raises Refusal (INPUT).

    private: the policy host may be at an address that is not of the public internet, whatever the settings say.
    """
    from gatepost.analysis.checks.own_policy import check_publication  # noqa: PLC0415 - what it imports takes long
    from gatepost.net.anchors import AnchorsError  # noqa: PLC0415
    from gatepost.net.lookups.configured import configured_resolver  # noqa: PLC0415
    from gatepost.net.lookups.mtasts import PolicyHosts  # noqa: PLC0415
    from gatepost.net.lookups.validator import ValidatorError  # noqa: PLC0415

    hosts = PolicyHosts(_FETCH_SECONDS, private or settings.outbound.private_policy_hosts)

    async def look() -> tuple[Finding, ...]:
        resolver = configured_resolver(settings.dns)
        try:
            return await check_publication(policy.domain, policy.found, settings, resolver, hosts)
        finally:
            await resolver.close()

    try:
        return asyncio.run(look())
    except AnchorsError as error:
        raise Refusal(RefusalKind.INPUT, f"tls.trust_anchors: {error}") from error
    except ValidatorError as error:
        raise Refusal(RefusalKind.INPUT, f"[dns]: {error}") from error


def policy_record(policy: PublishedPolicy, findings: Sequence[Finding]) -> MtaStsPolicy:
    """The same as calls have it."""
    sts_publication = policy.found
    return copy_fields(
        MtaStsPolicy,
        policy,
        published=sts_publication is not None,
        mode=str(sts_publication.policy.mode) if sts_publication else "",
        policy=sts_publication.policy.text if sts_publication else "",
        url=sts_publication.url if sts_publication else "",
        record={
            "name": record_name(policy.domain),
            "text": sts_publication.record.text,
            "id": sts_publication.record.id,
        }
        if sts_publication
        else {},
        notes=policy.notes(checked=bool(findings)),
        findings=[PublicationFinding(**finding_record(finding)) for finding in findings],
    )


def finding_record(finding: Finding) -> dict[str, str]:
    """One finding about our own domain, as JSON shows it."""
    return {
        "stage": str(finding.stage),
        "verdict": str(finding.verdict),
        "text": finding.text,
        "evidence": finding.evidence,
        "fix": finding.fix,
    }


def _names(settings: Settings, found: StsPublication) -> tuple[str, tuple[str, ...]]:
    """The certificate that serves it, and what our certificates and settings mean for it."""
    host, own, problems = policy_host(found.domain), settings.server.hostname, []
    if not settings.mta_sts.address:
        problems.append(
            'it is not served: [mta_sts] address is empty in the settings; write "0.0.0.0:443", or have another web '
            "server serve exactly this text"
        )
    try:
        identities = _presented(settings)
    except (CertificateFileError, VaultError, StoreFailure) as error:
        return "", (*problems, f"the certificates cannot be read here: {error}")
    leaves = bearing(identities, host)
    if not leaves:
        problems.append(f"no [[certificate]] bears {host}: senders cannot fetch the policy; add one")
    if leaves and leaves[0].not_after < time.time():
        problems.append(f"the certificate for {host} has expired: senders cannot fetch the policy; renew it")
    if found.policy.mode is StsMode.ENFORCE and found.policy.matches(own) and not bearing(identities, own):
        problems.append(f"no [[certificate]] bears {own}: senders that obey the policy do not deliver here; add one")
    text = f"{leaves[0].subject}, valid until {stamp(leaves[0].not_after)}" if leaves else ""
    return text, tuple(problems)


def _presented(settings: Settings) -> list[ServerIdentity]:
    """Certificates that the HTTPS server chooses from. Raises CertificateFileError, VaultError, StoreFailure."""
    pairs = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
    with closing(Storage.of(settings).configuration()) as store:
        inventory = Inventory(store, Vault.of(settings.store.master_key))
        return presented(inventory, settings_identities(inventory, pairs))
