"""API tokens: the list, a new one whose secret is shown once, and their end. For owners.

The secret is in the answer of the form that made the token and nowhere else: in no address, no cookie, no log.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.language import _, translated_choices
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import Form, chosen_organizations, field_errors, refused_fields
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import context_of, every, not_there, perform
from gatepost.manage.pages.login import ask_again, demand_owner
from gatepost.manage.pages.paging import by_fields, sorted_page
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.time_zones import local_times
from gatepost.manage.use_cases import tokens as token_cases
from gatepost.manage.use_cases.execution import execute, recording_refusals
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.times import ahead
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response


_COLUMNS = ("name", "scopes", "organizations", "created", "expires", "made_by", "made_by_user", "last_used")
_SORTS: Final[dict[str, Callable[[token_cases.ApiToken], Any]]] = by_fields(
    "name", "expires", by="made_by", last="last_used"
)
_SCOPES = (
    (Scope.READ.value, "read", N_("Read everything except the content of mail.")),
    (Scope.CONNECTORS.value, "connectors", N_("Change organizations, domains, mailboxes, connectors and rules.")),
    (Scope.CERTIFICATES.value, "certificates", N_("Change certificates, and switch to new ones.")),
    (
        Scope.QUEUE.value,
        "queue",
        N_("Retry, hold, release, return and drop mail; release and delete mail in quarantine."),
    ),
    (Scope.OWNER.value, "owner", N_("Users and tokens, and all of the above.")),
)
_EXPIRIES = (("30d", N_("30 days")), ("90d", N_("90 days")), ("365d", N_("One year")), ("", N_("Never")))


def _list(request: Request) -> Response:
    demand_owner(request)
    q = request.query_params.get("q", "")
    tokens = [
        api_token
        for api_token in every(request, token_cases.list_tokens, token_cases.ListTokens())
        if q.lower() in api_token.name
    ]
    if file := exported(request, "tokens", _COLUMNS, lambda: tokens):
        return file
    page = sorted_page(request, tokens, _SORTS, NN_("%(num)s token", "%(num)s tokens"))
    return render(request, "accounts/tokens.html", tokens=page.rows, foot=page.foot, q=q, sort=page.sort)


def _new(request: Request) -> Response:
    demand_owner(request)
    if response := ask_again(request, "/tokens/-/add"):
        return response
    if request.method == "GET":
        return _new_page(request, expires="90d")
    form, context = request.state.form, context_of(request)
    try:
        with recording_refusals(token_cases.add_token, context, name=form.get("name", "").strip()):
            token = _new_token(form, local_times(request, form, "expires")["expires"])
        made = execute(token_cases.add_token, context, token).value
    except Refusal as refusal:
        values = {name: form.get(name, "") for name in ("name", "reach", "expires")}
        values |= {"scopes": form.getlist("scopes"), "chosen": form.getlist("organizations")}
        return _new_page(request, errors=field_errors(refusal), **values)
    return render(request, "accounts/token_made.html", HTTPStatus.CREATED, name=made.name, secret=made.token)


def _new_token(form: Form, expires: str) -> token_cases.NewApiToken:
    """The token of a form. expires: with its offset. Raises Refusal (INPUT) with all errors."""
    errors: dict[str, str] = {}
    token = token_cases.NewApiToken(name=form.get("name", "").strip(), scopes=[], expires=expires or None)
    try:
        token.scopes = [Scope(text) for text in form.getlist("scopes")]
    except ValueError:
        errors["scopes"] = _("choose one or more of %(scopes)s", scopes=", ".join(Scope))
    try:
        token.organizations = chosen_organizations(form)
    except Refusal as refusal:
        errors |= field_errors(refusal)
    try:
        ahead(token.expires or "0s")
    except ValueError as error:
        errors["expires"] = str(error)
    if errors:
        raise refused_fields(
            {token_error.path: token_error.message for token_error in token_cases.new_token_errors(token)} | errors
        )
    return token


def _new_page(request: Request, **context: Any) -> Response:
    known: Mapping[str, Any] = {
        "name": "",
        "scopes": [],
        "reach": "",
        "chosen": [],
        "expires": "",
        "errors": {},
        "known_scopes": [(scope, name, _(text)) for scope, name, text in _SCOPES],
        "expiries": translated_choices(_EXPIRIES),
    }
    return render(request, "accounts/token_new.html", limits=limits(token_cases.NewApiToken), **{**known, **context})


def _remove(request: Request) -> Response:
    demand_owner(request)
    token = _token(request)
    if response := ask_again(request, f"/tokens/{token.name}/remove"):
        return response
    if request.method == "GET":
        return render(request, "accounts/token_remove.html", token=token)
    perform(request, token_cases.remove_token, token_cases.RemoveToken(name=token.name))
    return see_other(
        request, "/tokens", _("Token %(name)s was removed. Requests with it are refused from now on.", name=token.name)
    )


def _token(request: Request) -> token_cases.ApiToken:
    name = request.path_params["name"].lower()
    for api_token in every(request, token_cases.list_tokens, token_cases.ListTokens()):
        if api_token.name == name:
            return api_token
    raise not_there(_("There is no such token."))


ROUTES = [
    Route("/tokens", _list),
    Route("/tokens/-/add", _new, methods=["GET", "POST"]),
    Route("/tokens/{name}/remove", _remove, methods=["GET", "POST"]),
]
