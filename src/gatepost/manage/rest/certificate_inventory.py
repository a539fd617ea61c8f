"""The inventory of certificates as a whole: all that is in it, its history, requests, the published table, ACME.

And where changeovers stand. Certificates one by one are in `manage.rest.certificates`. A key that is made for a request
stays on the gateway.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.certificate_shapes import Certificate, GatesLook, Removed
from gatepost.manage.rest.certificates import changing, gates_look, shown
from gatepost.manage.rest.endpoint import Answer, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of
from gatepost.manage.use_cases.acme_orders import acme_status
from gatepost.manage.use_cases.certificate_removal import remove_directory, remove_request
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificate_table import base_url, table_files
from gatepost.manage.use_cases.certificates import change_records, everything, request, request_record
from gatepost.manage.use_cases.changeover import looks, status_record
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.request import Wish

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.changeover import Look


_TAG = "certificates"
_NEWEST = 10_000  # changes that are looked through
type _Text = Annotated[str, Meta(max_length=1000)]


class CertificateRequest(msgspec.Struct):
    """A request that waits for its certificate. purpose: server or client. key: its kind. added: seconds since 1970.

    key_file: where the key waits, empty if it is sealed in the store.
    """

    id: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    key: str
    must_staple: bool
    added: float
    key_file: str


class CertificateInventory(msgspec.Struct):
    """All there is. version: of the configuration. directories: watched. trouble: about files of the settings."""

    version: int
    certificates: list[Certificate]
    requests: list[CertificateRequest]
    directories: list[str]
    trouble: list[str]


class CertificateChange(msgspec.Struct):
    """A change of a certificate, a request or a directory (kind). at: seconds since 1970."""

    version: int
    at: float
    author: str
    kind: str
    id: str
    names: list[str]
    change: str
    note: str


class NewRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is asked of an authority. names: the first is also the CN. key: ec-p256, ec-p384, rsa-2048, -3072 or -4096.

    client: a client identity of an organization, which connectors name by its label. must_staple: RFC 7633.
    """

    names: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=100)] = msgspec.field(
        default_factory=list
    )
    key: Annotated[str, Meta(max_length=20)] = "ec-p256"
    client: bool = False
    organization: Annotated[str, Meta(max_length=100)] = ""
    label: Annotated[str, Meta(max_length=100)] = ""
    must_staple: bool = False


class RequestMade(msgspec.Struct):
    """csr: what is sent to the authority (PKCS#10, PEM), empty if it is lost. Its key stays on the gateway."""

    request: CertificateRequest
    csr: str


class NoteQuery(msgspec.Struct, kw_only=True):
    """note: for the history."""

    note: _Text = ""


class TableQuery(msgspec.Struct, kw_only=True):
    """base_url: where the files will be served, for the links in the feed."""

    base_url: _Text = ""


class TableFile(msgspec.Struct):
    """A file of the table. type: media type. lasting: it always holds the same. content: base64."""

    name: str
    type: str
    lasting: bool
    content: bytes


class CertificateTable(msgspec.Struct):
    """The table for partners as files for a web server. notes: what is missing in it. changed: RFC 3339."""

    version: str
    changed: str | None
    certificates: int
    notes: list[str]
    files: list[TableFile]


class AcmeOrder(msgspec.Struct):
    """A certificate that there shall be. certificate: its id. Times: seconds since 1970; not_before: the next try."""

    names: list[str]
    certificate: str
    state: str
    not_after: float | None
    renew_at: float | None
    renew_at_from: str
    tried: float | None
    succeeded: float | None
    failures: int
    not_before: float | None
    error: str


class AcmeStatus(msgspec.Struct):
    """ok: all are there, and the last attempts went well. directory: of the authority. account: its address there."""

    ok: bool
    directory: str
    account: str
    certificates: list[AcmeOrder]


class LookBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """certificate: as in paths; empty for every one that is staged, or that can be rolled back."""

    certificate: Annotated[str, Meta(max_length=200)] = ""


class TrafficCount(msgspec.Struct):
    """Messages that came in. domains: who sent over TLS."""

    over_tls: int
    in_clear: int
    refused_for_want_of_tls: int
    domains: list[str]


class ChangeoverTraffic(msgspec.Struct):
    """Since the switch, and in as long before."""

    since: TrafficCount
    before: TrafficCount


class Changeover(msgspec.Struct):
    """Where one stands. roll_back_until: seconds since 1970. next: what to do, in order, with the commands."""

    certificate: Certificate
    replaces: list[Certificate]
    held: str
    forced: str
    told: list[str]
    roll_back_until: float | None
    gates: GatesLook | None
    traffic: ChangeoverTraffic | None
    next: list[str]


class Changeovers(msgspec.Struct):
    """at: seconds since 1970. certificates: all there are."""

    at: float
    items: list[Changeover]
    certificates: list[Certificate]


def _inventory(asked: Asked) -> dict[str, Any]:
    found = everything(asked.gateway, asked.principal)
    return {
        "version": found.version,
        "certificates": [shown(one) for one in found.entries],
        "requests": [request_record(one) for one in found.requests],
        "directories": list(found.directories),
        "trouble": list(found.trouble),
    }


def _history(asked: Asked) -> Page:
    found = change_records(asked.gateway, asked.principal, _NEWEST)
    return page_of(found, lambda one: f"{one['version']} {one['kind']} {one['id']}", asked.query, lambda one: one)


