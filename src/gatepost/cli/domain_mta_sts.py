"""`gatepost domain mta-sts NAME`: the MTA-STS policy that is published for a domain, and what the DNS needs for it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.choice import choose_part
from gatepost.administration.parts import DOMAIN
from gatepost.certificates.bearing import bearing
from gatepost.certificates.files import CertificateFileError
from gatepost.certificates.inventory import Inventory
from gatepost.certificates.presented import presented, settings_identities
from gatepost.certificates.vault import Vault, VaultError
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, printable
from gatepost.connectors.publication import publication
from gatepost.mtasts.policy import Mode
from gatepost.mtasts.publish import policy_host, record_name
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.tlsrpt import record as tlsrpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.checks.partner_report import Finding
    from gatepost.mtasts.publish import Publication
    from gatepost.net.identity import ServerIdentity
    from gatepost.settings.model import Settings

__all__ = ["mta_sts"]

_FETCH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Names:
    """Whether our certificates bear the names that senders look for. problems: what to mend, a sentence each.

    certificate: the one that serves the policy, as a sentence has it; "" if there is none.
    """

    certificate: str
    problems: tuple[str, ...]


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
    settings = settings_of(config)
    part = choose_part(stored_directory(settings).resources, DOMAIN, name, organization)
    try:
        found = publication(part.record, settings.server.hostname)
    except ValueError as error:  # of resources that an older version stored
        fail(UNKNOWN, f"{part.label}: no sender could use its policy: {error}")
    names = _names(settings, found)
    findings = _looked_up(settings, part.name, found, private=private) if check else ()
    if as_json:
        print_json(_record(part.organization.name, part.name, settings, found, names, findings))
    else:
        _print(settings, part.name, found, names)
        _print_findings(findings)
        for note in _notes(found, names, checked=check):
            click.echo(f"note: {printable(note)}", err=True)
    sys.exit(_status(findings) if check else 0 if found else NO)


def _names(settings: Settings, found: Publication | None) -> _Names:
    """What our certificates and settings mean for the policy."""
    if found is None:
        return _Names("", ())
    host, own, problems = policy_host(found.domain), settings.server.hostname, []
    if not settings.mta_sts.address:
        problems.append(
            'it is not served: [mta_sts] address is empty in the settings; write "0.0.0.0:443", or have another web '
            "server serve exactly this text"
        )
    try:
        identities = _presented(settings)
    except (CertificateFileError, VaultError, StoreFailure) as error:
        return _Names("", (*problems, f"the certificates cannot be read here: {error}"))
    leaves = bearing(identities, host)
    if not leaves:
        problems.append(f"no [[certificate]] bears {host}: senders cannot fetch the policy; add one")
    if leaves and leaves[0].not_after < time.time():
        problems.append(f"the certificate for {host} has expired: senders cannot fetch the policy; renew it")
    if found.policy.mode is Mode.ENFORCE and found.policy.matches(own) and not bearing(identities, own):
        problems.append(f"no [[certificate]] bears {own}: senders that obey the policy do not deliver here; add one")
    text = f"{leaves[0].subject}, until {moment(leaves[0].not_after)}" if leaves else ""
    return _Names(text, tuple(problems))


def _presented(settings: Settings) -> list[ServerIdentity]:
    """What the HTTPS server chooses among. Raises CertificateFileError, VaultError, StoreFailure."""
    pairs = [(Path(one.chain), Path(one.key)) for one in settings.certificates]
    with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
        inventory = Inventory(store, Vault.of(settings.store.master_key))
        return presented(inventory, settings_identities(inventory, pairs))


def _zone(settings: Settings, found: Publication) -> list[str]:
    """The lines of the zone."""
    return [
        found.zone_line,
        f"{policy_host(found.domain)}. IN CNAME {settings.server.hostname}.",
        f'{tlsrpt.record_name(found.domain)}. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@{found.domain}"',
    ]


def _print(settings: Settings, domain: str, found: Publication | None, names: _Names) -> None:
    if found is None:
        begin = f"gatepost domain set {domain} mta_sts=testing"
        click.echo(f"{domain} has no policy; begin with one that demands nothing: {begin}", err=True)
        return
    click.echo(f"{found.url} is to answer:\n")
    for line in found.policy.lines:
        click.echo(f"  {line}")
    click.echo("\nThe zone needs (A and AAAA records do as well as the CNAME, and any address for reports):\n")
    for line in _zone(settings, found):
        click.echo(f"  {line}")
    click.echo(f"\nserved at    {settings.mta_sts.address or '-'}")
    click.echo(f"certificate  {printable(names.certificate) or '-'}")


def _notes(found: Publication | None, names: _Names, *, checked: bool) -> list[str]:
    """What is wrong or unwise. checked: the findings have the remarks on the policy already."""
    remarks = found.remarks if found is not None and not checked else ()
    return [*names.problems, *(one.text for one in remarks)]


def _looked_up(settings: Settings, domain: str, found: Publication | None, *, private: bool) -> tuple[Finding, ...]:
    """What a sender finds. What does this takes long to import, and only --check needs it."""
    from gatepost.checks.own_policy import check_publication  # noqa: PLC0415 - see above
    from gatepost.lookup.configured import configured_resolver  # noqa: PLC0415
    from gatepost.lookup.mtasts import PolicyHosts  # noqa: PLC0415
    from gatepost.lookup.validator import ValidatorError  # noqa: PLC0415
    from gatepost.net.anchors import AnchorsError  # noqa: PLC0415

    hosts = PolicyHosts(_FETCH_SECONDS, private or settings.outbound.private_policy_hosts)

    async def look() -> tuple[Finding, ...]:
        resolver = configured_resolver(settings.dns)
        try:
            return await check_publication(domain, found, settings, resolver, hosts)
        finally:
            await resolver.close()

    try:
        return asyncio.run(look())
    except AnchorsError as error:
        fail(BAD_INPUT, f"tls.trust_anchors: {error}")
    except ValidatorError as error:
        fail(BAD_INPUT, f"[dns]: {error}")


def _print_findings(findings: Sequence[Finding]) -> None:
    from gatepost.cli.check_text import print_findings  # noqa: PLC0415 - only --check needs what it imports

    if findings:
        click.echo()
        print_findings(findings)


def _status(findings: Sequence[Finding]) -> int:
    verdicts = {str(one.verdict) for one in findings}
    return NO if "fail" in verdicts else UNKNOWN if "unknown" in verdicts else 0


def _record(
    organization: str,
    domain: str,
    settings: Settings,
    found: Publication | None,
    names: _Names,
    findings: Sequence[Finding],
) -> dict[str, Any]:
    """As JSON shows it. The keys do not change."""
    return {
        "organization": organization,
        "domain": domain,
        "published": found is not None,
        "mode": str(found.policy.mode) if found else "",
        "policy": found.policy.text if found else "",
        "url": found.url if found else "",
        "record": {"name": record_name(domain), "text": found.record.text, "id": found.record.id} if found else {},
        "zone": _zone(settings, found) if found else [],
        "served_at": settings.mta_sts.address,
        "certificate": names.certificate,
        "notes": _notes(found, names, checked=bool(findings)),
        "findings": [
            {
                "stage": str(one.stage),
                "verdict": str(one.verdict),
                "text": one.text,
                "evidence": one.evidence,
                "fix": one.fix,
            }
            for one in findings
        ],
    }
