"""`gatepost explain`: what would happen to a message, and why; the decisions of real sessions, asked for beforehand."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from gatepost.manage.cli.client import client
from gatepost.manage.cli.explanation import print_explanation
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, fail, gateway_options
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import printed_json, say
from gatepost.manage.use_cases.explain import MAX_PEM, ExplainMessage, explain_message

_CODES = {True: 0, False: NO, None: UNKNOWN}


@click.command("explain")
@request_options(ExplainMessage, certificate="")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate that the client presents: PEM, leaf first, with its intermediates.",
)
@gateway_options
def explain(request: ExplainMessage, certificate: Path | None) -> None:
    """Explain what would happen to a message: attribution, acceptance, route and requirements, with reasons.

    The stored configuration decides, with the code that decides for real sessions. Nothing is sent, and without --live
    the command does not use the network, so it does not check whether a certificate is revoked.

    Exit codes: 0 accepted, and there is a route for it (with --live: one that meets the requirements) and a
    certificate, if it must be encrypted, 1 it is not, 2 usage error or bad input, 3 the configuration cannot be read,
    or another organization decides and you cannot see it.
    """
    gateway = client()
    if certificate is not None:
        request = msgspec.structs.replace(request, certificate=_pem(certificate))
    record = msgspec.to_builtins(gateway.call(explain_message, request))
    if record["empty"]:
        say("no organization is stored yet, so nothing is accepted; add one: gatepost apply -f FILE", err=True)
    if not printed_json(record):
        print_explanation(record, str(certificate or ""))
    sys.exit(_CODES[record["succeeds"]])


def _pem(file: Path) -> str:
    pem = read_file(file, MAX_PEM, "--certificate: ")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        fail(BAD_INPUT, "--certificate: %(file)s contains no PEM certificate (-----BEGIN CERTIFICATE-----)", file=file)
    return pem.decode("utf-8", "replace")
