"""DNS records to publish for an accepted domain so that mail reaches us safely, to copy, and what is there now.

The records follow from the resources, the settings and the certificates; `manage.use_cases.dns_checks` looks at the
DNS. Certificates belong to the gateway, so that TLSA records are shown to those who see the whole of it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.dns_checks import (
    DnsCheck,
    DnsChecks,
    DnsPublication,
    PublicationCheck,
    SectionKey,
    ZoneRecord,
    ZoneSection,
    check_record,
)
from gatepost.manage.use_cases.mta_sts import PublishedPolicy, policy_of, reports_line
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part, choose_part, visible
from gatepost.manage.use_cases.paging import Columns, ListPage, ListSelection, sorted_by
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.resources import parts_in
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory, listed
from gatepost.policy.connectors.values import DkimState
from gatepost.protocols.tls.names import matches
from gatepost.store.interface import StoreFailure
from gatepost.texts import N_, own
from gatepost.times import day_text
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.dkim_key import DkimKey


use_case = use_cases(scope=Scope.READ, tag="checks")
_SHOWN: Final = {State.CURRENT: "the certificate in use", State.NEXT: "the certificate that comes next"}


class GetPublication(msgspec.Struct, kw_only=True):
    """Of which domain."""

    organization: Annotated[str, Meta(description="Name of the organization.")]
    domain: Annotated[str, Meta(description="Name of the accepted domain.")]


class PublishedRecord(msgspec.Struct):
    """A line of a zone."""

    line: str
    note: str


class PublicationSection(msgspec.Struct):
    """key: mx, tlsa, mta-sts, tls-rpt, dkim or spf. none: why there is nothing to publish, "" if there is."""

    key: str
    title: str
    why: str
    none: str
    records: list[PublishedRecord]


class DomainPublication(msgspec.Struct):
    """Records that a domain should publish. zone: all lines."""

    organization: str
    domain: str
    hosts: list[str]
    zone: str
    sections: list[PublicationSection]


@use_case("GET /organizations/{organization}/domains/{domain}/publication", visibility=Visibility.ORGANIZATION)
def get_publication(context: Context, request: GetPublication) -> DomainPublication:
    """Show the DNS records that an accepted domain should publish."""
    return publication_record(_publication(context, request))


@use_case("GET /organizations/{organization}/domains/{domain}/publication/seen", visibility=Visibility.ORGANIZATION)
def see_publication(context: Context, request: GetPublication) -> PublicationCheck:
    """Check the DNS records of an accepted domain now."""
    return check_record(context.kept(DnsChecks).run(_publication(context, request), context.principal))


class ViewPublication(msgspec.Struct, kw_only=True):
    """organization: "" where the domain alone must tell."""

    domain: str
    organization: str = ""


class PublicationView(NamedTuple):
    """dns_check: what the DNS said of it when it was last asked, None if that is not known (any more)."""

    publication: DnsPublication
    dns_check: DnsCheck | None


@use_case(visibility=Visibility.SEEN)
def view_publication(context: Context, request: ViewPublication) -> PublicationView:
    """Show the records that an accepted domain should publish, and the last answer of the DNS."""
    publication = publication_of(context.gateway, context.principal, request.domain, request.organization)
    return PublicationView(publication, context.kept(DnsChecks).known(publication))


DOMAIN_SORTS: Final[Columns[Part]] = {
    "domain": lambda part: part.name,
    "organization": lambda part: part.organization.name,
    "mta-sts": lambda part: str(part.record.mta_sts),
    "keys": lambda part: len(_keys_of(part)),
}
"""Columns by which domains can be sorted: what is known without the DNS."""


class FindPublications(ListSelection, frozen=True):
    """Of which domains. sort: one of DOMAIN_SORTS, with - before it for descending; "" as configured."""

    sort: str = ""


@use_case(visibility=Visibility.SEEN)
def find_publications(context: Context, request: FindPublications) -> ListPage[PublicationView]:
    """List the records that accepted domains should publish, and the last answers of the DNS."""
    gateway, principal, dns_checks = context.gateway, context.principal, context.kept(DnsChecks)
    every = msgspec.structs.replace(request, limit=None, offset=0)
    parts = parts_in(visible(gateway.directory().resources, principal), DOMAIN, every).rows
    page = request.page(0, sorted_by(parts, request.sort, DOMAIN_SORTS))
    servers = shown_certificates(gateway) if principal.is_of_gateway else ()
    publications = [
        publication_of(gateway, principal, part.name, part.organization.name, servers) for part in page.rows
    ]
    return page.holding([PublicationView(publication, dns_checks.known(publication)) for publication in publications])


def _publication(context: Context, request: GetPublication) -> DnsPublication:
    return publication_of(context.gateway, context.principal, request.domain, request.organization)


def publication_of(
    gateway: Gateway, principal: Principal, name: str, organization: str = "", servers: Sequence[Entry] | None = None
) -> DnsPublication:
    """Of the accepted domain of that name. Raises Refusal: MISSING, INPUT if it could be several, UNREADABLE.

    servers: as `shown_certificates`, for who asks for many domains; None: they are read.
    """
    part = choose_part(visible(gateway.directory().resources, principal), DOMAIN, name, organization)
    hosts = _hosts(gateway, part)
    pattern = part.name.startswith("*.")
    policy = None if pattern else policy_of(gateway.settings, part)
    keys = _keys_of(part)
    sections = [_mx(part.name, hosts), _tlsa(gateway, principal, hosts, servers)]
    if policy is not None:
        sections += [_mta_sts(policy), _tls_rpt(part.name), _dkim(part.name, keys), _spf(part.name, hosts)]
    return DnsPublication(part.organization.name, part.name, hosts, policy, keys, tuple(sections))


def _keys_of(part: Part) -> tuple[DkimKey, ...]:
    """Keys whose records the domain needs."""
    keys = part.organization.dkim_keys
    return tuple(key for key in keys if key.domain == part.name and key.state is not DkimState.RETIRED)


def publication_record(publication: DnsPublication) -> DomainPublication:
    """The same as calls have it."""
    sections = [
        copy_fields(
            PublicationSection, section, records=[copy_fields(PublishedRecord, record) for record in section.records]
        )
        for section in publication.sections
    ]
    return copy_fields(DomainPublication, publication, sections=sections)


def _hosts(gateway: Gateway, part: Part) -> tuple[str, ...]:
    """Our hosts, by the settings and by the hosts that the domain's policy names."""
    named = [pattern for pattern in part.record.mta_sts_mx if not pattern.startswith("*.")]
    return tuple(dict.fromkeys((*named, gateway.settings.server.hostname)))


