"""`gatepost user`: who may use the admin centre, and as what."""

from __future__ import annotations

from typing import Any

import click
from msgspec import UNSET
from msgspec.structs import replace

from gatepost.manage.cli.options import ACCOUNT_CODES, BAD_INPUT, client, fail, gateway_options, local_settings
from gatepost.manage.cli.output import (
    _,
    organizations_text,
    print_rows,
    print_table,
    printed_json,
    quantity,
    say,
)
from gatepost.manage.cli.password_prompt import prompt_password
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.setup_notice import setup_url
from gatepost.manage.use_cases import users
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment

_PASSWORD_STDIN = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, up to the end of the line."
)
_COLUMNS = ("name", "role", "organizations", "enabled", "created", "last login")
_SESSION_COLUMNS = ("id", "since", "last seen", "address", "browser")


@click.group()
def user() -> None:
    """Manage users of the admin centre.

    Roles: owner (everything), administrator (everything except users and tokens), operator (reads, and manages the
    queue), auditor (reads). docs/admin-centre.md has a table of them.
    """


@user.command("list")
@gateway_options
def list_() -> None:
    """List all users by name. Exit codes: 0 done (also if there are none), 2 usage error, 3 the data cannot be read."""
    print_rows(_COLUMNS, all_items(client().call, users.list_users, users.ListUsers()), _row)


def _row(account: users.UserAccount) -> tuple[object, ...]:
    return (
        account.name,
        account.role.value,
        organizations_text(account.organizations),
        _("yes") if account.enabled else _("no"),
        moment(account.created),
        moment(account.last_login or 0.0) or _("never"),
    )


@user.command(
    help=f"""Add user NAME, who can log in at once.

The command asks for the password (12 to 1000 characters) twice, or reads it with --password-stdin; it is never an
argument. The gateway stores only a hash of it (Argon2id).

{ACCOUNT_CODES}"""
)
@request_options(users.NewAccount, password="")
@_PASSWORD_STDIN
@gateway_options
def add(request: users.NewAccount, *, password_stdin: bool) -> None:
    """See its help."""
    request = replace(
        request,
        password=prompt_password("--password-stdin", from_stdin=password_stdin),
        organizations=request.organizations or None,
    )
    made = client().call(users.add_user, request).value
    if printed_json(made):
        return
    say("%(name)s: added, %(access)s", err=True, name=made.name, access=_access(made))


@user.command(
    "set",
    help=f"""Change role, organizations, password or state of user NAME. Other values stay as they are.

Any change ends all sessions of the user; a new password also removes the passkeys. The user's API tokens stay, because
programs use them: the command names them, and --remove-tokens removes them. The last owner who can log in remains an
owner.

{ACCOUNT_CODES}""",
)
@request_options(users.AccountChange, enabled=UNSET, password=UNSET)
@click.option("--all-organizations", is_flag=True, help="Give access to the whole gateway again.")
@click.option(
    "--enable/--disable",
    "enabled",
    default=None,
    help="Whether the user can log in. It applies to the user's tokens too.",
)
@click.option("--password", is_flag=True, help="Ask for a new password, twice.")
@_PASSWORD_STDIN
@gateway_options
def set_(
    request: users.AccountChange, *, all_organizations: bool, enabled: bool | None, password: bool, password_stdin: bool
) -> None:
    """See its help."""
    if all_organizations and request.organizations is not UNSET:
        fail(
            BAD_INPUT,
            "--organization names some organizations, --all-organizations means all of them: use only one of the two",
        )
    changes: dict[str, Any] = {"organizations": None} if all_organizations else {}
    if enabled is not None:
        changes["enabled"] = enabled
    if password or password_stdin:
        changes["password"] = prompt_password("--password-stdin", from_stdin=password_stdin)
    if not (changes or request.remove_tokens) and request.role is UNSET and request.organizations is UNSET:
        fail(BAD_INPUT, "nothing to change: use --role, --organization, --enable, --disable, --password, ...")
    account = client().call(users.set_user, replace(request, **changes))
    if printed_json(account):
        return
    state = f"{_access(account)}, {_('enabled') if account.enabled else _('disabled')}"
    click.echo(f"{account.name}: {state}{_(', password set') if 'password' in changes else ''}", err=True)
    if "password" in changes or request.remove_tokens:
        _say_credentials(account)


def _say_credentials(account: users.ChangedAccount) -> None:
    """Print what ended with the change, and what did not."""
    if account.passkeys_removed:
        say("passkeys removed: %(names)s", err=True, names=", ".join(account.passkeys_removed))
    if account.tokens_removed:
        say("API tokens removed: %(names)s", err=True, names=", ".join(account.tokens_removed))
    if account.tokens:
        say(
            "its API tokens still work: %(names)s (gatepost token remove NAME removes one)",
            err=True,
            names=", ".join(account.tokens),
        )


@user.command(
    help=f"""Remove user NAME, with the user's sessions and API tokens. The last owner cannot be removed.

A person of an OpenID Connect issuer is created again at the next log-in, unless the issuer lists them in no group of
[oidc] any more: to keep them out, disable them (user set NAME --disable).

{ACCOUNT_CODES}"""
)
@request_options(users.RemoveUser)
@gateway_options
def remove(request: users.RemoveUser) -> None:
    """See its help."""
    removed = client().call(users.remove_user, request)
    if printed_json(removed):
        return
    tokens = _(", and its API tokens: %(tokens)s", tokens=", ".join(removed.tokens)) if removed.tokens else ""
    say("%(name)s: removed%(tokens)s", err=True, name=request.name, tokens=tokens)


@user.command()
@request_options(users.ListSessions)
@click.option("--end", is_flag=True, help="End the sessions: the user must log in again.")
@gateway_options
def sessions(request: users.ListSessions, *, end: bool) -> None:
    """List the sessions of user NAME.

    Exit codes: 0 done (also if there are none), 2 no such user, 3 the data cannot be read.
    """
    gateway = client()
    if end:
        ended = gateway.call(users.end_sessions, users.EndSessions(name=request.name)).ended
        say("%(name)s: %(sessions)s ended", err=True, name=request.name, sessions=quantity(ended, "session"))
    left = list(all_items(gateway.call, users.list_sessions, request))
    if not printed_json(left) and not end:
        rows = [
            (session.id, moment(session.created), moment(session.last_seen), session.address, session.agent)
            for session in left
        ]
        print_table(_SESSION_COLUMNS, rows)


@user.command()
@gateway_options
def setup() -> None:
    """Print a new one-time address of the admin centre, where the first owner is created within 30 minutes.

    An address that was printed before becomes invalid. Exit codes: 0 done, 1 there is an owner already, 2 usage error,
    3 the data cannot be written.
    """
    settings = local_settings()
    code = client().call(users.make_setup_code, users.MakeSetupCode()).code
    url = setup_url(settings, code)
    if printed_json({"code": code, "url": url}):
        return
    say("open this on the gateway's machine within 30 minutes; it works once", err=True)
    click.echo(url)


def _access(account: users.UserAccount) -> str:
    whole = account.organizations is None
    return _(
        "%(role)s of %(organizations)s",
        role=account.role.value,
        organizations=_("the whole gateway") if whole else organizations_text(account.organizations),
    )
