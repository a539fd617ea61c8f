"""`gatepost check chain|roots`: whether a certificate is fit for service, and which roots this machine trusts.

For partners as for administrators: a file and a way out is all that is needed, no server and no settings file.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_file import ChainFileError, parse_file, read_file, read_key
from gatepost.analysis.checks.chain_report import Readiness, chain_record
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.roots import check_roots, roots_record
from gatepost.manage.cli.check import no_nan, system_nameservers
from gatepost.manage.cli.check_chain_text import print_chain, print_roots
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, fail, json_option
from gatepost.manage.cli.tables import printed_json
from gatepost.manage.cli.working_sign import working
from gatepost.net.anchors import SYSTEM, AnchorsError
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.policy.connectors.names import domain_name
from gatepost.settings.model import Dns

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.analysis.checks.chain_file import CertificateFile
    from gatepost.analysis.checks.chain_report import ChainCheck


_STATUS = {Readiness.READY: 0, Readiness.NOT_READY: NO, Readiness.UNKNOWN: UNKNOWN}
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
    try:
        with working(_("checking; this can take a while if addresses do not answer")):
            chain_check = asyncio.run(_check(question, stores, asked))
    except ChainFileError as error:
        fail(BAD_INPUT, str(error))
    except ValueError as error:
        fail(BAD_INPUT, f"--nameserver: {error}")
    if not printed_json(chain_record(chain_check)):
        print_chain(chain_check, verbose=verbose)
    sys.exit(_STATUS[chain_check.outcome])


def _question(pem: str, asked: dict[str, Any]) -> ChainQuestion:
    try:
        names = tuple(dict.fromkeys(domain_name(name) for name in asked["names"]))
    except ValueError as error:
        fail(BAD_INPUT, f"--name: {error}")
    try:
        key = read_key(Path(asked["key"])) if asked["key"] else None
    except ChainFileError as error:
        fail(BAD_INPUT, f"--key: {error}")
    return ChainQuestion(_read(pem), names, key, staple=asked["staple"])


async def _check(question: ChainQuestion, stores: RootStores, asked: dict[str, Any]) -> ChainCheck:
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
    try:
        roots_check = check_roots(file, stores, now=time.time())
    except ChainFileError as error:
        fail(BAD_INPUT, str(error))
    if not printed_json(roots_record(roots_check)):
        print_roots(roots_check, verbose=verbose)
    sys.exit(0 if roots_check.outcome else NO)


def _read(pem: str) -> CertificateFile:
    try:
        if pem == "-":
            return parse_file(sys.stdin.buffer.read(_MAX_STDIN + 1), _("standard input"))
        return read_file(Path(pem))
    except ChainFileError as error:
        fail(BAD_INPUT, str(error))


def _stores(anchors: str) -> RootStores:
    try:
        return RootStores.load(anchors)
    except AnchorsError as error:
        fail(BAD_INPUT, f"--anchors: {error}")
