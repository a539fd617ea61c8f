"""`gatepost grant`: what stands in resources without the gateway owner's grant, and granting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.ungranted import GrantValue, ListUngranted, grant_value, list_ungranted

if TYPE_CHECKING:
    from gatepost.manage.use_cases.ungranted import UngrantedValue


_COLUMNS = ("organization", "resource", "name", "field", "value", "effect")
_EFFECTS = {"none": "none", "bounded": "public addresses and [network] tenants_may_reach"}


@click.group()
def grant() -> None:
    """Files, sockets and hosts that stand in resources without a grant of the gateway's owner.

    What the owner writes is granted with it. What a tenant wrote stays as it is, also if the owner repeats it by
    `gatepost apply`, until it is granted here.
    """


@grant.command("list")
@config_option
@json_option
def list_(config: str | None, as_json: bool) -> None:
    """Values without a grant, and what effect they have.

    A file or socket has none. A host that a tenant wrote is called at public addresses only, and at those of [network]
    tenants_may_reach; most need no grant. Exit codes: 0 done (also if there is nothing), 2 wrong use, 3 not readable.
    """
    found = client(config).call(list_ungranted, ListUngranted()).values
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@grant.command("add")
@request_options(GrantValue)
@click.option("--dry-run", is_flag=True, help="Check it; change nothing.")
@config_option
@json_option
def add(request: GrantValue, config: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Grant one value as it stands, named as `gatepost grant list` has it.

    Such as: gatepost grant add contoso outbound_connector hq smart_hosts 10.0.0.5. Look at the whole resource first: a
    host may then be anywhere in the gateway's network.

    Exit codes: 0 granted, 1 no such value without a grant, 2 wrong use, 3 not readable or writable.
    """
    try:
        done = client(config).call(grant_value, request, dry_run=dry_run).value
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.MISSING:
            raise
        fail(NO, printable(refusal.text))
    if as_json:
        print_json(done)
        return
    click.echo("it can be granted; nothing was changed" if dry_run else f"granted, version {done.version}", err=True)


def _row(value: UngrantedValue) -> tuple[object, ...]:
    effect = _EFFECTS.get(value.effect, value.effect)
    return value.organization, value.resource, value.name, value.field, value.value, effect
