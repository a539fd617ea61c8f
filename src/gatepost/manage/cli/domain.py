"""`gatepost domain …`: the accepted domains of organizations, the record that proves one, lists of recipients."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.edit import ChangeArguments, change, change_options
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import print_records, printable, printed_json, say
from gatepost.manage.cli.part_commands import add_commands, organization_option, part_argument
from gatepost.manage.cli.secret_command import SecretCases, secret_command
from gatepost.manage.use_cases.domain_verification import (
    GetDomainVerification,
    VerifyDomain,
    get_domain_verification,
    verify_domain,
)
from gatepost.manage.use_cases.login_secrets import (
    remove_directory_password,
    set_directory_password,
    show_directory_password,
)
from gatepost.manage.use_cases.mta_sts import GetMtaStsPolicy, MtaStsPolicy, PublicationFinding, get_mta_sts_policy
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part
from gatepost.manage.use_cases.paging import ListSelection
from gatepost.manage.use_cases.resource_actions import ChangeRecipients, change_recipients
from gatepost.manage.use_cases.resource_views import DomainRow, domain_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.domain_verification import DomainVerification


@click.group()
def domain() -> None:
    """Manage accepted domains: the domains that the gateway accepts mail for."""


@domain.command("list")
@click.option("--organization", default="", help="Only domains of this organization.")
@gateway_options
def list_(organization: str) -> None:
    """List accepted domains.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    rows = domain_rows(client().directory().resources, ListSelection(organization)).rows
    print_records(DomainRow._fields, rows)


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


@secret_command(
    DOMAIN,
    SecretCases("domain", set_directory_password, remove_directory_password, show_directory_password),
    removal="Destroy the password. The directory then cannot be asked.",
)
def password() -> None:
    """Set the password with which the gateway logs in to the directory of the accepted domain NAME.

    For LDAP (recipient_directory) it is the password of bind_dn, for Microsoft Graph (recipient_graph) the client
    secret. The command asks for it twice, or reads it from standard input with --stdin. The gateway encrypts it with
    store.master_key, apart from the resources: no export, history, log or trace contains it, and nothing shows it. It
    is used for the next log-in, and only for the servers, bind_dn and trust_anchors, or the url, login_url, tenant_id
    and client_id, that the domain has now: after a change of these, enter it again.

    Exit codes: 0 done, with --check: there is one; 1 with --check: there is none, or it was entered for other servers;
    2 there is no such domain, it logs in to no directory, or the password is empty or too long; 3 the data cannot be
    read or written.
    """


domain.add_command(password)


_MOST_OCTETS = 64 << 20


@domain.command()
@part_argument(DOMAIN)
@click.option("--add", multiple=True, metavar="ADDRESS", help="Add this address. May be repeated.")
@click.option("--remove", multiple=True, metavar="ADDRESS", help="Remove this address. May be repeated.")
@click.option(
    "--stdin",
    type=click.Choice(["add", "remove"]),
    help='Also add, or remove, the addresses on standard input: one a line; "#" begins a comment.',
)
@organization_option
@change_options
def recipients(
    part: Part, add: tuple[str, ...], remove: tuple[str, ...], stdin: str | None, arguments: ChangeArguments
) -> None:
    """Add addresses to the list of recipients of the accepted domain NAME, and remove others. The rest stays.

    To add an address that is in the list, or to remove one that is not, changes nothing. If an address is not in the
    domain, nothing changes, and every wrong one is named. `gatepost domain set NAME recipients=…` replaces the whole
    list.

    For example:

    \b
    gatepost domain recipients contoso.example --add ann@contoso.example --remove bob@contoso.example
    gatepost domain recipients contoso.example --stdin add < addresses.txt

    Exit codes: 0 done (or nothing to do), 1 gave up after repeated conflicts with other changes, 2 invalid input (every
    error is named by field), 3 the data cannot be read or written.
    """  # noqa: D301 - click's own mark of lines that stay
    added, removed = list(add), list(remove)
    if stdin is not None:
        (added if stdin == "add" else removed).extend(_read())
    if not added and not removed:
        fail(BAD_INPUT, "name at least one address: --add ADDRESS, --remove ADDRESS, or --stdin add")
    owner = part.organization.name
    request = ChangeRecipients(organization=owner, domain=part.name, add=added, remove=removed, **arguments.fields)
    change(arguments, change_recipients, request)


def _read() -> list[str]:
    text = sys.stdin.read(_MOST_OCTETS)
    return [address for line in text.splitlines() if (address := line.partition("#")[0].strip())]


@domain.command()
@part_argument(DOMAIN)
@organization_option
@click.option(
    "--record", "only_record", is_flag=True, help="Print the record that proves the domain, and do not look it up."
)
@change_options
def verify(part: Part, *, only_record: bool, arguments: ChangeArguments) -> None:
    """Look up the TXT record that proves that a domain belongs to its organization, and verify the domain if it exists.

    A domain that an organization's own administrator adds is pending: it is listed, and has no effect on mail. Publish
    the record that --record prints in the domain's zone, then verify the domain. The record for *.contoso.example is
    the same as for contoso.example.

    Exit codes: 0 verified, 1 the record does not exist, 2 no such domain, or another organization has accepted the
    domain or one that overlaps it, 3 the DNS does not answer, or the data cannot be read or written.
    """
    owner, name = part.organization.name, part.name
    if not only_record:
        change(arguments, verify_domain, VerifyDomain(organization=owner, domain=name, **arguments.fields))
        if not arguments.dry_run:
            say("%(name)s is verified", err=True, name=name)
        return
    verification = client().call(get_domain_verification, GetDomainVerification(organization=owner, domain=name))
    if not printed_json(verification):
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
        say("  %(zone)s\nThen: gatepost domain verify %(domain)s", err=True, zone=verification.zone, domain=domain)


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
        _print_policy(policy)
        _print_findings(findings)
        for note in policy.notes:
            say("note: %(note)s", err=True, note=note)
    sys.exit(_status_of(findings) if check else 0 if policy.published else NO)


def _print_policy(policy: MtaStsPolicy) -> None:
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
    say("%(url)s must answer:\n", url=policy.url)
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


def _status_of(findings: Sequence[PublicationFinding]) -> int:
    verdicts = {finding.verdict for finding in findings}
    return NO if "fail" in verdicts else UNKNOWN if "unknown" in verdicts else 0


domain.add_command(mta_sts)
