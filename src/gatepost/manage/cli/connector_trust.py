"""`gatepost connector trust`: a partner's own authority as a trust anchor of a connector, once it was compared."""

from __future__ import annotations

from typing import Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, PreparedChange, change_options, edit
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import CODES
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.use_cases.issuer_trust import TrustIssuer, trust_issuer
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import OUTBOUND


@click.command(
    help="Trust the issuer that the last validation of the outbound connector NAME saw.\n\n"
    "FINGERPRINT is the SHA-256 of the issuer's certificate as the partner told it by another way than this "
    "connection, by telephone or on paper: whoever is on the way can present any issuer. `gatepost connector validate` "
    f"prints what was seen.\n\n{CODES}"
)
@click.argument("name", shell_complete=stored_names("outbound_connector"))
@click.argument("fingerprint")
@click.option(
    "--organization",
    default="",
    shell_complete=stored_names("organization"),
    help="Needed if several organizations have a connector NAME.",
)
@change_options
@config_option
@json_option
def trust(name: str, fingerprint: str, organization: str, **given: Any) -> None:
    """A trust anchor more."""
    arguments = ChangeArguments(**given)
    part = choose_part(client(arguments.config).directory().resources, OUTBOUND, name, organization)
    request = TrustIssuer(
        organization=part.organization.name, connector=part.name, sha256=fingerprint, **arguments.fields
    )
    edit(arguments, lambda _: PreparedChange(trust_issuer, request))
