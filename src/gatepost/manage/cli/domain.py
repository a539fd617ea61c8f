"""`gatepost domain …`: the accepted domains of organizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.domain_mta_sts import mta_sts
from gatepost.manage.cli.domain_password import password
from gatepost.manage.cli.domain_recipients import recipients
from gatepost.manage.cli.domain_verify import tell_pending, verify
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.domain_verification import GetDomainVerification, get_domain_verification
from gatepost.manage.use_cases.list_page import ListSelection
from gatepost.manage.use_cases.listings import DomainRow, domain_rows
from gatepost.manage.use_cases.parts import DOMAIN

if TYPE_CHECKING:
    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.parts import Part


@click.group()
def domain() -> None:
    """Manage accepted domains: the domains that the gateway accepts mail for."""


@domain.command("list")
@click.option("--organization", default="", help="Only for this one.")
@config_option
@json_option
def list_(organization: str, config: str | None, as_json: bool) -> None:
    """List accepted domains.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    rows = domain_rows(client(config).directory().resources, ListSelection(organization)).rows
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(DomainRow._fields, rows)


def _record_if_pending(through: Client, part: Part) -> None:
    """Print the next step for a domain that is not verified yet."""
    if not part.record.verified:
        request = GetDomainVerification(organization=part.organization.name, domain=part.name)
        tell_pending(through.call(get_domain_verification, request))


add_commands(
    domain,
    DOMAIN,
    example="contoso.example --organization contoso type=internal-relay",
    then=_record_if_pending,
)
domain.add_command(mta_sts)
domain.add_command(password)
domain.add_command(recipients)
domain.add_command(verify)
