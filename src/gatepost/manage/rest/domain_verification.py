"""Accepted domains proved to be an organization's own, by a TXT record that the gateway looks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import ChangeOutcome, ChangeQuery, answer, wish
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.use_cases.domain_verification import domain_verification, verify_domain

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


_PATH = "/organizations/{organization}/domains/{domain}"
_NAMES = {"organization": "Whose it is.", "domain": 'An accepted domain of the organization, or "*.domain".'}


class ProofRecord(msgspec.Struct):
    """A TXT record. name: where it stands. text: what it says."""

    name: str
    text: str


class DomainVerification(msgspec.Struct):
    """Whether a domain is verified, and the record that proves it. zone: the same as a line of a zone file."""

    organization: str
    domain: str
    verified: bool
    record: ProofRecord
    zone: str


def _show(asked: Asked) -> dict[str, Any]:
    return domain_verification(asked.gateway, asked.principal, asked.path["domain"], asked.path["organization"])


def _verify(asked: Asked) -> Answer:
    domain = asked.path["domain"]
    asked.told[0].subject = domain
    outcome = verify_domain(asked.gateway, asked.principal, domain, asked.path["organization"], wish(asked))
    asked.told[0].detail = {"version": outcome.version}
    return answer(outcome)


ENDPOINTS = (
    Endpoint(
        "GET",
        f"{_PATH}/verification",
        "Whether an accepted domain is verified, and the TXT record that proves it",
        _show,
        DomainVerification,
        Scope.READ,
        Reach.ORGANIZATION,
        "accepted domains",
        parameters=_NAMES,
    ),
    Endpoint(
        "POST",
        f"{_PATH}/verify",
        "Look for the TXT record of a pending domain, and verify the domain if it is there",
        _verify,
        ChangeOutcome,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        "accepted domains",
        query=ChangeQuery,
        changes=True,
        guarded=True,
        versioned=True,
        action="domain-verify",
        parameters=_NAMES,
        description="Refused (409) while the record is not there, with what was seen, or (503) if the DNS does not "
        "answer. Asks the DNS, for some seconds.",
    ),
)
