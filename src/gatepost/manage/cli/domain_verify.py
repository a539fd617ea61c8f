"""`gatepost domain verify NAME`: looks for the TXT record that proves a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, change, change_options
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.cli.tables import print_json, printable, say
from gatepost.manage.use_cases.domain_verification import (
    GetDomainVerification,
    VerifyDomain,
    get_domain_verification,
    verify_domain,
)
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import DOMAIN

if TYPE_CHECKING:
    from gatepost.manage.use_cases.domain_verification import DomainVerification


@click.command()
@click.argument("name", shell_complete=stored_names("accepted_domain"))
@click.option("--organization", default="", help="Needed if several organizations match.")
@click.option(
    "--record", "only_record", is_flag=True, help="Print the record that proves the domain, and do not look it up."
)
@change_options
@config_option
@json_option
def verify(name: str, organization: str, *, only_record: bool, **asked: Any) -> None:
    """Look up the TXT record that proves that a domain belongs to its organization, and verify the domain if it exists.

    A domain that an organization's own administrator adds is pending: it is listed, and has no effect on mail. Publish
    the record that --record prints in the domain's zone, then verify the domain. The record for *.contoso.example is
    the same as for contoso.example.

    Exit codes: 0 verified, 1 the record does not exist, 2 no such domain, or another organization has accepted the
    domain or one that overlaps it, 3 the DNS does not answer, or the data cannot be read or written.
    """
    asked_for = ChangeArguments(**asked)
    through = client(asked_for.config)
    part = choose_part(through.directory().resources, DOMAIN, name, organization)
    owner, name = part.organization.name, part.name
    if not only_record:
        change(asked_for, verify_domain, VerifyDomain(organization=owner, domain=name, **asked_for.fields))
        if not asked_for.dry_run:
            say("%(name)s is verified", err=True, name=printable(name))
        return
    verification = through.call(get_domain_verification, GetDomainVerification(organization=owner, domain=name))
    if asked_for.as_json:
        print_json(verification)
    else:
        click.echo(printable(verification.zone))
        tell_pending(verification)


def tell_pending(verification: DomainVerification) -> None:
    """Say beside the output that a domain is not verified, if it is not."""
    if not verification.verified:
        domain = printable(verification.domain)
        say(
            "%(domain)s is pending, so the gateway accepts no mail for it. Publish its TXT record in the zone:",
            err=True,
            domain=domain,
        )
        say(
            "  %(zone)s\nThen: gatepost domain verify %(domain)s",
            err=True,
            zone=printable(verification.zone),
            domain=domain,
        )