def _mx(domain: str, hosts: tuple[str, ...]) -> ZoneSection:
    records = tuple(ZoneRecord(f"{domain}. IN MX {10 * number} {host}.") for number, host in enumerate(hosts, 1))
    why = N_("Senders look up here which hosts accept mail for the domain (RFC 5321 section 5).")
    return ZoneSection(SectionKey.MX, N_("MX records"), why, records)


def _tlsa(
    gateway: Gateway, principal: Principal, hosts: tuple[str, ...], servers: Sequence[Entry] | None
) -> ZoneSection:
    title = N_("TLSA records of the MX hosts")
    why = N_(
        "With DNSSEC they tell senders which keys our hosts use, and that TLS is required (DANE, RFC 7672). They "
        "belong into the zone of each host. Publish the record of the next certificate before the gateway presents it."
    )
    if not principal.is_of_gateway:
        own = ", ".join(hosts)
        return ZoneSection(
            SectionKey.TLSA, title, why, none=f"The zone of {own} is managed by the operator of the gateway."
        )
    records = tuple(_tlsa_records(shown_certificates(gateway) if servers is None else servers, hosts))
    none = "" if records else f"No server certificate that is current or next bears {' or '.join(hosts)}."
    return ZoneSection(SectionKey.TLSA, title, why, records, none)


def shown_certificates(gateway: Gateway) -> list[Entry]:
    """The server certificates whose keys the DNS is to know: current, then next. Raises Refusal (UNREADABLE)."""
    files = [(Path(certificate.chain), Path(certificate.key)) for certificate in gateway.settings.certificates]
    with (
        refusing(
            RefusalKind.UNREADABLE,
            StoreFailure,
            CertificateFileError,
            ValueError,
            text="the certificates cannot be read: {error}",
        ),
        gateway.config() as store,
    ):
        entries = listed(Inventory(store, None), files, now=time.time(), with_chains=False).entries.values()
    servers = [entry for entry in entries if entry.purpose is Purpose.SERVER and entry.state in _SHOWN]
    return sorted(servers, key=lambda server: list(_SHOWN).index(server.state))


def _tlsa_records(servers: Sequence[Entry], hosts: tuple[str, ...]) -> list[ZoneRecord]:
    found: dict[str, str] = {}
    for host in hosts:
        for entry in servers:
            if matches(host, entry.leaf):
                line = f"_25._tcp.{host}. IN TLSA 3 1 1 {entry.leaf.spki_sha256}"
                found.setdefault(
                    line, f"{own(_SHOWN[entry.state])}: {entry.leaf.key}, valid until {day_text(entry.leaf.not_after)}"
                )
    return [ZoneRecord(line, note) for line, note in found.items()]


def _mta_sts(policy: PublishedPolicy) -> ZoneSection:
    title = "MTA-STS"
    why = N_(
        "It tells senders over HTTPS which hosts accept mail, and that their certificates must be valid (RFC 8461). "
        "The id follows from the policy: put a new record into the zone after the new policy is served."
    )
    if policy.found is None:
        none = f"No policy is published. Start with one that requires nothing: gatepost domain set {policy.domain} "
        return ZoneSection(SectionKey.MTA_STS, title, why, none=none + "mta_sts=testing")
    record, host, _ = policy.zone
    return ZoneSection(
        SectionKey.MTA_STS, title, why, (ZoneRecord(record), ZoneRecord(host, N_("or its A and AAAA records")))
    )


def _tls_rpt(domain: str) -> ZoneSection:
    why = N_("Senders send a daily report of their TLS failures with us (RFC 8460). Any address is possible.")
    return ZoneSection(SectionKey.TLS_RPT, N_("TLS reports"), why, (ZoneRecord(reports_line(domain)),))


def _dkim(domain: str, keys: tuple[DkimKey, ...]) -> ZoneSection:
    why = N_("Receivers use it to verify the signatures of mail from the domain (RFC 6376).")
    records = tuple(
        ZoneRecord(key.record.zone_line(key.name), f"{key.state}: {key.algorithm}") for key in keys if key.public_key
    )
    none = "" if records else f"Mail of {domain} is not signed here. Create a key: gatepost dkim add"
    return ZoneSection(SectionKey.DKIM, N_("DKIM keys"), why, records, none)


def _spf(domain: str, hosts: tuple[str, ...]) -> ZoneSection:
    why = N_(
        "It tells receivers which hosts send mail of the domain (RFC 7208). This one is for a domain whose mail leaves "
        "by this gateway alone; one that has a record already adds the mechanisms a: to it. There may be only one."
    )
    mechanisms = " ".join(f"a:{host}" for host in hosts)
    return ZoneSection(SectionKey.SPF, "SPF", why, (ZoneRecord(f'{domain}. IN TXT "v=spf1 {mechanisms} ~all"'),))
