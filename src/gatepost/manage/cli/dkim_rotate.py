"""`gatepost dkim rotate`: lets the next keys of a domain sign in place of the current ones, once they are published."""

from __future__ import annotations

from typing import Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, change, change_options
from gatepost.manage.cli.options import config_option, force_option, json_option
from gatepost.manage.use_cases.dkim_changes import RotateDkimKeys, keys_owner, rotate_dkim_keys


@click.command()
@click.argument("domain")
@click.option("--selector", default="", help="Only the next key of this selector. Default: every next key of DOMAIN.")
@click.option("--organization", default="", help="Needed if several organizations match.")
@force_option(
    "Rotate even if the record is not visible in the DNS. Mail may fail to verify until it is. REASON is recorded."
)
@change_options
@config_option
@json_option
def rotate(domain: str, selector: str, organization: str, force: str, **given: Any) -> None:
    """Activate the next keys of DOMAIN, and retire the current keys of the same algorithm, in one step.

    Refused unless the record of each next key is visible in the DNS and correct, and its private key can be opened. A
    retired key no longer signs; keep its record in the DNS until all mail that it signed has arrived, about a week,
    then use `gatepost dkim remove`.

    Exit codes: 0 done, 1 a record is missing or wrong, or a key cannot be used; 2 there is no next key, or several of
    one algorithm; 3 the data cannot be read or written, or the DNS could not be queried.
    """
    asked = ChangeArguments(**given)
    owner = keys_owner(client(asked.config).directory().resources, organization, domain).name
    request = RotateDkimKeys(organization=owner, domain=domain, selector=selector, force=force, **asked.fields)
    change(asked, rotate_dkim_keys, request)
