"""`gatepost grant`: what stands in resources without the gateway owner's grant, and granting it."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, print_rows, printed_json
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.ungranted import GrantValue, ListUngranted, UngrantedValue, grant_value, list_ungranted

_COLUMNS = ("organization", "resource", "name", "field", "value", "effect")
_EFFECTS = {"none": "none", "bounded": "public addresses and [network] tenants_may_reach"}


@click.group()
def grant() -> None:
    """Grant files, sockets and hosts that are named in resources and need the gateway owner's approval.

    What the owner writes is granted at once. What a tenant wrote is not granted, even if the owner repeats it with
    `gatepost apply`, until the owner grants it here.
    """


@grant.command("list")
@gateway_options
def list_() -> None:
    """List values without a grant, and their effect.

    A file or socket without a grant has no effect. The gateway contacts a host that a tenant wrote only at public
    addresses and at those of [network] tenants_may_reach; most hosts need no grant. Exit codes: 0 done (also if there
    are none), 2 usage error, 3 the data cannot be read.
    """
    print_rows(_COLUMNS, client().call(list_ungranted, ListUngranted()).values, _row)


@grant.command("add")
@request_options(GrantValue)
@click.option("--dry-run", is_flag=True, help="Check the grant; change nothing.")
@gateway_options
def add(request: GrantValue, *, dry_run: bool) -> None:
    """Grant one value as it is, with the names that `gatepost grant list` prints.

    Example: gatepost grant add contoso outbound_connector hq smart_hosts 10.0.0.5. Review the whole resource first: a
    granted host may be anywhere in the gateway's network.

    Exit codes: 0 granted, 2 usage error, or no such value without a grant, 3 the data cannot be read or written.
    """
    done = client().call(grant_value, request, dry_run=dry_run).value
    if printed_json(done):
        return
    click.echo(
        _("it can be granted; nothing was changed")
        if dry_run
        else _("granted, version %(version)s", version=done.version),
        err=True,
    )


def _row(value: UngrantedValue) -> tuple[object, ...]:
    effect = _EFFECTS.get(value.effect, value.effect)
    return value.organization, value.resource, value.name, value.field, value.value, effect
