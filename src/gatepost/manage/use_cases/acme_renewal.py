"""Certificates of an ACME authority: where each stands, and their renewal now, as a job, one at a time.

An authority takes from seconds to minutes. Whoever asks, this process or another, asks alone (`pki.acme.issuer.alone`).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases.declaration import Cli, InQuery, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.jobs import ConcurrencyLimit, Job, Jobs
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind, refusing, wrong_field
from gatepost.pki.acme import issuer as issuers
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.duty import outcome as outcome_of
from gatepost.pki.acme.duty import policy_hosts
from gatepost.pki.acme.issuer import Issuer, RenewalStatus
from gatepost.pki.acme.schedule import Step
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory
from gatepost.store.changes import ConfigConflict
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.settings.model import Settings

use_case = use_cases(visibility=Visibility.GATEWAY, tag="certificates")


class GetAcmeStatus(msgspec.Struct, kw_only=True):
    """All of it."""


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


class AcmeState(NamedTuple):
    """directory: of the authority. account: its address there, "" for none yet. orders: by list of names."""

    directory: str
    account: str
    orders: tuple[RenewalStatus, ...]

    @property
    def ok(self) -> bool:
        """Whether all are there and the last attempts went well."""
        return all(order.entry is not None and not order.progress.error for order in self.orders)


@contextmanager
def issuer_of(gateway: Gateway, principal: Principal, url: str = "") -> Iterator[tuple[Issuer, list[str]]]:
    """Open the issuer, and list the hosts at which our policies are served. url: of an authority other than our own.

    Raises Refusal: INPUT if ACME is off or cannot be used, UNREADABLE.
    """
    settings = gateway.settings
    if not settings.acme.is_on:
        text = "ACME is off: set agree_tos = true under [acme] in the settings; see docs/acme.md"
        raise Refusal(RefusalKind.INPUT, text)
    try:
        with gateway.config() as store:
            yield Issuer(settings, store, url=url, author=principal.name), policy_hosts(settings, store)
    except AcmeFailed as failure:
        raise Refusal(RefusalKind.INPUT, str(failure)) from failure
    except (StoreFailure, ResourceErrors, ConfigConflict, ValueError) as failure:
        raise Refusal(RefusalKind.UNREADABLE, f"{gateway.data}: {failure}") from failure


def acme_state(gateway: Gateway, principal: Principal) -> AcmeState:
    """Where every certificate stands. Raises Refusal, as `issuer_of`."""
    with issuer_of(gateway, principal) as (issuer, hosts):
        return AcmeState(issuer.url, issuer.kept().account, tuple(issuer.statuses(hosts)))


@use_case("GET /acme", scope=Scope.READ)
def get_acme_status(context: Context, request: GetAcmeStatus) -> AcmeStatus:  # noqa: ARG001 - it is all of it
    """Certificates from an ACME authority: where each stands."""
    state = acme_state(context.gateway, context.principal)
    return AcmeStatus(state.ok, state.directory, state.account, [order_of(order) for order in state.orders])


def renewal_source(status: RenewalStatus) -> str:
    """Source of the time of renewal: "authority" (RFC 9773), or its "lifetime"; "" where there is none."""
    if status.entry is None:
        return ""
    return "authority" if status.progress.renew_at and status.progress.certificate == status.entry.id else "lifetime"


def order_of(status: RenewalStatus) -> AcmeOrder:
    """For machines."""
    progress, entry = status.progress, status.entry
    return AcmeOrder(
        names=list(status.names),
        certificate=entry.id if entry else "",
        state=str(entry.state) if entry else "",
        not_after=entry.leaf.not_after if entry else None,
        renew_at=status.renew_at or None,
        renew_at_from=renewal_source(status),
        tried=progress.tried or None,
        succeeded=progress.succeeded or None,
        failures=progress.failures,
        not_before=progress.not_before or None,
        error=progress.error,
    )


type _Wait = Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")]


class RenewalLimit(ConcurrencyLimit):
    """One at a time."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(1, 1, "certificates are being asked for just now; wait a minute")


@dataclass(frozen=True, slots=True)
class RenewalSubject:
    """names: all that the certificates shall bear, () if none is due. text: the first, or the name asked for."""

    names: tuple[str, ...]
    text: str
    organization: str = ""


class RenewCertificates(msgspec.Struct, kw_only=True):
    """Certificates to renew, and how. name: of one certificate; empty for all that are due.

    at_once: also if nothing is due, or a failure is being waited out. staging: address of another authority, with which
    all of it is gone through and nothing kept.
    """

    name: Annotated[str, Meta(max_length=300), Cli(argument=True, metavar="[NAME]")] = ""
    at_once: Annotated[bool, Cli(option="now", help="Renew even if nothing is due, or a failure is recent.")] = False
    staging: Annotated[str, Meta(max_length=1000)] = ""
    wait: Annotated[_Wait, InQuery()] = 20.0


class GetRenewal(msgspec.Struct, kw_only=True):
    """The job to show."""

    id: Annotated[str, Meta(description="Of the renewal, as its beginning answered; it is kept for an hour.")]
    wait: _Wait = 20.0


class ForgetAcmeAccount(msgspec.Struct, kw_only=True):
    """The one that there is."""


class CertificateRenewal(msgspec.Struct):
    """Result of one certificate. text: about the one that came, or why none did."""

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


