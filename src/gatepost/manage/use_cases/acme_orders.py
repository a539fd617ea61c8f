"""Certificates from an ACME authority: those that there shall be, and where each stands. Asks nobody by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.duty import policy_hosts
from gatepost.pki.acme.issuer import Issuer
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.store.changes import ConfigConflict
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.acme.issuer import RenewalStatus


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


@use_case("GET /acme", scope=Scope.READ, visibility=Visibility.GATEWAY, tag="certificates")
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
