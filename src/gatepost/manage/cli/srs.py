"""`gatepost srs …`: the keys with which reverse-paths of forwarded mail are rewritten."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, print_rows, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import srs_keys
from gatepost.manage.use_cases.client import all_items


@click.group()
def srs() -> None:
    """Manage the keys that rewrite reverse-paths of forwarded mail (SRS)."""


@srs.command("list")
@gateway_options
def list_() -> None:
    """List SRS keys by name: the first signs, all verify. No key is shown.

    Exit codes: 0 done, 2 invalid settings, 3 the keys cannot be read.
    """
    print_rows(("name", "use"), all_items(client().call, srs_keys.list_srs_keys, srs_keys.ListSrsKeys()), _row)


def _row(key: srs_keys.SrsKey) -> tuple[object, ...]:
    return key.name, _("signs and verifies") if key.signs else _("verifies")


@srs.command()
@gateway_options
def rotate() -> None:
    """Make a new SRS key, which signs from now on; the keys before it go on verifying until they are removed.

    Running nodes know it within seconds and sign with it half a minute later.

    Exit codes: 0 done, 1 there are too many keys, 2 invalid settings, 3 the keys cannot be written.
    """
    key = client().call(srs_keys.rotate_srs_key, srs_keys.RotateSrsKey())
    if not printed_json(key):
        say("new key: %(name)s; remove older ones in a month: `gatepost srs remove NAME`", name=key.name)


@srs.command()
@request_options(srs_keys.RemoveSrsKey)
@gateway_options
def remove(request: srs_keys.RemoveSrsKey) -> None:
    """Remove SRS key NAME, which only verifies: addresses that were made with it are refused from then on.

    Exit codes: 0 done, 1 it signs, 2 usage error, or there is no such key, 3 the keys cannot be written.
    """
    client().call(srs_keys.remove_srs_key, request)
    if not printed_json({"name": request.name}):
        say("removed: %(name)s", name=request.name)
