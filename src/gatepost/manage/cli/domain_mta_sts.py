"""`gatepost domain mta-sts NAME`: the MTA-STS policy that is published for a domain, and what the DNS needs for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, UNKNOWN, gateway_options
from gatepost.manage.cli.part_commands import organization_option, part_argument
from gatepost.manage.cli.tables import printable, printed_json, say
from gatepost.manage.use_cases.mta_sts import GetMtaStsPolicy, get_mta_sts_policy
from gatepost.manage.use_cases.parts import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.mta_sts import MtaStsPolicy, PublicationFinding
    from gatepost.manage.use_cases.parts import Part


@click.command("mta-sts")
@part_argument(DOMAIN)
@organization_option
@click.option("--check", is_flag=True, help="Check it as a sender would: DNS, policy, certificate, MX records.")
@click.option(
    "--private",
    is_flag=True,
    help="With --check: allow a private address for the policy host. Default: outbound.private_policy_hosts.",
)
@gateway_options
def mta_sts(part: Part, *, check: bool, private: bool) -> None:
    """Show the MTA-STS policy that the gateway serves for a domain, and the DNS records that it needs (RFC 8461).

    `gatepost domain set NAME mta_sts=testing` sets the mode; [mta_sts] in the settings says where the gateway serves
    policies. The id in the TXT record is derived from the policy text: whenever the text changes, publish the new
    record in the zone after the gateway serves the new policy.

    Exit codes: 0 there is a policy, with --check also: senders find it and can use it; 1 there is none, or with
    --check: something is wrong with it; 2 no such domain, 3 the data cannot be read, or with --check: inconclusive.
    """
    request = GetMtaStsPolicy(
        organization=part.organization.name, domain=part.name, check=check, private=check and private
    )
    policy = client().call(get_mta_sts_policy, request)
    findings = policy.findings
    if not printed_json(policy):
        _print(policy)
        _print_findings(findings)
        for note in policy.notes:
            say("note: %(note)s", err=True, note=printable(note))
    sys.exit(_status(findings) if check else 0 if policy.published else NO)


def _print(policy: MtaStsPolicy) -> None:
    domain = printable(policy.domain)
    if not policy.published:
        begin = f"gatepost domain set {domain} mta_sts=testing"
        say(
            "%(domain)s has no policy; begin with one that requires nothing: %(begin)s",
            err=True,
            domain=domain,
            begin=begin,
        )
        return
    say("%(url)s must answer:\n", url=printable(policy.url))
    for line in policy.policy.splitlines():
        click.echo(f"  {printable(line)}")
    say("\nThe zone needs (you can use A and AAAA records instead of the CNAME, and any address for reports):\n")
    for line in policy.zone:
        click.echo(f"  {printable(line)}")
    say("\nserved at    %(served_at)s", served_at=printable(policy.served_at) or "-")
    say("certificate  %(certificate)s", certificate=printable(policy.certificate) or "-")


def _print_findings(findings: Sequence[PublicationFinding]) -> None:
    from gatepost.analysis.checks.partner_report import Finding, Mark, Stage  # noqa: PLC0415 - only --check needs them
    from gatepost.manage.cli.check_text import print_findings  # noqa: PLC0415

    if findings:
        click.echo()
        print_findings(
            Finding(Stage(finding.stage), Mark(finding.verdict), finding.text, finding.evidence, finding.fix)
            for finding in findings
        )


def _status(findings: Sequence[PublicationFinding]) -> int:
    verdicts = {finding.verdict for finding in findings}
    return NO if "fail" in verdicts else UNKNOWN if "unknown" in verdicts else 0
