"""What our own domains publish, as it is to be and as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.dns_checks import sight_record
from gatepost.manage.use_cases.mta_sts import published_policy
from gatepost.manage.use_cases.publication import publication_of, publication_record

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.publication import Publication


_TAG = "checks"


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
    """What a domain is to publish. zone: all lines."""

    organization: str
    domain: str
    hosts: list[str]
    zone: str
    sections: list[PublicationSection]


class PublicationFinding(msgspec.Struct):
    """verdict: pass, info, warn, fail or unknown. fix: what to do."""

    stage: str
    verdict: str
    text: str
    evidence: str
    fix: str


class SectionSight(msgspec.Struct):
    """What was seen of a section; the gravest verdict counts."""

    key: str
    verdict: str
    findings: list[PublicationFinding]


class PublicationSight(msgspec.Struct):
    """What the DNS says of a domain. at: seconds since 1970."""

    at: float
    verdict: str
    sections: list[SectionSight]


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


class PolicyQuery(msgspec.Struct, kw_only=True):
    """What is to be found out."""

    check: Annotated[bool, Meta(description="Also look at it as a sender would, which takes up to half a minute.")] = (
        False
    )
    private: Annotated[
        bool, Meta(description="With check: the policy host may be at an address that is not public.")
    ] = False


def _policy(asked: Asked) -> dict[str, Any]:
    query: PolicyQuery = asked.query
    gateway, who, path = asked.gateway, asked.principal, asked.path
    return published_policy(
        gateway, who, path["domain"], path["organization"], check=query.check, private=query.private
    )


def _publication(asked: Asked) -> dict[str, Any]:
    return publication_record(_found(asked))


def _seen(asked: Asked) -> dict[str, Any]:
    return sight_record(asked.gateway.sights.look(asked.gateway, _found(asked)))


def _found(asked: Asked) -> Publication:
    return publication_of(asked.gateway, asked.principal, asked.path["domain"], asked.path["organization"])


_NAMES = {"organization": "Name of the organization.", "domain": "Name of the accepted domain."}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/organizations/{organization}/domains/{domain}/publication",
        "What an accepted domain is to publish in the DNS",
        _publication,
        DomainPublication,
        Scope.READ,
        Reach.ORGANIZATION,
        _TAG,
        parameters=_NAMES,
    ),
    Endpoint(
        "GET",
        "/organizations/{organization}/domains/{domain}/publication/seen",
        "What the DNS says of an accepted domain now",
        _seen,
        PublicationSight,
        Scope.READ,
        Reach.ORGANIZATION,
        _TAG,
        parameters=_NAMES,
    ),
    Endpoint(
        "GET",
        "/organizations/{organization}/domains/{domain}/mta_sts",
        "The MTA-STS policy of an accepted domain, and whether senders find it",
        _policy,
        MtaStsPolicy,
        Scope.READ,
        Reach.ORGANIZATION,
        _TAG,
        query=PolicyQuery,
        parameters=_NAMES,
        description="`private` is for who may make connectors for the whole gateway.",
    ),
)
