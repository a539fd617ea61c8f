"""The certificates of the gateway and their changeover: looked at, brought in, switched, taken back.

They belong to the gateway. A private key goes in and never comes out. Steps do not take If-Match: each says by itself
what state it needs, and is refused (409) in another.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.access.principal import Scope
from gatepost.administration import changeover_steps as steps
from gatepost.administration.certificate_intake import NewCertificate, add_certificate
from gatepost.administration.certificates import certificate, certificate_record, list_record, listing
from gatepost.administration.changeover import check
from gatepost.administration.changeover_steps import GatesClosed, switch_record
from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.times import ahead
from gatepost.api.endpoint import Answer, Endpoint, ListOf, Reach
from gatepost.api.paging import Page, Paging, page_of
from gatepost.checks.gates import gates_record
from gatepost.connectors.errors import FieldError

if TYPE_CHECKING:
    from gatepost.api.endpoint import Asked

__all__ = ["ENDPOINTS"]

_TAG = "certificates"
_NUMBER = {"certificate": "Id, the beginning of a SHA-256 thumbprint, or label."}
type _Reason = Annotated[str, Meta(max_length=1000)]
type _Pem = Annotated[str, Meta(max_length=200_000)]


class Certificate(msgspec.Struct):
    """One of our certificates. Times: seconds since 1970, null if not yet or not known.

    state: next, current, deprecated or retired. purpose: server or client. since: in this state. current_from,
    current_until: presented. switch_at: planned. replaces: ids of those whose place it takes, or took.
    """

    id: str
    state: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    subject: str
    issuer: str
    key: str
    not_before: float
    not_after: float
    days_left: int
    origin: str
    added: float | None
    since: float | None
    current_from: float | None
    current_until: float | None
    switch_at: float | None
    replaces: list[str]
    must_staple: bool


class CertificateLink(msgspec.Struct):
    """A certificate of a chain. crl, ocsp, aia: addresses that it names."""

    subject: str
    issuer: str
    serial: str
    sha256: str
    key: str
    not_before: float
    not_after: float
    crl: list[str]
    ocsp: list[str]
    aia: list[str]


class CertificateDetail(Certificate):
    """Everything about one. tlsa: data of a TLSA record. key_is: where its private key is. chain: leaf first."""

    serial: str
    sha1: str
    sha256: str
    spki_sha256: str
    tlsa: str
    key_is: str
    key_file: str
    chain_file: str
    chain: list[CertificateLink]


class NewCertificateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A certificate to come in, as PEM.

    chain: it and its intermediates, in any order. key: its private key, if it is not in chain and does not wait here
    since a request. purpose client: a client identity of an organization, which connectors name by its label. current:
    present it at once, without asking the gates. note: for the history.
    """

    chain: _Pem
    key: _Pem = ""
    password: Annotated[str, Meta(max_length=1000)] = ""
    client: bool = False
    organization: Annotated[str, Meta(max_length=100)] = ""
    label: Annotated[str, Meta(max_length=100)] = ""
    current: bool = False
    note: _Reason = ""


class CertificateAdded(msgspec.Struct):
    """deprecated: ids of those whose place it took. notes: what was put right. warnings: what to think about."""

    certificate: Certificate
    deprecated: list[str]
    notes: list[str]
    warnings: list[str]


class GateFinding(msgspec.Struct):
    """What was found at a gate. verdict: pass, info, warn, fail or unknown. until: when waiting alone mends it."""

    gate: str
    verdict: str
    text: str
    evidence: str
    fix: str
    until: float | None


class Gates(msgspec.Struct):
    """A look at the gates. light: green, red or unknown. green_at: when waiting alone opens all of them."""

    id: str
    at: float
    seconds: float
    light: str
    fails: int
    warnings: int
    unknown: int
    green_at: float | None
    findings: list[GateFinding]


class StageBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """replaces: ids of current ones whose place it takes beside those that are plain."""

    replaces: Annotated[list[str], Meta(max_length=50)] = msgspec.field(default_factory=list)


class SwitchBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """at: when, "2h" or a date with time (UTC); empty is now. force: why, though gates are not green."""

    at: Annotated[str, Meta(max_length=64)] = ""
    force: _Reason = ""


class ReasonBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """note: why, for the history."""

    note: _Reason = ""


class ForceBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """force: why, though it could still be rolled back to."""

    force: _Reason = ""


class Switched(msgspec.Struct):
    """switched: whether it is current now. planned: when it will be. replaced: whose place it took."""

    id: str
    switched: bool
    planned: float | None
    replaced: list[str]
    gates: Gates


class RolledBack(msgspec.Struct):
    """current: those that are presented again. warnings: what of the DNS does not fit them."""

    id: str
    current: list[str]
    warnings: list[str]


def _list(asked: Asked) -> Page:
    found, now = listing(asked.gateway), time.time()
    return page_of(found.entries, lambda one: one.id, asked.query, lambda one: list_record(one, now))


