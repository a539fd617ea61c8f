"""`gatepost explain`: what would happen to a message, and why; the decisions of real sessions, asked for beforehand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.explanation import print_explanation
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json
from gatepost.manage.use_cases.explain import MAX_PEM, VERSIONS, Question, explained
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.node.privileges import as_caller

if TYPE_CHECKING:
    from gatepost.manage.cli.door import Door


_CODES = {True: 0, False: NO, None: UNKNOWN}


@click.command("explain")
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Reverse-path; '' or '<>' for the null one.")
@click.option("--to", "recipient", required=True, metavar="ADDRESS", help="Forward-path.")
@click.option("--ip", default="", metavar="ADDRESS", help="Where the client comes from. Default: a stranger's address.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the client presents: PEM, leaf first, with its intermediates.",
)
@click.option(
    "--tls",
    type=click.Choice(VERSIONS),
    help="What the session is under. Default: TLSv1.3 with --certificate, none (in clear) without.",
)
@click.option(
    "--header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A field of the message, for mail flow rules; or TLS-Required.",
)
@click.option("--requiretls", is_flag=True, help="The message comes with REQUIRETLS (RFC 8689), so over TLS.")
@click.option("--live", is_flag=True, help="Also look up and connect to the next hops, and judge what they present.")
@config_option
@json_option
def explain(config: str | None, as_json: bool, **given: Any) -> None:
    """What would happen to a message, and why: who it comes from, whether it is taken, where it goes, by which demands.

    Decided by the stored configuration with the code that decides for real sessions. Nothing is sent, and without
    --live nothing is asked of the network, so that a certificate is not looked for among the revoked ones.

    Exit codes: 0 accepted, and there is a way for it (with --live: that meets the demands) and a
    certificate, if it must be encrypted, 1 it is not, 2 wrong use or bad input, 3 the configuration cannot be read,
    or another organization decides and who asks does not see it.
    """
    go, file = door(config), given["certificate"]
    question = Question(
        given["sender"],
        given["recipient"],
        ip=given["ip"],
        certificate=_pem(file) if file is not None else b"",
        tls=given["tls"] or "",
        headers=given["header"],
        require_tls=given["requiretls"],
        live=given["live"],
    )
    record = _answer(go, question)
    if record["empty"]:
        click.echo("no organization is stored yet, so that nothing is accepted: gatepost apply -f FILE", err=True)
    if as_json:
        print_json(record)
    else:
        print_explanation(record, str(file or ""))
    sys.exit(_CODES[record["succeeds"]])


def _answer(go: Door, question: Question) -> dict[str, Any]:
    """Ends the command with every option that is wrong."""
    try:
        return go(explained, question)
    except Refusal as refusal:
        if not refusal.errors:
            raise
        fail(BAD_INPUT, "\n".join(f"--{error.path}: {error.message}" for error in refusal.errors))


def _pem(file: Path) -> bytes:
    try:
        with as_caller():
            if file.stat().st_size > MAX_PEM:
                fail(BAD_INPUT, f"--certificate: {file} is larger than {MAX_PEM} bytes")
            pem = file.read_bytes()
    except OSError as error:
        fail(BAD_INPUT, f"--certificate: {file}: {error.strerror}")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        fail(BAD_INPUT, f"--certificate: {file} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return pem
