"""What our own domains publish, as it is to be and as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.dns_checks import sight_record
from gatepost.manage.use_cases.mta_sts import PublicationFinding  # noqa: TC001 - msgspec reads it
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
)
