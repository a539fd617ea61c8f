"""`gatepost domain mta-sts NAME`: the MTA-STS policy that is published for a domain, and what the DNS needs for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gatepost.administration.choice import choose_part
from gatepost.administration.mta_sts import check_policy, policy_of, policy_record
from gatepost.administration.parts import DOMAIN
from gatepost.cli.options import NO, UNKNOWN, config_option, gateway_of, json_option
from gatepost.cli.tables import print_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.administration.mta_sts import Policy
    from gatepost.checks.partner_report import Finding

__all__ = ["mta_sts"]


@click.command("mta-sts")
@click.argument("name")
@click.option("--organization", default="", help="Needed where there are several it could be.")
@click.option("--check", is_flag=True, help="Look at it as a sender would: DNS, policy, certificate, MX records.")
@click.option(
    "--private",
    is_flag=True,
    help="With --check: the policy host may be at an address that is not of the public internet. Default: as "
    "outbound.private_policy_hosts says.",
)
@config_option
@json_option
def mta_sts(name: str, organization: str, config: str | None, *, check: bool, private: bool, as_json: bool) -> None:
    """The MTA-STS policy that the gateway serves for a domain, and the records that the DNS needs for it (RFC 8461).

    What the policy says is written with `gatepost domain set NAME mta_sts=testing`; [mta_sts] in the settings says
    where policies are served. The id of the TXT record follows from the policy's text: whenever that changes, put the
    new record into the zone, after the new policy is served.

    Exit codes: 0 there is a policy, with --check also: senders find it and may obey it; 1 there is none, or with
    --check: something is wrong with it; 2 no such domain, 3 not readable, or with --check: could not tell.
    """
    gateway = gateway_of(config)
    policy = policy_of(gateway.settings, choose_part(gateway.directory().resources, DOMAIN, name, organization))
    findings = check_policy(gateway.settings, policy, private=private) if check else ()
    if as_json:
        print_json(policy_record(policy, findings))
    else:
        _print(policy)
        _print_findings(findings)
        for note in policy.notes(checked=check):
            click.echo(f"note: {printable(note)}", err=True)
    sys.exit(_status(findings) if check else 0 if policy.found else NO)


def _print(policy: Policy) -> None:
    found = policy.found
    if found is None:
        begin = f"gatepost domain set {policy.domain} mta_sts=testing"
        click.echo(f"{policy.domain} has no policy; begin with one that demands nothing: {begin}", err=True)
        return
    click.echo(f"{found.url} is to answer:\n")
    for line in found.policy.lines:
        click.echo(f"  {line}")
    click.echo("\nThe zone needs (A and AAAA records do as well as the CNAME, and any address for reports):\n")
    for line in policy.zone:
        click.echo(f"  {line}")
    click.echo(f"\nserved at    {policy.served_at or '-'}")
    click.echo(f"certificate  {printable(policy.certificate) or '-'}")


def _print_findings(findings: Sequence[Finding]) -> None:
    from gatepost.cli.check_text import print_findings  # noqa: PLC0415 - only --check needs what it imports

    if findings:
        click.echo()
        print_findings(findings)


def _status(findings: Sequence[Finding]) -> int:
    verdicts = {str(one.verdict) for one in findings}
    return NO if "fail" in verdicts else UNKNOWN if "unknown" in verdicts else 0
