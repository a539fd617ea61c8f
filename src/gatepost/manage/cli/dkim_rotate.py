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
@click.option("--organization", default="", help="Needed where there are several it could be.")
@force_option("Although the record is not seen in the DNS: mail may fail to verify meanwhile. REASON is kept.")
@change_options
@config_option
@json_option
def rotate(domain: str, selector: str, organization: str, force: str, **given: Any) -> None:
    """Let the next keys of DOMAIN sign, and retire the current ones of the same algorithm, in one step.

    Refused unless the record of each is seen in the DNS and is right, and its private key can be opened. A retired key
    signs no more; leave its record in the DNS until the mail it signed has arrived everywhere, a week or so, then
    `gatepost dkim remove` it.

    Exit codes: 0 done, 1 a record is missing or wrong, or a key cannot be used; 2 there is no next key, or several of
    one algorithm; 3 not readable or writable, or the DNS could not be asked.
    """
    asked = ChangeArguments(**given)
    owner = keys_owner(client(asked.config).directory().resources, organization, domain).name
    request = RotateDkimKeys(organization=owner, domain=domain, selector=selector, force=force, **asked.fields)
    change(asked, rotate_dkim_keys, request)
