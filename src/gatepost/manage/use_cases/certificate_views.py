"""Certificates as pages look at them: entries with where they are presented, who changed them, and how they go on."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.acme_renewal import acme_state, last_renewal, renewal_source
from gatepost.manage.use_cases.certificate_removal import needed
from gatepost.manage.use_cases.certificate_table import PublishedTable, published_table
from gatepost.manage.use_cases.certificates import (
    CertificateChange,
    CertificateDetail,
    CertificateListing,
    CertificateNumber,
    certificate,
    certificate_detail,
    certificate_listing,
    change_of,
)
from gatepost.manage.use_cases.changeover import ChangeoverStatus, changeover_status
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.inventory import history
from gatepost.manage.use_cases.nodes import known_nodes
from gatepost.manage.use_cases.presentation_places import (
    ListenerPresentation,
    PresentationPlaces,
    check_presentation,
    presentation_places,
    presented_elsewhere,
)
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.pki.certificates.entry import Entry, Purpose
from gatepost.pki.certificates.forms import Roots

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


use_case = use_cases(scope=Scope.READ, visibility=Visibility.GATEWAY, tag="certificates")
_CHANGES: Final = 30  # of one certificate
_ROOTS_SECONDS: Final = 300.0


class ViewCertificates(msgspec.Struct, kw_only=True):
    """All of them."""


@use_case()
def view_certificates(context: Context, request: ViewCertificates) -> CertificateListing:  # noqa: ARG001 - all
    """All certificates, requests and watched directories."""
    return certificate_listing(context.gateway)


class LocateCertificates(msgspec.Struct, kw_only=True):
    """certificates: ids, of the rows of a page."""

    certificates: list[str]


@use_case()
def locate_certificates(context: Context, request: LocateCertificates) -> dict[str, PresentationPlaces]:
    """Where certificates are presented, by id: addresses of listeners, or the connectors that name them."""
    named = frozenset(request.certificates)
    entries = (entry for entry in certificate_listing(context.gateway).entries if entry.id in named)
    nodes = known_nodes(context.gateway)
    return {entry.id: presentation_places(context.gateway, entry, nodes) for entry in entries}


class RenewalOrder(NamedTuple):
    """When a certificate is renewed by ACME, and who says so: "authority" (RFC 9773), or its "lifetime"."""

    at: float
    source: str


class ViewCertificate(msgspec.Struct, kw_only=True):
    """Choose one certificate."""

    certificate: CertificateNumber


class CertificateView(NamedTuple):
    """chain: PEM, leaf first, b"" if it is lost. version: of the configuration. missed: what needs it, "" if nothing.

    order: None if it is not renewed by ACME.
    """

    entry: Entry
    chain: bytes
    version: int
    detail: CertificateDetail
    places: PresentationPlaces
    changes: list[CertificateChange]
    order: RenewalOrder | None
    missed: str


@use_case()
def view_certificate(context: Context, request: ViewCertificate) -> CertificateView:
    """One certificate: where it is presented, who changed it, what needs it."""
    gateway = context.gateway
    entry, chain, version = certificate(gateway, request.certificate)
    return CertificateView(
        entry,
        chain,
        version,
        certificate_detail(entry, chain, time.time()),
        presentation_places(gateway, entry, known_nodes(gateway)),
        _changes(context, entry),
        _order(context, entry),
        needed(entry, certificate_listing(gateway).entries, gateway),
    )


class ChangeoverView(NamedTuple):
    """places: by id, of the certificate and those before it. order: None if it is not renewed by ACME, or not known."""

    changeover_status: ChangeoverStatus
    places: dict[str, PresentationPlaces]
    changes: list[CertificateChange]
    order: RenewalOrder | None


@use_case()
def view_changeover(context: Context, request: ViewCertificate) -> ChangeoverView:
    """Where the changeover of a certificate stands, without asking anybody."""
    status = changeover_status(context.gateway, request.certificate)
    nodes = known_nodes(context.gateway)
    places = {entry.id: presentation_places(context.gateway, entry, nodes) for entry in (*status.olds, status.entry)}
    try:
        order = _order(context, status.entry)
    except Refusal:  # the page about ACME says so
        order = None
    return ChangeoverView(status, places, _changes(context, status.entry), order)


@use_case()
def find_certificate(context: Context, request: ViewCertificate) -> Entry:
    """The certificate that goes by an id, the beginning of a thumbprint, or a label."""
    return certificate(context.gateway, request.certificate).entry


class PresentedNow(NamedTuple):
    """presented: by each listener of each node; none of a client certificate."""

    entry: Entry
    check_presentation: list[ListenerPresentation]


@use_case()
def view_presented(context: Context, request: ViewCertificate) -> PresentedNow:
    """Show the certificates that the listeners present now."""
    entry = certificate(context.gateway, request.certificate).entry
    if entry.purpose is not Purpose.SERVER:
        return PresentedNow(entry, [])
    here = context.settings.server.node_name
    others = [node for node in known_nodes(context.gateway) if node.state.is_alive and node.name != here]
    return PresentedNow(entry, [*check_presentation(context.gateway, entry), *presented_elsewhere(entry, others)])


class ViewRenewal(msgspec.Struct, kw_only=True):
    """The last one."""


@use_case()
def view_last_renewal(context: Context, request: ViewRenewal) -> Items[Any]:  # noqa: ARG001 - the last one
    """The job that asks for certificates by ACME, or the last one within the hour."""
    job = last_renewal(context)
    return Items([job] if job else [])


class ViewTable(msgspec.Struct, kw_only=True):
    """All of it."""


@use_case()
def view_certificate_table(context: Context, request: ViewTable) -> PublishedTable:  # noqa: ARG001 - all of it
    """The certificate table as partners are shown it."""
    return published_table(context.gateway, context.kept(KeptRoots).now())


class KeptRoots:
    """Roots of this machine: reading them takes longer than a page may; they are read again after some minutes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._read = 0.0
        self._roots: Roots | None = None

    def now(self) -> Roots:
        """As they were some minutes ago at most."""
        with self._lock:
            if self._roots is None or time.monotonic() - self._read > _ROOTS_SECONDS:
                self._roots, self._read = Roots(self._settings), time.monotonic()
            return self._roots


def _changes(context: Context, entry: Entry) -> list[CertificateChange]:
    return [change_of(change) for change in history(context.gateway, _CHANGES, entry.id)]


def _order(context: Context, entry: Entry) -> RenewalOrder | None:
    if not context.settings.acme.is_on:
        return None
    orders = acme_state(context.gateway, context.principal).orders
    mine = next((order for order in orders if order.entry is not None and order.entry.id == entry.id), None)
    return RenewalOrder(mine.renew_at, renewal_source(mine)) if mine else None
