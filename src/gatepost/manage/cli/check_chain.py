"""`gatepost check chain|roots`: whether a certificate is fit for service, and which roots this machine trusts.

For partners as for administrators: a file and a way out is all that is needed, no server and no settings file.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.checks import chain_report
from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_facts import From, Link
from gatepost.analysis.checks.chain_file import CertificateFile, ChainFileError, parse_file, read_file, read_key
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.partner_report import Mark
from gatepost.analysis.checks.roots import RootRow, RootsCheck, check_roots, roots_record
from gatepost.manage.cli.check import no_nan, system_nameservers
from gatepost.manage.cli.check_text import LOUD, cut, print_line, total_line, with_options
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, json_option, working
from gatepost.manage.cli.output import _, ngettext, ours, printable, printed_json, quantity, say, wrapped
from gatepost.net.anchors import SYSTEM, AnchorsError
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.policy.connectors.names import domain_name
from gatepost.settings.model import Dns
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.protocols.tls.facts import CertificateFacts


_STATUS = {
    chain_report.Readiness.READY: 0,
    chain_report.Readiness.NOT_READY: NO,
    chain_report.Readiness.UNKNOWN: UNKNOWN,
}
_MAX_STDIN = 16 * 1024 * 1024

_file = click.argument("pem", metavar="PEM", type=click.Path(dir_okay=False, allow_dash=True))


def _anchors[F: Callable[..., Any]](command: F) -> F:
    return click.option(
        "--anchors",
        default=SYSTEM,
        metavar="FILE|DIR|system",
        help="The roots that decide: a file, a directory, or those of this machine. Default: system.",
    )(command)


@click.command()
@_file
@click.option(
    "--key",
    type=click.Path(dir_okay=False),
    metavar="KEY",
    help="File with its private key, to check that the two belong together.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="A name that it must contain, such as that of an MX host. May be repeated.",
)
@_anchors
@click.option("--staple", is_flag=True, help="Require an OCSP response that can be stapled.")
@click.option("--offline", is_flag=True, help="Fetch nothing: no CRLs, OCSP responses or missing issuers.")
@click.option(
    "--private",
    is_flag=True,
    help=(
        "Allow addresses of a private network. Without it they are contacted only for an authority that "
        "is in --anchors and not in this machine's store."
    ),
)
@click.option(
    "--nameserver", "nameservers", multiple=True, metavar="ADDRESS[:PORT]", help="Nameserver to ask. May be repeated."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    callback=no_nan,
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for each address; the whole check takes at most six times as long.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show all certificates and stores with their thumbprints.")
@json_option
def chain(pem: str, verbose: bool, **asked: Any) -> None:
    """Check whether the certificate in PEM is ready for service, and what a partner will see of it.

    PEM: the server's certificate and its intermediates, as PEM, DER or PKCS#7 (.p7b); "-" is standard input.

    The command checks order and completeness (it names a missing intermediate and where to get it), the root and which
    stores contain it, dates, keys and signatures, purpose, names, every CRL, OCSP and issuer address, fetched from
    here, and OCSP stapling. It prints what you need next: hosts that a firewall must allow, the TLSA record,
    thumbprints.

    Each finding is one of pass, info, warn, fail, unknown, with its evidence and what to do. A check that could not run
    is unknown, never a pass. The last line always has the same keys: verdict=ready|not-ready|unknown chain= days= key=
    fails= warnings= unknown=

    Exit codes: 0 ready for service; 1 something failed; 2 usage error or bad input; 3 inconclusive.
    """
    question = _question(pem, asked)
    stores = _stores(asked["anchors"])
    with (
        ending(BAD_INPUT, ValueError, place="--nameserver: "),
        ending(BAD_INPUT, ChainFileError),
        working(_("checking; this can take a while if addresses do not answer")),
    ):
        chain_check = asyncio.run(_check(question, stores, asked))
    if not printed_json(chain_report.chain_record(chain_check)):
        print_chain(chain_check, verbose=verbose)
    sys.exit(_STATUS[chain_check.outcome])


def _question(pem: str, asked: dict[str, Any]) -> ChainQuestion:
    with ending(BAD_INPUT, ValueError, place="--name: "):
        names = tuple(dict.fromkeys(domain_name(name) for name in asked["names"]))
    with ending(BAD_INPUT, ChainFileError, place="--key: "):
        key = read_key(Path(asked["key"])) if asked["key"] else None
    return ChainQuestion(_read(pem), names, key, staple=asked["staple"])


async def _check(question: ChainQuestion, stores: RootStores, asked: dict[str, Any]) -> chain_report.ChainCheck:
    timeout: float = asked["timeout"]
    if asked["offline"]:
        return await ChainChecker(None, stores).check(question, now=time.time())
    usual = Dns()
    nameservers = asked["nameservers"] or system_nameservers() or usual.nameservers
    dns = usual.replaced(nameservers=nameservers, timeout=min(timeout, usual.timeout))
    resolver = configured_resolver(dns)
    try:
        client = HttpClient(resolver, https_context(stores.anchors))
        checker = ChainChecker(client, stores, timeout=timeout, private=asked["private"])
        return await checker.check(question, now=time.time())
    finally:
        await resolver.close()


@click.command()
@_file
@_anchors
@click.option("-v", "--verbose", is_flag=True, help="Show all thumbprints, including those of trusted certificates.")
@json_option
def roots(pem: str, anchors: str, verbose: bool) -> None:
    """Check whether this machine trusts the authorities in PEM, before a partner or provider changes roots.

    PEM: a bundle of roots, and of intermediates if it has any, in PEM, DER or PKCS#7 (.p7b); "-" is standard input.

    The command looks for each root by its SHA-256 in this machine's store, in Mozilla's list and in --anchors, which
    decides. An intermediate is trusted if it leads to a trusted root. Expired certificates do not count. Nothing is
    fetched.

    The last line always has the same keys: verdict=trusted|not-trusted certificates= trusted= missing= ended= warnings=

    Exit codes: 0 every valid certificate is trusted; 1 one is not; 2 usage error or bad input.
    """
    file, stores = _read(pem), _stores(anchors)
    with ending(BAD_INPUT, ChainFileError):
        roots_check = check_roots(file, stores, now=time.time())
    if not printed_json(roots_record(roots_check)):
        print_roots(roots_check, verbose=verbose)
    sys.exit(0 if roots_check.outcome else NO)


def _read(pem: str) -> CertificateFile:
    with ending(BAD_INPUT, ChainFileError):
        if pem == "-":
            return parse_file(sys.stdin.buffer.read(_MAX_STDIN + 1), _("standard input"))
        return read_file(Path(pem))


def _stores(anchors: str) -> RootStores:
    with ending(BAD_INPUT, AnchorsError, place="--anchors: "):
        return RootStores.load(anchors)


_PLACES = {
    From.FILE: "in the file",
    From.FETCHED: "fetched: NOT in the file",
    From.STORE: "from this machine's roots",
}
_ASKED = frozenset({chain_report.Part.REVOCATION, chain_report.Part.STAPLING, chain_report.Part.ISSUERS})
_NAME = 48


def print_chain(check: chain_report.ChainCheck, *, verbose: bool) -> None:
    """All of it, on standard output. verbose: thumbprints of every certificate."""
    click.echo(wrapped(printable(_headline(check)), "  "))
    click.echo()
    _print_path(check)
    click.echo()
    for finding in check.findings:
        if finding.part is chain_report.Part.REVOCATION:
            break
        _print_finding(finding)
    findings = [finding for finding in check.findings if finding.part in _ASKED]
    if findings:
        say("\nAddresses in the certificates, as they answer from here")
        for finding in findings:
            _print_finding(finding)
    _print_firewall(check)
    _print_published(check)
    if verbose:
        for link in check.facts.path[1:]:
            _print_thumbprints(link.facts)
    click.echo(f"\n{total_line(check.counts, check.seconds)}\n{check.last_line}")


def _headline(check: chain_report.ChainCheck) -> str:
    return _(
        "%(source)s: is %(leaf)s ready for service?  %(answer)s",
        source=check.facts.file.source,
        leaf=chain_report.title(check.leaf),
        answer=_answer(check),
    )


def _answer(check: chain_report.ChainCheck) -> str:
    match check.outcome:
        case chain_report.Readiness.READY:
            warnings = check.counts[Mark.WARN]
            return _("YES") if not warnings else _("YES, with %(warnings)s", warnings=quantity(warnings, "warning"))
        case chain_report.Readiness.NOT_READY:
            return _("NO: %(reason)s", reason=_first(check, Mark.FAIL))
        case chain_report.Readiness.UNKNOWN:
            return _("INCONCLUSIVE: %(reason)s", reason=_first(check, Mark.UNKNOWN))


def _first(check: chain_report.ChainCheck, mark: Mark) -> str:
    return ours(next(finding.text for finding in check.findings if finding.verdict is mark))


def _print_path(check: chain_report.ChainCheck) -> None:
    """The chain as a table, leaf first."""
    rows = [
        (
            f"{number} {cut(printable(chain_report.title(link.facts)), _NAME)}",
            link.facts.key,
            _until(link.facts, check.facts.now),
            _place(check, link),
        )
        for number, link in enumerate(check.facts.path, 1)
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for *cells, last in rows:
        click.echo(f"  {'  '.join(map(str.ljust, cells, widths))}  {last}")


def _until(certificate: CertificateFacts, now: float) -> str:
    left = chain_report.days_left(certificate, now)
    return (
        _("until %(not_after)s (%(days)s)", not_after=day_text(certificate.not_after), days=quantity(left, "day"))
        if left >= 0
        else _("expired %(not_after)s", not_after=day_text(certificate.not_after))
    )


def _place(check: chain_report.ChainCheck, link: Link) -> str:
    if link.place is From.STORE and any(
        store.holds_root and link is check.facts.path[-1] for store in check.facts.stores
    ):
        return "in " + " and ".join(store.name for store in check.facts.stores if store.holds_root)
    return _PLACES[link.place]


def _print_firewall(check: chain_report.ChainCheck) -> None:
    hosts = chain_report.firewall_hosts(check.facts.path)
    if hosts:
        say("\nA firewall must allow, here and at partners that check revocation")
        for host in hosts:
            click.echo(f"  {printable(host)}")


def _print_published(check: chain_report.ChainCheck) -> None:
    say("\nTo publish, or to give to partners")
    for record in chain_report.tlsa_record(check.facts):
        click.echo(f"  {printable(record)}")
    leaf = check.leaf
    say("  issuer              %(issuer)s", issuer=leaf.issuer)
    say("  serial number       %(serial)s", serial=leaf.serial)
    say("  SHA-1 thumbprint    %(sha1)s", sha1=leaf.sha1.upper())
    say("  SHA-256 thumbprint  %(sha256)s", sha256=leaf.sha256.upper())
    pin = base64.b64encode(bytes.fromhex(leaf.spki_sha256)).decode("ascii")
    say("  key pin             sha256/%(pin)s", pin=pin)


def _print_thumbprints(certificate: CertificateFacts) -> None:
    click.echo(f"\n{printable(certificate.subject)}")
    say("  SHA-1 thumbprint    %(sha1)s", sha1=certificate.sha1.upper())
    say("  SHA-256 thumbprint  %(sha256)s", sha256=certificate.sha256.upper())


# roots


def print_roots(check: RootsCheck, *, verbose: bool) -> None:
    """Every certificate of the bundle, what is wrong first. verbose: thumbprints also of what is trusted."""
    missing = sum(row.trusted is False for row in check.rows)
    answer = (
        _("YES") if check.outcome else _("NO: %(missing)s of %(rows)s are not", missing=missing, rows=len(check.rows))
    )
    click.echo(
        wrapped(
            _(
                "%(source)s: are these authorities trusted here (%(anchors)s)?  %(answer)s",
                source=check.source,
                anchors=check.anchors,
                answer=answer,
            ),
            "  ",
        )
    )
    click.echo()
    for row in sorted(check.rows, key=lambda row: row.trusted is not False):
        _print_root(row, full=verbose or row.verdict in LOUD)
    for store in {store.name: store for row in check.rows for store in row.stores if store.missing}.values():
        print_line(
            Mark.INFO,
            _("trust store"),
            _("%(name)s could not be read: %(missing)s", name=store.name, missing=store.missing),
        )
    if check.repeated:
        again = ngettext(
            "%(num)s certificate is in it more than once",
            "%(num)s certificates are in it more than once",
            check.repeated,
        )
        print_line(Mark.INFO, _("file"), again)
    click.echo(f"\n{check.last_line}")


def _print_finding(finding: chain_report.ChainFinding) -> None:
    fix = with_options(ours(finding.fix), finding.options)
    print_line(finding.verdict, finding.part, finding.text, finding.evidence, fix)


def _print_root(row: RootRow, *, full: bool) -> None:
    facts = row.facts
    thumbprints = f"SHA-1 {facts.sha1.upper()}; SHA-256 {facts.sha256.upper()}" if full else ""
    text = _(
        "%(facts)s, %(key)s, until %(not_after)s: %(text)s",
        facts=chain_report.title(facts),
        key=facts.key,
        not_after=day_text(facts.not_after),
        text=ours(row.text),
    )
    print_line(row.verdict, _KINDS[row.kind], text, thumbprints, row.fix)


_KINDS = {"root": "root", "intermediate": "interm.", "leaf": "server"}
