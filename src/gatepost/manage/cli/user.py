"""`gatepost user`: who may use the admin centre, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import KEEP
from gatepost.manage.cli.account_store import CODES, of_organizations, opened, organization_option
from gatepost.manage.cli.admin_address import setup_url
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, config_option, fail, json_option
from gatepost.manage.cli.password_prompt import asked_password
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.accounts import session_record, user_record
from gatepost.manage.use_cases.accounts_opened import end_sessions, every_user, new_user, remove_user, user_set
from gatepost.manage.use_cases.accounts_opened import sessions as sessions_of
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.manage.access.records import Keep


_ROLES = click.Choice([one.value for one in Role])
_PASSWORD_STDIN = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, up to the end of the line."
)
_COLUMNS = ("name", "role", "organizations", "enabled", "created", "last login")
_SESSION_COLUMNS = ("id", "since", "last seen", "address", "browser")


@click.group()
def user() -> None:
    """Users of the admin centre.

    Roles: owner (everything), administrator (all but users and tokens), operator (reads, and acts on the queue),
    auditor (reads). docs/admin-centre.md has them in a table.
    """


@user.command("list")
@config_option
@json_option
def list_(config: str | None, *, as_json: bool) -> None:
    """All users, by name. Exit codes: 0 done (also if there is none), 2 wrong use, 3 not readable."""
    found = door(config)(every_user)
    if as_json:
        print_json([user_record(one) for one in found])
        return
    rows = [
        (
            one.name,
            one.role.value,
            of_organizations(one.organizations),
            "yes" if one.enabled else "no",
            moment(one.created),
            moment(one.last_login) or "never",
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)


@user.command(
    help=f"""Add user NAME, who can log in at once.

The password (12 to 1000 characters) is asked for twice, or read with --password-stdin; it is never an argument. What is
kept of it is a hash (Argon2id).

{CODES}"""
)
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What it may do.")
@organization_option("the whole gateway")
@_PASSWORD_STDIN
@config_option
def add(name: str, role: str, organizations: tuple[str, ...], config: str | None, *, password_stdin: bool) -> None:
    """See its help."""
    given = asked_password("--password-stdin", from_stdin=password_stdin)
    made = door(config)(new_user, name, role=Role(role), password=given, organizations=organizations or None)
    click.echo(f"{made.name}: added, {made.role.value} of {_of(made.organizations)}", err=True)


@user.command(
    "set",
    help=f"""Change role, organizations, password or state of user NAME; what is not given stays.

Any change ends all sessions of the user. The last owner who can log in stays one.

{CODES}""",
)
@click.argument("name")
@click.option("--role", type=_ROLES, help="What it may do.")
@organization_option("what it has")
@click.option("--all-organizations", is_flag=True, help="The whole gateway again.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it can log in; tokens it made go with it.")
@click.option("--password", is_flag=True, help="Ask for a new password, twice.")
@_PASSWORD_STDIN
@config_option
def set_(name: str, organizations: tuple[str, ...], config: str | None, *, enabled: bool | None, **wish: Any) -> None:
    """See its help."""
    everywhere = wish["all_organizations"]
    if organizations and everywhere:
        fail(BAD_INPUT, "--organization names some, --all-organizations means every one: write one of them")
    wanted: tuple[str, ...] | Keep | None = None if everywhere else organizations or KEEP
    asked = wish["password"] or wish["password_stdin"]
    if wanted is KEEP and enabled is None and not (wish["role"] or asked):
        fail(BAD_INPUT, "say what is to be different: --role, --organization, --enable, --disable, --password, ...")
    password = asked_password("--password-stdin", from_stdin=wish["password_stdin"]) if asked else None
    one = door(config)(
        user_set,
        name,
        role=Role(wish["role"]) if wish["role"] else None,
        organizations=wanted,
        enabled=enabled,
        password=password,
    )
    state = f"{one.role.value} of {_of(one.organizations)}, {'enabled' if one.enabled else 'disabled'}"
    click.echo(f"{one.name}: {state}{', password set' if asked else ''}", err=True)


@user.command(
    help=f"""Remove user NAME, its sessions and the API tokens it made. The last owner stays.

{CODES}"""
)
@click.argument("name")
@config_option
def remove(name: str, config: str | None) -> None:
    """See its help."""
    ended = door(config)(remove_user, name)
    tokens = f", and its API tokens: {', '.join(ended)}" if ended else ""
    click.echo(f"{name}: removed{tokens}", err=True)


@user.command()
@click.argument("name")
@click.option("--end", is_flag=True, help="End them: the user has to log in anew.")
@config_option
@json_option
def sessions(name: str, config: str | None, *, end: bool, as_json: bool) -> None:
    """Where user NAME is logged in. Exit codes: 0 done (also if nowhere), 2 no such user, 3 not readable."""
    there = door(config)
    if end:
        click.echo(f"{name}: {there(end_sessions, name)} session(s) ended", err=True)
    found = there(sessions_of, name)
    if as_json:
        print_json([session_record(one) for one in found])
    elif not end:
        rows = [(one.id, moment(one.created), moment(one.last_seen), one.address, one.agent) for one in found]
        print_table(_SESSION_COLUMNS, rows)


@user.command()
@config_option
@json_option
def setup(config: str | None, *, as_json: bool) -> None:
    """Print a new one-time address of the admin centre, where the first owner is made within 30 minutes.

    One that was printed before ends. Exit codes: 0 done, 1 there is an owner already, 2 wrong use, 3 not writable.
    """
    with opened(config) as its:
        code = its.accounts.setup_code()
        url = setup_url(its.gateway.settings, code)
    if as_json:
        print_json({"code": code, "url": url})
        return
    click.echo("open this on the gateway's machine within 30 minutes; it works once", err=True)
    click.echo(url)


def _of(organizations: frozenset[str] | None) -> str:
    return "the whole gateway" if organizations is None else of_organizations(organizations)
