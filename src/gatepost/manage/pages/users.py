"""Users: the list, a new one, and one with its role, its password and its sessions. For owners.

Every change is a deed that `manage.access.accounts` keeps, and a refused one, too. A person proves again who they are
before a form is shown (`manage.pages.confirmation`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.manage.access.principal import Role
from gatepost.manage.pages.account_forms import (
    Form,
    chosen_organizations,
    end_session,
    field_errors,
    reach_of,
    refused_fields,
)
from gatepost.manage.pages.confirmation import ask_again, demand_owner
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import accounts_of, actor_of, gateway_of, not_there, who
from gatepost.manage.pages.pages import render, see_other
from gatepost.manage.pages.paging import SIZE, foot, offset_of
from gatepost.manage.use_cases.accounts import add_user, new_user_errors, recording, refusing, set_user, user_record
from gatepost.manage.use_cases.pages import Selection
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.records import User


_COLUMNS = ("name", "role", "organizations", "enabled", "created", "last_login", "issuer")
ROLES = (
    (Role.OWNER.value, "Owner", "Everything, users and tokens too; always of the whole gateway."),
    (
        Role.ADMINISTRATOR.value,
        "Administrator",
        "Changes connectors, certificates and the rest, but no users or tokens.",
    ),
    (Role.OPERATOR.value, "Operator", "Reads, and retries, holds, releases, returns and drops mail."),
    (Role.AUDITOR.value, "Auditor", "Reads only."),
)


def _list(request: Request) -> Response:
    demand_owner(request)
    q = request.query_params.get("q", "")
    with refusing():
        users = [one for one in accounts_of(request).users() if q.lower() in one.name]
    if found := exported(request, "users", _COLUMNS, lambda: map(user_record, users)):
        return found
    page = Selection(q=q, limit=SIZE, offset=offset_of(request)).page(0, users)
    return render(request, "accounts/users.html", users=page.rows, foot=foot(page, "users"), q=q)


def _new(request: Request) -> Response:
    demand_owner(request)
    if asked := ask_again(request, "/users/-/add"):
        return asked
    if request.method == "GET":
        return _new_page(request)
    form, accounts, by = request.state.form, accounts_of(request), actor_of(request)
    name, password = form.get("name", "").strip(), form.get("password", "")
    try:
        with recording(accounts, by, "user-add", name):
            role, organizations = _access(form, name, password)
            user = add_user(
                gateway_of(request), accounts, name, role=role, password=password, organizations=organizations, by=by
            )
    except Refusal as refusal:
        given = {"role": form.get("role", ""), "reach": form.get("reach", ""), "chosen": form.getlist("organizations")}
        errors = field_errors(refusal)
        return _new_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, name=name, errors=errors, **given)
    return see_other(request, f"/users/{user.name}", f"User {user.name} was added.")


def _new_page(request: Request, status: HTTPStatus = HTTPStatus.OK, **context: Any) -> Response:
    known: dict[str, Any] = {"name": "", "role": "", "reach": "", "chosen": [], "errors": {}, "roles": ROLES}
    return render(request, "accounts/user_new.html", status, **known | context)


def _one(request: Request) -> Response:
    demand_owner(request)
    user = _user(request)
    if asked := ask_again(request, f"/users/{user.name}"):
        return asked
    if request.method == "GET":
        return _page(request, user)
    form, accounts, by = request.state.form, accounts_of(request), actor_of(request)
    try:
        with recording(accounts, by, "user-set", user.name):
            change: dict[str, Any] = {"enabled": form.get("enabled") == "on"}
            if not user.issuer:
                change["role"], change["organizations"] = _access(form)
            set_user(gateway_of(request), accounts, user.name, by=by, **change)
    except Refusal as refusal:
        given = {"role": form.get("role", ""), "reach": form.get("reach", ""), "chosen": form.getlist("organizations")}
        return _page(request, user, errors=field_errors(refusal), enabled="enabled" in form, **given)
    return _done(request, user, f"User {user.name} was changed; it logs in anew.")


def _page(request: Request, user: User, **context: Any) -> Response:
    accounts = accounts_of(request)
    known: dict[str, Any] = {
        "role": user.role.value,
        "reach": reach_of(user.organizations),
        "chosen": sorted(user.organizations or ()),
        "enabled": user.enabled,
        "errors": {},
        "password_errors": {},
    }
    with refusing():
        more: dict[str, Any] = {
            "sessions": accounts.sessions_of(user.name),
            "passkeys": accounts.passkeys_of(user.name),
            "tokens": [one.name for one in accounts.tokens() if one.maker == user.name],
        }
    known |= context
    wrong = known["errors"] or known["password_errors"]
    status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
    return render(request, "accounts/user.html", status, user=user, roles=ROLES, **known, **more)


def _password(request: Request) -> Response:
    def change(user: User) -> str:
        form, accounts, by = request.state.form, accounts_of(request), actor_of(request)
        password = form.get("password", "")
        with recording(accounts, by, "user-set", user.name):
            _demand_same(password, form.get("again", ""))
            set_user(gateway_of(request), accounts, user.name, by=by, password=password)
        return f"{user.name} has a new password, and is logged out everywhere."

    return _changed(request, change)


def _sessions(request: Request) -> Response:
    def change(user: User) -> str:
        if said := end_session(request, user.name):
            return said
        with refusing():
            accounts_of(request).end_sessions_of(user.name, by=actor_of(request))
        return f"{user.name} is logged out everywhere."

    return _changed(request, change)


def _passkeys(request: Request) -> Response:
    def change(user: User) -> str:
        accounts, by = accounts_of(request), actor_of(request)
        with recording(accounts, by, "passkey-remove", user.name), refusing():
            gone = accounts.remove_passkey(user.name, _octets(request.state.form.get("passkey", "")), by=by)
        return f"The passkey {gone.name} was removed."

    return _changed(request, change)


def _changed(request: Request, change: Callable[[User], str]) -> Response:
    """Do what a form beside the main one asks for. change: returns what to say, may raise Refusal."""
    demand_owner(request)
    user = _user(request)
    if asked := ask_again(request, f"/users/{user.name}"):
        return asked
    try:
        said = change(user)
    except Refusal as refusal:
        return _page(request, user, password_errors=field_errors(refusal))
    return _done(request, user, said)


def _done(request: Request, user: User, said: str) -> Response:
    """Whoever changed themselves has no session any more."""
    with refusing():
        gone = request.state.session is not None and accounts_of(request).user(who(request).name) is None
    return see_other(request, "/login" if gone else f"/users/{user.name}", said)


def _remove(request: Request) -> Response:
    demand_owner(request)
    user = _user(request)
    if asked := ask_again(request, f"/users/{user.name}/remove"):
        return asked
    accounts, by, error = accounts_of(request), actor_of(request), ""
    if request.method == "POST":
        try:
            with recording(accounts, by, "user-remove", user.name), refusing():
                accounts.remove_user(user.name, by=by)
        except Refusal as refusal:
            error = refusal.text
        else:
            return see_other(request, "/users", f"User {user.name} was removed.")
    with refusing():
        tokens = [one.name for one in accounts.tokens() if one.maker == user.name]
    status = HTTPStatus.CONFLICT if error else HTTPStatus.OK
    return render(request, "accounts/user_remove.html", status, user=user, tokens=tokens, error=error)


def _user(request: Request) -> User:
    with refusing():
        found = accounts_of(request).user(request.path_params["name"])
    if found is None:
        raise not_there("There is no such user.")
    return found


def _access(form: Form, name: str = "", password: str | None = None) -> tuple[Role, list[str] | None]:
    """The role and organizations of a form; a new user has a password, too. Raises Refusal (INPUT) with all errors."""
    errors: dict[str, str] = {}
    role, organizations = Role.AUDITOR, None
    try:
        role = Role(form.get("role", ""))
    except ValueError:
        errors["role"] = "choose a role"
    try:
        organizations = chosen_organizations(form)
    except Refusal as refusal:
        errors |= field_errors(refusal)
    if password is not None and password != form.get("again", ""):
        errors["again"] = "the two passwords differ"
    if not errors:
        return role, organizations
    others = new_user_errors(name, role, password) if password is not None else ()
    raise refused_fields({one.path: one.message for one in others} | errors)


def _demand_same(password: str, again: str) -> None:
    if password != again:
        raise refused_fields({"again": "the two passwords differ"})


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


ROUTES = [
    Route("/users", _list),
    Route("/users/-/add", _new, methods=["GET", "POST"]),
    Route("/users/{name}", _one, methods=["GET", "POST"]),
    Route("/users/{name}/password", _password, methods=["POST"]),
    Route("/users/{name}/sessions", _sessions, methods=["POST"]),
    Route("/users/{name}/passkeys", _passkeys, methods=["POST"]),
    Route("/users/{name}/remove", _remove, methods=["GET", "POST"]),
]
