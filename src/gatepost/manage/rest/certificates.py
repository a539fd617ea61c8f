"""The certificates of the gateway and their changeover: looked at, brought in, switched, taken back.

They belong to the gateway. A private key goes in and never comes out. Every step is in the audit with what it changed
(`manage.use_cases.certificate_deeds`). Steps do not take If-Match: each says by itself
what state it needs, and is refused (409) in another.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from gatepost.analysis.checks.gates import gates_record
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.certificate_shapes import (
    Certificate,
    CertificateAdded,
    CertificateDetail,
    ForceBody,
    GatesLook,
    NewCertificateBody,
    Notice,
    PartnersTold,
    ReasonBody,
    RemovalQuery,
    Removed,
    RolledBack,
    StageBody,
    SwitchBody,
    Switched,
    ToldBody,
)
from gatepost.manage.rest.endpoint import Answer, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_deeds import added_told, changes_told, switch_told
from gatepost.manage.use_cases.certificate_intake import NewCertificate, add_certificate
from gatepost.manage.use_cases.certificate_removal import remove_certificate
from gatepost.manage.use_cases.certificates import certificate, details, entry_record, listing
from gatepost.manage.use_cases.changeover import check, notice, notice_record
from gatepost.manage.use_cases.changeover_steps import GatesClosed, switch_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import ahead
from gatepost.pki.certificates.entry import Purpose
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gatepost.analysis.checks.gates import GateReport
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.pki.certificates.entry import Entry


_TAG = "certificates"
_NUMBER = {"certificate": "Id, the beginning of a SHA-256 thumbprint, or label."}


def shown(entry: Entry) -> dict[str, Any]:
    """A `Certificate`."""
    return entry_record(entry, time.time())


def about(asked: Asked, entry: Entry) -> None:
    """For the audit: it is about this certificate, and whose it is."""
    told = asked.told[0]
    told.subject, told.organization = entry.id, entry.organization if entry.purpose is Purpose.CLIENT else ""


def changing(asked: Asked) -> AbstractContextManager[None]:
    """For the audit: what is changed within."""
    return changes_told(asked.gateway, asked.principal, asked.told[0].detail)


def _list(asked: Asked) -> Page:
    return page_of(listing(asked.gateway).entries, lambda one: one.id, asked.query, shown)


def _show(asked: Asked) -> dict[str, Any]:
    return details(asked.gateway, asked.principal, asked.path["certificate"])


def _add(asked: Asked) -> Answer:
    body: NewCertificateBody = asked.body
    told = asked.told[0]
    told.organization = body.organization
    new = NewCertificate(
        content=_content("chain", body.chain, body.encoding),
        source="chain",
        key=_content("key", body.key, body.encoding),
        key_source="key",
        password=body.password.encode() or None,
        client=body.client,
        organization=body.organization,
        label=body.label,
        current=body.current,
        note=body.note,
    )
    with changing(asked):
        done = add_certificate(asked.gateway, asked.principal, new, dry_run=asked.dry_run)
    about(asked, done.entry)
    told.detail |= added_told(done)
    value = {
        "certificate": shown(done.entry),
        "deprecated": [one.id for one in done.deprecated],
        "certificates": [shown(one) for one in (done.entry, *done.deprecated)],
        "notes": list(done.notes),
        "warnings": list(done.warnings),
    }
    return Answer(value, location=f"/certificates/{done.entry.id}")


def _content(field: str, text: str, encoding: str) -> bytes:
    if encoding == "pem":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        wrong = FieldError(field, "is not base64")
        raise Refusal(Kind.INPUT, "nothing was done", [wrong]) from None


def _remove(asked: Asked) -> dict[str, str]:
    query: RemovalQuery = asked.query
    number, force = asked.path["certificate"], query.force.strip()
    entry = certificate(asked.gateway, number).entry
    about(asked, entry)
    asked.told[0].detail["reason"] = force
    with changing(asked):
        text = remove_certificate(
            asked.gateway, asked.principal, entry.id, force=force, note=query.note, dry_run=asked.dry_run
        )
    return {"text": text}


def _gates(asked: Asked) -> dict[str, Any]:
    report = check(asked.gateway, asked.principal, asked.path["certificate"])
    about(asked, report.entry)
    asked.told[0].detail["light"] = str(report.light)
    return gates_look(report)


def gates_look(report: GateReport) -> dict[str, Any]:
    """A `GatesLook`."""
    return gates_record(report) | {"certificate": shown(report.entry)}


def _notice(asked: Asked) -> dict[str, Any]:
    found = notice(asked.gateway, asked.principal, asked.path["certificate"])
    return notice_record(found) | {"certificate": shown(found.entry)}


def _stage(asked: Asked) -> dict[str, Any]:
    number = asked.path["certificate"]
    with changing(asked):
        changed = steps.stage(asked.gateway, asked.principal, number, asked.body.replaces, dry_run=asked.dry_run)
    about(asked, changed)
    return shown(changed)


def _tell(asked: Asked) -> dict[str, Any]:
    body: ToldBody = asked.body
    with changing(asked):
        done = steps.tell(
            asked.gateway,
            asked.principal,
            asked.path["certificate"],
            body.partners,
            everybody=body.everybody,
            waive=body.waive,
            note=body.note.strip(),
            dry_run=asked.dry_run,
        )
    about(asked, done.entry)
    asked.told[0].detail["waived"] = body.waive
    return {"certificate": shown(done.entry), "told": list(done.told), "left": list(done.left)}


def _switch(asked: Asked) -> dict[str, Any]:
    body: SwitchBody = asked.body
    number, force = asked.path["certificate"], body.force.strip()
    try:
        at = ahead(body.at) if body.at else None
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error), [FieldError("at", str(error))]) from error
    try:
        with changing(asked):
            done = steps.switch(asked.gateway, asked.principal, number, at=at, force=force, dry_run=asked.dry_run)
    except GatesClosed as closed:
        about(asked, closed.report.entry)
        raise _not_switched(closed) from closed
    about(asked, done.new)
    asked.told[0].detail |= switch_told(done, force)
    return switch_record(done) | {"certificates": [shown(one) for one in (done.new, *done.olds)]}


def _not_switched(closed: GatesClosed) -> Refusal:
    """Which gates, and the whole look as the member "gates"."""
    errors = [FieldError(f"gates.{one.gate}", one.text) for one in closed.report.stopping]
    more = {"gates": gates_look(closed.report)}
    return Refusal(Kind.CONFLICT, closed.text, errors, options=closed.options, more=more)


def _cancel(asked: Asked) -> dict[str, Any]:
    with changing(asked):
        entry = steps.cancel(asked.gateway, asked.principal, asked.path.get("certificate", ""), dry_run=asked.dry_run)
    about(asked, entry)
    return shown(entry)


def _roll_back(asked: Asked) -> dict[str, Any]:
    number, note = asked.path.get("certificate", ""), asked.body.note.strip()
    with changing(asked):
        done = steps.roll_back(asked.gateway, asked.principal, number, note=note, dry_run=asked.dry_run)
    about(asked, done.new)
    asked.told[0].detail["note"] = note
    return {
        "id": done.new.id,
        "current": [one.id for one in done.current],
        "warnings": list(done.warnings),
        "certificates": [shown(one) for one in (done.new, *done.current)],
    }


def _withdraw(asked: Asked) -> dict[str, Any]:
    number, force = asked.path["certificate"], asked.body.force.strip()
    with changing(asked):
        entry = steps.withdraw(asked.gateway, asked.principal, number, force=force, dry_run=asked.dry_run)
    about(asked, entry)
    asked.told[0].detail["reason"] = force
    return shown(entry)


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
        action=named("certificate", _ACTIONS.get(name, name)),
    )


_ACTIONS = {"gates": "look", "told": "tell"}  # as the pages have them

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
        seeks=True,
        changes=True,
        action="certificate-add",
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
    Endpoint(
        "DELETE",
        "/certificates/{certificate}",
        "Forget a certificate with its key, unless something needs it",
        _remove,
        Removed,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        query=RemovalQuery,
        changes=True,
        parameters=_NUMBER,
        action="certificate-remove",
    ),
    Endpoint(
        "GET",
        "/certificates/{certificate}/notice",
        "The text of a mail to partners, and who they are",
        _notice,
        Notice,
        Scope.READ,
        Reach.GATEWAY,
        _TAG,
        parameters=_NUMBER,
    ),
    _step(
        "gates",
        "Look at the gates of a changeover now",
        _gates,
        GatesLook,
        description="Asks authorities, the DNS and the gateway itself, for up to a minute and a half. Changes nothing. "
        "Two looks at a time of one user or token, four of all; beyond, 429.",
    ),
    _step("told", "Remember that partners were told, or need not be", _tell, PartnersTold, ToldBody),
    _step("stage", "Say whose place a next certificate takes", _stage, Certificate, StageBody),
    _step(
        "switch",
        "Present a next certificate, now or at a time",
        _switch,
        Switched,
        SwitchBody,
        "The gates are looked at first; while one is not green it is refused (409), unless force says why. While too "
        "many look at gates it waits for its turn, half a minute at most; then 429.",
    ),
    _step("cancel", "Forget the time of a planned switch", _cancel, Certificate),
    _step(
        "roll-back",
        "Present the certificate before again, within 24 hours",
        _roll_back,
        RolledBack,
        ReasonBody,
    ),
    *(
        Endpoint(
            "POST",
            f"/certificate_changeovers/{name}",
            summary,
            handler,
            answer,
            Scope.CERTIFICATES,
            Reach.GATEWAY,
            _TAG,
            body=body,
            changes=True,
            action=named("certificate", name),
        )
        for name, summary, handler, answer, body in (
            ("cancel", "Forget the time of the one switch that is planned", _cancel, Certificate, None),
            ("roll-back", "Roll back the last switch, within 24 hours", _roll_back, RolledBack, ReasonBody),
        )
    ),
    _step("withdraw", "Destroy the key of a deprecated certificate", _withdraw, Certificate, ForceBody),
)