def _show(asked: Asked) -> dict[str, Any]:
    entry, chain, _ = certificate(asked.gateway, asked.path["certificate"])
    return certificate_record(entry, chain, time.time())


def _add(asked: Asked) -> Answer:
    body: NewCertificateBody = asked.body
    new = NewCertificate(
        content=body.chain.encode(),
        source="chain",
        key=body.key.encode(),
        key_source="key",
        password=body.password.encode() or None,
        client=body.client,
        organization=body.organization,
        label=body.label,
        current=body.current,
        note=body.note,
    )
    (entry, deprecated), prepared = add_certificate(asked.gateway, asked.principal, new, dry_run=asked.dry_run)
    value = {
        "certificate": list_record(entry, time.time()),
        "deprecated": [one.id for one in deprecated],
        "notes": list(prepared.notes),
        "warnings": list(prepared.warnings),
    }
    return Answer(value, location=f"/certificates/{entry.id}")


def _gates(asked: Asked) -> dict[str, Any]:
    return gates_record(check(asked.gateway, asked.path["certificate"]))


def _stage(asked: Asked) -> dict[str, Any]:
    number = asked.path["certificate"]
    changed = steps.stage(asked.gateway, asked.principal, number, asked.body.replaces, dry_run=asked.dry_run)
    return list_record(changed, time.time())


def _switch(asked: Asked) -> dict[str, Any]:
    body: SwitchBody = asked.body
    number = asked.path["certificate"]
    try:
        at = ahead(body.at) if body.at else None
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error), [FieldError("at", str(error))]) from error
    try:
        done = steps.switch(
            asked.gateway, asked.principal, number, at=at, force=body.force.strip(), dry_run=asked.dry_run
        )
    except GatesClosed as closed:
        errors = [FieldError(f"gates.{one.gate}", one.text) for one in closed.report.stopping]
        raise Refusal(Kind.CONFLICT, closed.text, errors, options=closed.options) from closed
    return switch_record(done)


def _cancel(asked: Asked) -> dict[str, Any]:
    entry = steps.cancel(asked.gateway, asked.principal, asked.path["certificate"], dry_run=asked.dry_run)
    return list_record(entry, time.time())


def _roll_back(asked: Asked) -> dict[str, Any]:
    number = asked.path["certificate"]
    done = steps.roll_back(asked.gateway, asked.principal, number, note=asked.body.note.strip(), dry_run=asked.dry_run)
    return {"id": done.new.id, "current": [one.id for one in done.current], "warnings": list(done.warnings)}


def _withdraw(asked: Asked) -> dict[str, Any]:
    number = asked.path["certificate"]
    entry = steps.withdraw(
        asked.gateway, asked.principal, number, force=asked.body.force.strip(), dry_run=asked.dry_run
    )
    return list_record(entry, time.time())


def _step(name: str, summary: str, handler: Any, answer: Any, body: Any = None, description: str = "") -> Endpoint:
    """Something that is done to one of them."""
    return Endpoint(
        "POST",
        f"/certificates/{{certificate}}/{name}",
        summary,
        handler,
        answer,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        body=body,
        changes=name != "gates",
        description=description,
        parameters=_NUMBER,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/certificates",
        "All certificates, client identities among them",
        _list,
        ListOf(Certificate),
        Scope.READ,
        Reach.GATEWAY,
        _TAG,
        query=Paging,
    ),
    Endpoint(
        "POST",
        "/certificates",
        "Add a certificate with its key",
        _add,
        CertificateAdded,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        body=NewCertificateBody,
        status=201,
        changes=True,
        description="It is next until a switch, unless nothing is current yet for its names. Its key is sealed.",
    ),
    Endpoint(
        "GET",
        "/certificates/{certificate}",
        "Everything about a certificate",
        _show,
        CertificateDetail,
        Scope.READ,
        Reach.GATEWAY,
        _TAG,
        parameters=_NUMBER,
    ),
    _step(
        "gates",
        "Look at the gates of a changeover now",
        _gates,
        Gates,
        description="Asks authorities, the DNS and the gateway itself, for up to a minute and a half. Changes nothing.",
    ),
    _step("stage", "Say whose place a next certificate takes", _stage, Certificate, StageBody),
    _step(
        "switch",
        "Present a next certificate, now or at a time",
        _switch,
        Switched,
        SwitchBody,
        "The gates are looked at first; while one is not green it is refused (409), unless force says why.",
    ),
    _step("cancel", "Forget the time of a planned switch", _cancel, Certificate),
    _step(
        "roll-back",
        "Present the certificate before again, within 24 hours",
        _roll_back,
        RolledBack,
        ReasonBody,
    ),
    _step("withdraw", "Destroy the key of a deprecated certificate", _withdraw, Certificate, ForceBody),
)
