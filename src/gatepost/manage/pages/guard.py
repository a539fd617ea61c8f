"""Checks before a page runs: is it visible to the principal, and may they do what its form does.

What somebody does not see is not there (404), so that nobody learns of another organization; what they see and may not
do is forbidden (403). To look at a page at all takes the right to read, which every role has and an API token may lack.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from gatepost.language import _, use
from gatepost.manage.access.principal import NOBODY, Principal, Scope
from gatepost.manage.access.records import is_confirmed
from gatepost.manage.pages.time_zones import zone_of
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.context import Context, Gateway
from gatepost.manage.use_cases.declaration import Items, UseCase, Visibility
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_views import ListOwnOrganizations, list_own_organizations
from gatepost.manage.web.identity import form_token
from gatepost.manage.web.problem import address_of, instance_of, note_refusal
from gatepost.sentences import in_zone
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msgspec import Struct
    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as Asked

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.records import UserSession
    from gatepost.policy.connectors.records import Organization


def principal_of(request: Request) -> Principal:
    """The principal of a request. `manage.web.identity` lets no unknown caller come here."""
    principal: Principal = request.state.principal
    return principal


def accounts_of(request: Request) -> Accounts:
    """Users, tokens, sessions and audit events."""
    accounts: Accounts = request.app.state.accounts
    return accounts


def begin_session(request: Request, secret: str) -> UserSession | None:
    """Go on with a request as that of a session that has just begun, in its language; None if it is over already."""
    session = accounts_of(request).session(secret)
    if session is not None:
        state = request.state
        state.session, state.principal, state.csrf = session, session.principal, form_token(session)
        use(session.user.preferences.language)
    return session


def gateway_of(request: Request) -> Gateway:
    """The gateway that the pages are of."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def context_of(request: Request, *, dry_run: bool = False, expected: int | None = None) -> Context:
    """The context of a use case. expected: the version that a change was made from, None if any will do."""
    return Context(
        gateway_of(request),
        request.state.principal or NOBODY,
        lambda: accounts_of(request),
        address_of(request.scope),
        dry_run=dry_run,
        expected=expected,
        is_confirmed=is_confirmed(getattr(request.state, "session", None), time.time()),
        reference=instance_of(request.scope),
    )


def perform[R: Struct, A](request: Request, case: UseCase[R, A], case_request: R) -> A:
    """Execute a use case for who asks. Raises Refusal, and HTTPException if it is the gateway's and they are not."""
    context = context_of(request)
    if case.visibility is Visibility.GATEWAY:
        _demand_sight(request, is_seen=context.principal.is_of_gateway)
    return execute(case, context, case_request)


def every[R: Struct, T](request: Request, case: UseCase[R, Items[T]], case_request: R, limit: int = 0) -> Iterator[T]:
    """The items of a list for who asks, as `all_items` has them. Raises Refusal."""
    return all_items(partial(perform, request), case, case_request, limit)


def own_organizations(request: Request) -> Sequence[Organization]:
    """The organizations that who asks sees, as they are configured. Raises Refusal."""
    return perform(request, list_own_organizations, ListOwnOrganizations()).items


def needs(request: Request, scope: Scope, organization: str | None = None) -> Principal:
    """The principal, if it may do that in an organization; None is the gateway itself. Raises HTTPException."""
    principal = principal_of(request)
    _demand_sight(request, is_seen=principal.is_of_gateway if organization is None else principal.sees(organization))
    if not principal.may(scope, organization):
        raise _forbidden(scope)
    return principal


def _demand_sight(request: Request, *, is_seen: bool) -> None:
    if not is_seen:
        note_refusal(request.scope, "it belongs to the gateway, or to an organization that the user cannot see")
        raise not_there()


def needs_scope(request: Request, scope: Scope) -> Principal:
    """The principal, if it may do that anywhere; the action must then be limited to what it sees."""
    principal = principal_of(request)
    if not (scope in principal.scopes or Scope.OWNER in principal.scopes):
        raise _forbidden(scope)
    return principal


def _forbidden(scope: Scope) -> HTTPException:
    text = _(
        "Your role does not allow this: it needs the permission “%(scope)s”. An owner can change your role.",
        scope=scope,
    )
    return HTTPException(HTTPStatus.FORBIDDEN, text)


class _Reading:
    """Around a page, in the time zone of who looks; what its form does asks for a right of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["method"] in {"GET", "HEAD"}:
            needs_scope(Request(scope), Scope.READ)
        with in_zone(zone_of(Request(scope)).zone):
            await self._app(scope, receive, send)


def for_readers(page: Route) -> Route:
    """The same page, which is shown to who may read alone (403)."""
    methods, around = sorted(page.methods or ()), [Middleware(_Reading)]
    return Route(page.path, page.endpoint, methods=methods, name=page.name, middleware=around)


def not_there(
    text: str = N_("This page does not exist, or belongs to an organization that you cannot see."),
) -> HTTPException:
    """To be raised."""
    return HTTPException(HTTPStatus.NOT_FOUND, text)


@contextmanager
def or_not_there(text: str, *kinds: RefusalKind) -> Iterator[None]:
    """Turn a Refusal (MISSING) into "not found" with this text; others pass. Raises HTTPException.

    kinds: of the refusals that are meant, MISSING alone if none is named.
    """
    try:
        yield
    except Refusal as refusal:
        if refusal.kind not in (kinds or (RefusalKind.MISSING,)):
            raise
        raise not_there(text) from refusal
