"""`gatepost explain`: what would happen to a message, and why; the decisions of real sessions, asked for beforehand."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from gatepost.manage.cli.client import client
from gatepost.manage.cli.explanation import print_explanation
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json
from gatepost.manage.use_cases.explain import MAX_PEM, ExplainMessage, explain_message
from gatepost.node.privileges import as_caller

_CODES = {True: 0, False: NO, None: UNKNOWN}


@click.command("explain")
@request_options(ExplainMessage, certificate="")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the client presents: PEM, leaf first, with its intermediates.",
)
@config_option
@json_option
def explain(config: str | None, as_json: bool, request: ExplainMessage, certificate: Path | None) -> None:
    """What would happen to a message, and why: who it comes from, whether it is taken, where it goes, by which demands.

    Decided by the stored configuration with the code that decides for real sessions. Nothing is sent, and without
    --live nothing is asked of the network, so that a certificate is not looked for among the revoked ones.

    Exit codes: 0 accepted, and there is a way for it (with --live: that meets the demands) and a
    certificate, if it must be encrypted, 1 it is not, 2 wrong use or bad input, 3 the configuration cannot be read,
    or another organization decides and who asks does not see it.
    """
    gateway = client(config)
    if certificate is not None:
        request = msgspec.structs.replace(request, certificate=_pem(certificate))
    record = msgspec.to_builtins(gateway.call(explain_message, request))
    if record["empty"]:
        click.echo("no organization is stored yet, so that nothing is accepted: gatepost apply -f FILE", err=True)
    if as_json:
        print_json(record)
    else:
        print_explanation(record, str(certificate or ""))
    sys.exit(_CODES[record["succeeds"]])


def _pem(file: Path) -> str:
    try:
        with as_caller():
            if file.stat().st_size > MAX_PEM:
                fail(BAD_INPUT, f"--certificate: {file} is larger than {MAX_PEM} bytes")
            pem = file.read_bytes()
    except OSError as error:
        fail(BAD_INPUT, f"--certificate: {file}: {error.strerror}")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        fail(BAD_INPUT, f"--certificate: {file} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return pem.decode("utf-8", "replace")
