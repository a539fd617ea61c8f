"""Checks of partners and hosts, and of what our own domains publish.

A check takes up to a minute and a half: the call begins it and waits for as long as it is told; the result is there for
an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.partner_report import check_record
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.use_cases.dns_checks import sight_record
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.mta_sts import PublicationFinding  # noqa: TC001 - msgspec reads it
from gatepost.manage.use_cases.partner import Target, look, look_of, target_of
from gatepost.manage.use_cases.publication import publication_of, publication_record

if TYPE_CHECKING:
    from gatepost.analysis.checks.partner_report import PartnerCheck
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.jobs import Job
    from gatepost.manage.use_cases.publication import Publication


_TAG = "checks"


class _Patience(msgspec.Struct, kw_only=True):
    """How long to wait for the result."""

    wait: Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")] = 20.0


class CheckPartner(msgspec.Struct, forbid_unknown_fields=True):
    """domain: whose MX hosts are looked at; an address in it does as well."""

    domain: Annotated[str, Meta(max_length=1000)]


class CheckHost(msgspec.Struct, forbid_unknown_fields=True):
    """host: "HOST" or "HOST:PORT"; port 25 unless written."""

    host: Annotated[str, Meta(max_length=1000)]


class CheckState(msgspec.Struct):
    """A check. result: as far as it came, as `gatepost check --json` prints it. trouble: why it ended without one."""

    id: str
    target: str
    kind: str
    done: bool
    trouble: str
    result: dict[str, Any] | None


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


def _partner(asked: Asked) -> Answer:
    return _begun(asked, asked.body.domain, is_host=False)


def _host(asked: Asked) -> Answer:
    return _begun(asked, asked.body.host, is_host=True)


def _begun(asked: Asked, text: str, *, is_host: bool) -> Answer:
    gateway, principal = asked.gateway, asked.principal
    asked.told[0].subject = text
    wanted = look_of(gateway, principal, target_of(text, host=is_host))
    run = gateway.kept(Jobs).start(wanted.target, principal, lambda told: look(wanted, told))
    run.wait(asked.query.wait)
    return Answer(_state(run), location=f"/checks/{run.id}")


def _show(asked: Asked) -> dict[str, Any]:
    run = asked.gateway.kept(Jobs).find(asked.path["id"], asked.principal, Target)
    run.wait(asked.query.wait)
    return _state(run)


def _state(run: Job[Target, PartnerCheck]) -> dict[str, Any]:
    return {
        "id": run.id,
        "target": run.subject.text,
        "kind": run.subject.kind,
        "done": run.done,
        "trouble": run.trouble,
        "result": check_record(run.result) if run.result is not None else None,
    }


def _publication(asked: Asked) -> dict[str, Any]:
    return publication_record(_found(asked))


def _seen(asked: Asked) -> dict[str, Any]:
    return sight_record(asked.gateway.sights.look(asked.gateway, _found(asked)))


def _found(asked: Asked) -> Publication:
    return publication_of(asked.gateway, asked.principal, asked.path["domain"], asked.path["organization"])


_NAMES = {"organization": "Name of the organization.", "domain": "Name of the accepted domain."}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/checks/partner",
        "Would mail to a domain be delivered safely?",
        _partner,
        CheckState,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        action="check-partner",
        query=_Patience,
        body=CheckPartner,
        status=201,
        description="Hosts are reached at public addresses only, unless the token may make connectors for the gateway.",
    ),
    Endpoint(
        "POST",
        "/checks/host",
        "Would mail to one host be delivered safely?",
        _host,
        CheckState,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        action="check-host",
        query=_Patience,
        body=CheckHost,
        status=201,
        description="Other ports than 25, 465 and 587 are for smart hosts of connectors that are seen.",
    ),
    Endpoint(
        "GET",
        "/checks/{id}",
        "A check, as far as it came",
        _show,
        CheckState,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=_Patience,
        parameters={"id": "Of the check, as its beginning answered."},
    ),
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
