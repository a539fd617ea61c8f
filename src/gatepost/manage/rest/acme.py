"""Certificates asked for at the ACME authority by a call, as `gatepost certificate acme renew` does; its account.

An authority takes from seconds to minutes: the call begins it and waits for as long as it is told. Where orders
stand is in `manage.rest.certificate_inventory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Answer, Endpoint, Reach
from gatepost.manage.use_cases.acme_renewal import Order, begin_renewal, forget_account
from gatepost.manage.use_cases.refusal import Busy, Kind

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.acme_renewal import RenewalRun


_TAG = "certificates"


class Patience(msgspec.Struct, kw_only=True):
    """How long to wait for the result."""

    wait: Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")] = 20.0


class RenewCertificates(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which certificates, and how. name: that one shall bear; empty for all that are due.

    at_once: also if nothing is due, or a failure is being waited out. staging: address of another authority, with which
    all of it is gone through and nothing kept.
    """

    name: Annotated[str, Meta(max_length=300)] = ""
    at_once: bool = False
    staging: Annotated[str, Meta(max_length=1000)] = ""


class CertificateRenewal(msgspec.Struct):
    """What came of one certificate. text: about the one that came, or why none did."""

    names: list[str]
    ok: bool
    text: str


class RenewalState(msgspec.Struct):
    """Certificates that are asked for. names: of all of them; none if nothing is due.

    results: of those that ended so far. trouble: why the authority could not be asked, "" if it could.
    """

    id: str
    names: list[str]
    done: bool
    trouble: str
    results: list[CertificateRenewal]


class ForgottenAccount(msgspec.Struct):
    """directory: of the authority at which the account was."""

    directory: str


def _renew(asked: Asked) -> Answer:
    body: RenewCertificates = asked.body
    asked.told[0].subject = body.name
    order = Order(body.name, body.at_once, body.staging)
    gateway = asked.gateway
    run = begin_renewal(gateway, asked.principal, order, asked.accounts, asked.by)
    if run is None:
        raise Busy("certificates are being asked for just now; wait a minute", kind=Kind.UNREADABLE)
    found = gateway.renewing.find(run.id, asked.query.wait)
    return Answer(_state(found), location=f"/acme/renewals/{run.id}")


def _show(asked: Asked) -> dict[str, Any]:
    return _state(asked.gateway.renewing.find(asked.path["id"], asked.query.wait))


def _state(run: RenewalRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "names": run.names,
        "done": not run.is_running,
        "trouble": run.error,
        "results": [one._asdict() for one in run.done],
    }


def _forget(asked: Asked) -> dict[str, Any]:
    directory = forget_account(asked.gateway, asked.principal)
    asked.told[0].subject = directory
    return {"directory": directory}


ENDPOINTS = (
    Endpoint(
        "POST",
        "/acme/renewals",
        "Ask the ACME authority for the certificates that are due, or for one",
        _renew,
        RenewalState,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        query=Patience,
        body=RenewCertificates,
        status=201,
        action="certificate-renew",
        recorded=True,
        description="One at a time. Authorities limit how many they issue in a week. Another authority than that of "
        "the settings and Let's Encrypt's staging needs the scope `owner`.",
    ),
    Endpoint(
        "GET",
        "/acme/renewals/{id}",
        "What came of the certificates that were asked for, as far as it came",
        _show,
        RenewalState,
        Scope.READ,
        Reach.GATEWAY,
        _TAG,
        query=Patience,
        parameters={"id": "Of the renewal, as its beginning answered; the last 20 are kept."},
    ),
    Endpoint(
        "DELETE",
        "/acme/account",
        "Forget the account at the ACME authority, with its key, and what was tried; certificates stay",
        _forget,
        ForgottenAccount,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        action="certificate-acme-forget",
    ),
)
