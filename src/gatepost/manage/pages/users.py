"""Users: the list, a new one, and one with its role, its password and its sessions. For owners.

A person proves again who they are before a form is shown (`manage.pages.login`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.language import _, translated_choices
from gatepost.manage.access.principal import Role
from gatepost.manage.pages import account_forms
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import context_of, every, or_not_there, perform
from gatepost.manage.pages.login import ask_again, demand_owner
from gatepost.manage.pages.paging import sorted_page
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.resource_paths import number_of
from gatepost.manage.use_cases import users as user_cases
from gatepost.manage.use_cases.execution import execute, recording_refusals
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.tokens import ListTokens, list_tokens
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response


_COLUMNS = ("name", "role", "organizations", "enabled", "created", "last_login", "issuer")
_SORTS: Final[dict[str, Callable[[user_cases.UserAccount], Any]]] = {
    "name": lambda user: user.name,
    "role": lambda user: list(Role).index(user.role),
    "status": lambda user: not user.enabled,
    "login": lambda user: user.issuer or "",
    "last": lambda user: user.last_login,
}
ROLES = (
    (Role.OWNER.value, N_("Owner"), N_("Full access, including users and tokens; always for the whole gateway.")),
    (
        Role.ADMINISTRATOR.value,
        N_("Administrator"),
        N_("Changes connectors, certificates and all else, except users and tokens."),
    ),
    (
        Role.OPERATOR.value,
        N_("Operator"),
        N_("Reads everything, and retries, holds, releases, returns and drops mail."),
    ),
    (Role.AUDITOR.value, N_("Auditor"), N_("Read-only access.")),
)


def _list(request: Request) -> Response:
    demand_owner(request)
    q = request.query_params.get("q", "")
    users = [
        account
        for account in every(request, user_cases.list_users, user_cases.ListUsers())
        if q.lower() in account.name
    ]
    if file := exported(request, "users", _COLUMNS, lambda: users):
        return file
    page = sorted_page(request, users, _SORTS, NN_("%(num)s user", "%(num)s users"))
    return render(request, "accounts/users.html", users=page.rows, foot=page.foot, q=q, sort=page.sort)


def _new(request: Request) -> Response:
    demand_owner(request)
    if response := ask_again(request, "/users/-/add"):
        return response
    if request.method == "GET":
        return _new_page(request)
    form, context = request.state.form, context_of(request)
    name = form.get("name", "").strip()
    try:
        with recording_refusals(user_cases.add_user, context, name=name):
            made = _new_account(form, name)
        user = execute(user_cases.add_user, context, made).value
    except Refusal as refusal:
        errors = account_forms.field_errors(refusal)
        return _new_page(request, name=name, errors=errors, **_given_access(form))
    return see_other(request, f"/users/{user.name}", _("User %(name)s was added.", name=user.name))


def _new_account(form: account_forms.Form, name: str) -> user_cases.NewAccount:
    """The user of a form. Raises Refusal (INPUT) with all errors."""
    password = form.get("password", "")
    access, errors = _access(form)
    if password != form.get("again", ""):
        errors["again"] = N_("the passwords do not match")
    made = user_cases.NewAccount(name=name, password=password, **{"role": Role.AUDITOR} | access)
    if errors:
        raise account_forms.refused_fields(
            {user_error.path: user_error.message for user_error in user_cases.new_user_errors(made)} | errors
        )
    return made


def _new_page(request: Request, **context: Any) -> Response:
    known: dict[str, Any] = {
        "name": "",
        "role": "",
        "reach": "",
        "chosen": [],
        "errors": {},
        "roles": translated_choices(ROLES),
    }
    return render(request, "accounts/user_new.html", limits=limits(user_cases.NewAccount), **known | context)


def _one(request: Request) -> Response:
    demand_owner(request)
    user = _user(request)
    if response := ask_again(request, f"/users/{user.name}"):
        return response
    if request.method == "GET":
        return _page(request, user)
    form, context = request.state.form, context_of(request)
    try:
        with recording_refusals(user_cases.set_user, context, name=user.name):
            access, errors = ({}, {}) if user.issuer else _access(form)
            if errors:
                raise account_forms.refused_fields(errors)
        execute(
            user_cases.set_user,
            context,
            user_cases.AccountChange(name=user.name, enabled=form.get("enabled") == "on", **access),
        )
    except Refusal as refusal:
        return _page(
            request, user, errors=account_forms.field_errors(refusal), enabled="enabled" in form, **_given_access(form)
        )
    return _done(request, user, _("User %(name)s was saved. The user has to log in again.", name=user.name))


def _page(request: Request, user: user_cases.UserAccount, **context: Any) -> Response:
    known: dict[str, Any] = {
        "role": user.role.value,
        "reach": account_forms.access_text(user.organizations),
        "chosen": user.organizations or (),
        "enabled": user.enabled,
        "errors": {},
        "password_errors": {},
    }
    known |= context
    wrong = known["errors"] or known["password_errors"]
    return render(
        request,
        "accounts/user.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        user=user,
        roles=translated_choices(ROLES),
        limits=limits(user_cases.AccountChange),
        sessions=list(every(request, user_cases.list_sessions, user_cases.ListSessions(name=user.name))),
        passkeys=perform(request, user_cases.list_passkeys, user_cases.ListPasskeys(name=user.name)).items,
        tokens=_tokens(request, user),
        **known,
    )


def _tokens(request: Request, user: user_cases.UserAccount) -> list[str]:
    """Those that end with the user."""
    tokens = every(request, list_tokens, ListTokens())
    return [token.name for token in tokens if token.made_by_user == user.name]


def _password(request: Request) -> Response:
    def reset(user: user_cases.UserAccount) -> str:
        form, context = request.state.form, context_of(request)
        password = form.get("password", "")
        with recording_refusals(user_cases.set_user, context, name=user.name):
            account_forms.demand_same(password, form.get("again", ""))
        removes = form.get("remove_tokens") == "on"
        change = user_cases.AccountChange(name=user.name, password=password, remove_tokens=removes)
        return _reset_text(execute(user_cases.set_user, context, change))

    return _changed(request, reset)


def _reset_text(changed: user_cases.ChangedAccount) -> str:
    said = _("The password of %(name)s was reset. All of the user's sessions and passkeys ended.", name=changed.name)
    if changed.tokens_removed:
        gone = ", ".join(changed.tokens_removed)
        return f"{said} {_('API tokens removed: %(tokens)s.', tokens=gone)}"
    if not changed.tokens:
        return said
    tokens = ", ".join(changed.tokens)
    stay = _("API tokens that the user made still work; remove those that you do not trust: %(tokens)s.", tokens=tokens)
    return f"{said} {stay}"


def _sessions(request: Request) -> Response:
    def change(user: user_cases.UserAccount) -> str:
        if text := request.state.form.get("session", ""):
            number = number_of(text)
            session = None if number is None else user_cases.EndUserSession(name=user.name, session=number)
            is_ended = session and perform(request, user_cases.end_user_session, session).ended
            return _("The session was ended.") if is_ended else _("The session has already ended.")
        perform(request, user_cases.end_sessions, user_cases.EndSessions(name=user.name))
        return _("All sessions of %(name)s ended.", name=user.name)

    return _changed(request, change)


def _passkeys(request: Request) -> Response:
    def change(user: user_cases.UserAccount) -> str:
        passkey = account_forms.octets(request.state.form.get("passkey", ""))
        removed = perform(request, user_cases.remove_passkey, user_cases.RemovePasskey(name=user.name, passkey=passkey))
        return _("The passkey %(name)s was removed.", name=removed.name)

    return _changed(request, change)


def _changed(request: Request, change: Callable[[user_cases.UserAccount], str]) -> Response:
    """Do what a form beside the main one asks for. change: returns what to say, may raise Refusal."""
    demand_owner(request)
    user = _user(request)
    if response := ask_again(request, f"/users/{user.name}"):
        return response
    try:
        said = change(user)
    except Refusal as refusal:
        return _page(request, user, password_errors=account_forms.field_errors(refusal))
    return _done(request, user, said)


def _done(request: Request, user: user_cases.UserAccount, said: str) -> Response:
    """Whoever changed themselves has no session any more, and comes to the log-in."""
    return see_other(request, f"/users/{user.name}", said)


def _remove(request: Request) -> Response:
    demand_owner(request)
    user = _user(request)
    if response := ask_again(request, f"/users/{user.name}/remove"):
        return response
    error = ""
    if request.method == "POST":
        try:
            perform(request, user_cases.remove_user, user_cases.RemoveUser(name=user.name))
        except Refusal as refusal:
            error = refusal.text
        else:
            return see_other(request, "/users", _("User %(name)s was removed.", name=user.name))
    status = HTTPStatus.CONFLICT if error else HTTPStatus.OK
    tokens = _tokens(request, user)
    return render(request, "accounts/user_remove.html", status, user=user, tokens=tokens, error=error)


def _user(request: Request) -> user_cases.UserAccount:
    with or_not_there(_("There is no such user.")):
        return perform(request, user_cases.get_user, user_cases.ShowUser(name=request.path_params["name"]))


def _access(form: account_forms.Form) -> tuple[dict[str, Any], dict[str, str]]:
    """Role and organizations of a form, as far as they can be read, and what is wrong with them."""
    access: dict[str, Any] = {}
    errors: dict[str, str] = {}
    try:
        access["role"] = Role(form.get("role", ""))
    except ValueError:
        errors["role"] = N_("choose a role")
    try:
        access["organizations"] = account_forms.chosen_organizations(form)
    except Refusal as refusal:
        errors |= account_forms.field_errors(refusal)
    return access, errors


def _given_access(form: account_forms.Form) -> dict[str, Any]:
    """The chosen role and organizations, to be shown again."""
    return {"role": form.get("role", ""), "reach": form.get("reach", ""), "chosen": form.getlist("organizations")}


ROUTES = [
    Route("/users", _list),
    Route("/users/-/add", _new, methods=["GET", "POST"]),
    Route("/users/{name}", _one, methods=["GET", "POST"]),
    Route("/users/{name}/password", _password, methods=["POST"]),
    Route("/users/{name}/sessions", _sessions, methods=["POST"]),
    Route("/users/{name}/passkeys", _passkeys, methods=["POST"]),
    Route("/users/{name}/remove", _remove, methods=["GET", "POST"]),
]