@use_case("POST /acme/renewals", scope=Scope.CERTIFICATES, status=201, action="certificate-renew", self_audited=True)
def renew_certificates(context: Context, request: RenewCertificates) -> UseCaseReply[RenewalState]:
    """Ask the ACME authority for the certificates that are due, or for one.

    One at a time. Authorities limit how many they issue in a week. Another authority than that of the settings and
    Let's Encrypt's staging needs the scope `owner`.
    """
    context.audit.describe(subject=request.name, staging=request.staging)
    _check_authority(context, request.staging)
    with issuer_of(context.gateway, context.principal, request.staging) as (issuer, hosts):
        lists = _chosen(issuer, hosts, request)
    names = tuple(name for hostnames in lists for name in hostnames)
    subject = RenewalSubject(names, names[0] if names else request.name)
    staging = {"staging": request.staging} if request.staging else {}

    def work(progress: Callable[[list[CertificateRenewal]], None]) -> list[CertificateRenewal]:
        with context.recording("certificate-renew", "", subject.text, **staging) as event:
            results = renew(context.gateway, context.principal, request, progress)
            if not all(renewal.ok for renewal in results):
                event.outcome = AuditOutcome.FAILED
            event.detail["result"] = "; ".join(renewal.text for renewal in results) or "nothing is due"
        return results

    try:
        job = context.kept(Jobs).start(subject, context.principal, work, limit=context.kept(RenewalLimit))
    except BusyRefusal as busy:
        busy.kind = RefusalKind.UNREADABLE  # as while another process asks
        raise
    job.wait(request.wait)
    return UseCaseReply(_state(job), location=f"/acme/renewals/{job.id}")


@use_case("GET /acme/renewals/{id}", scope=Scope.READ)
def get_renewal(context: Context, request: GetRenewal) -> RenewalState:
    """Show the state of a renewal, and its results so far."""
    job = context.kept(Jobs).find(request.id, context.principal, RenewalSubject)
    job.wait(request.wait)
    return _state(job)


@use_case("DELETE /acme/account", scope=Scope.CERTIFICATES, action="certificate-acme-forget")
def forget_acme_account(context: Context, request: ForgetAcmeAccount) -> ForgottenAccount:  # noqa: ARG001 - there is one
    """Forget the account at the ACME authority, with its key, and what was tried; certificates stay."""
    with issuer_of(context.gateway, context.principal) as (issuer, _), _asking_alone(context.gateway):
        issuer.forget()
        context.audit.describe(subject=issuer.url)
        return ForgottenAccount(issuer.url)


def renew(
    gateway: Gateway,
    principal: Principal,
    request: RenewCertificates,
    progress: Callable[[list[CertificateRenewal]], None],
) -> list[CertificateRenewal]:
    """Ask and wait; [] if none is due. progress: called with all results so far.

    Raises Refusal: INPUT if ACME is off or no certificate shall bear the name, UNREADABLE, also while somebody else
    asks.
    """
    results: list[CertificateRenewal] = []
    with issuer_of(gateway, principal, request.staging) as (issuer, hosts), _asking_alone(gateway):
        for names in _chosen(issuer, hosts, request):
            results = [*results, _issued(issuer, names, staging=bool(request.staging))]
            progress(results)
    return results


def last_renewal(context: Context) -> Job[RenewalSubject, list[CertificateRenewal]] | None:
    """The job that runs, or the last one within the hour."""
    return next(iter(context.kept(Jobs).recent(context.principal, RenewalSubject, 1)), None)


def _state(job: Job[RenewalSubject, list[CertificateRenewal]]) -> RenewalState:
    done = job.done  # first: what is there then is all of it
    return RenewalState(job.id, list(job.subject.names), done, job.trouble, list(job.result or ()))


@contextmanager
def _asking_alone(gateway: Gateway) -> Iterator[None]:
    """While no other process asks. Raises Refusal (UNREADABLE)."""
    with (
        refusing(RefusalKind.UNREADABLE, issuers.Busy, OSError),
        issuers.alone(gateway.data, gateway.storage.leases(gateway.settings.server.node_name, 0)),
    ):
        yield


def _chosen(issuer: Issuer, hosts: Sequence[str], request: RenewCertificates) -> list[tuple[str, ...]]:
    """The lists of names to ask for."""
    name = request.name
    lists = [status.names for status in issuer.statuses(hosts)]
    if name:
        known = lists
        lists = [names for names in lists if name in names]
        if not lists:
            there = "; ".join(", ".join(names) for names in known) or "none"
            raise Refusal(RefusalKind.INPUT, f"{name!r} is not a name of any configured certificate: {there}")
    if request.at_once or request.staging:
        return lists
    due = {renewal.names for renewal in issuer.due(hosts, time.time()) if renewal.step is Step.ISSUE}
    return [names for names in lists if names in due]


def _issued(issuer: Issuer, names: tuple[str, ...], *, staging: bool) -> CertificateRenewal:
    try:
        if staging:
            leaf = issuer.rehearse(names)
            text = f"issued at {issuer.url} by {leaf.issuer}; nothing of it is kept"
            return CertificateRenewal(list(names), ok=True, text=text)
        return CertificateRenewal(list(names), ok=True, text=outcome_of(issuer.issue(names)))
    except AcmeFailed as failure:
        return CertificateRenewal(list(names), ok=False, text=str(failure))


def _check_authority(context: Context, url: str) -> None:
    """The gateway goes to an authority that neither the settings name nor everybody knows for an owner alone."""
    try:
        acme_directory(url)
    except ValueError as error:
        raise wrong_field("staging", str(error), "No certificate was requested.") from error
    known = {"", LETS_ENCRYPT_STAGING, context.settings.acme.directory_url}
    if url not in known and Scope.OWNER not in context.principal.scopes:
        text = f"only an owner may use {url}; {LETS_ENCRYPT_STAGING} and the authority of the "
        raise Refusal(RefusalKind.FORBIDDEN, f"{text}settings are open to everyone who may change certificates")