def _ask(asked: Asked) -> Answer:
    body: NewRequest = asked.body
    purpose = Purpose.CLIENT if body.client else Purpose.SERVER
    wish = Wish(
        tuple(body.names), body.key, purpose, body.organization, body.label.strip(), must_staple=body.must_staple
    )
    told = asked.told[0]
    told.organization = body.organization
    with changing(asked):
        made, csr = request_certificate(asked.gateway, asked.principal, wish, dry_run=asked.dry_run)
    told.subject = made.id
    return Answer({"request": request_record(made), "csr": csr.decode()}, location=f"/certificate_requests/{made.id}")


def _request(asked: Asked) -> dict[str, Any]:
    found, csr = request(asked.gateway, asked.path["request"])
    return {"request": request_record(found), "csr": csr.decode()}


def _remove_request(asked: Asked) -> dict[str, str]:
    number, note = asked.path["request"], asked.query.note
    with changing(asked):
        text = remove_request(asked.gateway, asked.principal, number, note=note, dry_run=asked.dry_run)
    return {"text": text}


def _remove_directory(asked: Asked) -> dict[str, str]:
    path, note = asked.path["directory"], asked.query.note
    with changing(asked):
        text = remove_directory(asked.gateway, asked.principal, path, note=note, dry_run=asked.dry_run)
    return {"text": text}


def _table(asked: Asked) -> dict[str, Any]:
    found = table_files(asked.gateway, asked.principal, base_url(asked.query.base_url))
    files = [{"name": one.name, "type": one.kind, "lasting": one.lasting, "content": one.body} for one in found.files]
    return {**found._asdict(), "files": files}


def _acme(asked: Asked) -> dict[str, Any]:
    return acme_status(asked.gateway, asked.principal)


def _look(asked: Asked) -> dict[str, Any]:
    number = asked.body.certificate
    asked.told[0].subject = number
    found = looks(asked.gateway, asked.principal, number)
    asked.told[0].detail["looked at"] = [one.entry.id for one in found]
    every = found[0].entries.values() if found else everything(asked.gateway, asked.principal).entries
    now = found[0].now if found else time.time()
    return {"at": now, "items": [_changeover(one) for one in found], "certificates": [shown(one) for one in every]}


def _changeover(found: Look) -> dict[str, Any]:
    record = status_record(found)
    return record | {
        "certificate": shown(found.entry),
        "replaces": [shown(found.entries[one["id"]]) for one in record["replaces"]],
        "gates": gates_look(found.report) if found.report else None,
    }


def _get(path: str, summary: str, handler: Any, answer: Any, query: Any = None, **more: Any) -> Endpoint:
    given = {} if query is None else {"query": query}
    return Endpoint("GET", path, summary, handler, answer, Scope.READ, Reach.GATEWAY, _TAG, **given, **more)


def _change(method: str, path: str, summary: str, handler: Any, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        method, path, summary, handler, answer, Scope.CERTIFICATES, Reach.GATEWAY, _TAG, changes=True, **more
    )


_REQUEST = {"request": "Id of the request."}

ENDPOINTS = (
    _get(
        "/certificate_inventory",
        "Certificates, requests and watched directories at once, as `gatepost certificate list` has them",
        _inventory,
        CertificateInventory,
    ),
    _get(
        "/certificate_history",
        "Who changed certificates, requests and directories, when and why, the newest first",
        _history,
        ListOf(CertificateChange),
        Paging,
    ),
    _change(
        "POST",
        "/certificate_requests",
        "Make a key and a request for a certificate (CSR)",
        _ask,
        RequestMade,
        body=NewRequest,
        status=201,
        seeks=True,
        description="The key waits on the gateway, sealed; `POST /certificates` takes the certificate without a key.",
        action="certificate-request",
    ),
    _get(
        "/certificate_requests/{request}",
        "A request that waits, and its CSR",
        _request,
        RequestMade,
        parameters=_REQUEST,
    ),
    _change(
        "DELETE",
        "/certificate_requests/{request}",
        "Forget a request that waits, and its key",
        _remove_request,
        Removed,
        query=NoteQuery,
        parameters=_REQUEST,
        action="certificate-request-remove",
    ),
    _change(
        "DELETE",
        "/certificate_directories/{directory:path}",
        "Watch a directory no longer; what was found in it stays",
        _remove_directory,
        Removed,
        query=NoteQuery,
        parameters={"directory": "Its whole path."},
        action="certificate-directory-remove",
    ),
    _get(
        "/certificate_table",
        "The certificate table for partners, as files for a web server",
        _table,
        CertificateTable,
        TableQuery,
    ),
    _get("/acme", "Certificates from an ACME authority: where each stands", _acme, AcmeStatus),
    Endpoint(
        "POST",
        "/certificate_changeovers/look",
        "Where changeovers stand: looks at the gates of each now",
        _look,
        Changeovers,
        Scope.CERTIFICATES,
        Reach.GATEWAY,
        _TAG,
        body=LookBody,
        seeks=True,
        description="Asks authorities, the DNS and the gateway itself, for up to a minute and a half for each. Two "
        "looks at a time of one user or token, four of all; beyond, 429.",
        action="certificate-look",
    ),
)
