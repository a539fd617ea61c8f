"""API tokens, for owners. A token's secret is in the result that made it, and in no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access import token_rows
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import AccountError, Token
from gatepost.manage.use_cases import users
from gatepost.manage.use_cases.declaration import Cli, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.times import ahead, read_time
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.errors import FieldError


use_case = use_cases(scope=Scope.OWNER, visibility=Visibility.GATEWAY, tag="tokens")


class ApiToken(msgspec.Struct):
    """A token without its secret. made_by_user: with whom it ends; null was made on the command line."""

    name: str
    scopes: list[Scope]
    organizations: list[str] | None
    created: float
    expires: float | None
    made_by: str
    made_by_user: str | None
    last_used: float | None


class ListTokens(Paging, kw_only=True):
    """All of them, by name."""


@use_case("GET /tokens")
def list_tokens(context: Context, request: ListTokens) -> Items[ApiToken]:
    """The API tokens."""
    tokens = context.accounts.tokens()
    return page_of(tokens, lambda token: token.name, request, _shown)


class NewApiToken(msgspec.Struct, kw_only=True):
    """A token to be made. organizations: null is the whole gateway. expires: "90d" or a date; null is never.

    One that is made with a token has no more than that one, and ends no later.
    """

    name: users.NewName
    scopes: Annotated[
        list[Scope], Meta(max_length=20), Cli(option="scope", help="What the token may do. May be repeated.")
    ]
    organizations: Annotated[users.Organizations | None, users.organizations_option("the whole gateway")] = None
    expires: Annotated[users.ShortText | None, Cli(help="When the token expires: 90d, or a date. Default: never.")] = (
        None
    )


class ApiTokenMade(msgspec.Struct):
    """The secret of a token, which cannot be had again."""

    name: str
    token: str


@use_case("POST /tokens", status=201, requires_reauth=True, action="token-add", self_audited=True)
def add_token(context: Context, request: NewApiToken) -> UseCaseReply[ApiTokenMade]:
    """Add an API token."""
    context.audit.describe(subject=request.name)
    expires = None if request.expires is None else read_time("expires", request.expires, ahead)
    users.demand_organizations(context, request.organizations)
    secret = context.accounts.add_token(
        request.name,
        request.scopes,
        organizations=request.organizations,
        expires=expires,
        actor=context.actor,
    )
    return UseCaseReply(ApiTokenMade(request.name.strip().lower(), secret))


def new_token_errors(request: NewApiToken) -> tuple[FieldError, ...]:
    """Errors of the fields of a new token, for a form that may have others, too."""
    try:
        token_rows.checked_token(request.name, request.scopes, None, None, 0.0)
    except AccountError as error:
        return error.errors
    return ()


class RemoveToken(msgspec.Struct, kw_only=True):
    """The token to remove."""

    name: users.KnownName


class ApiTokenRemoved(msgspec.Struct):
    """A token that is refused from now on."""

    name: str


@use_case("DELETE /tokens/{name}", requires_reauth=True, action="token-remove", self_audited=True)
def remove_token(context: Context, request: RemoveToken) -> ApiTokenRemoved:
    """Remove an API token."""
    context.accounts.remove_token(request.name, actor=context.actor)
    return ApiTokenRemoved(request.name.lower())


def _shown(token: Token) -> ApiToken:
    return copy_fields(
        ApiToken,
        token,
        scopes=sorted(token.scopes),
        organizations=users.names_of(token.organizations),
        made_by_user=token.maker or None,
        last_used=token.last_used or None,
    )
