"""`gatepost certificate add`: a certificate into the inventory, or a directory in which others renew some.

Files are read here and passwords asked for; `manage.use_cases.certificate_import` does the rest.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec.structs import replace

from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, client, current_server, fail, gateway_options, local_gateway
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import certificate_import
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import State
from gatepost.protocols.tls.token_uri import is_token_uri

if TYPE_CHECKING:
    from gatepost.manage.use_cases.client import Client


_MOST = certificate_import.MAX_TEXT // 4 * 3 // 1000 * 1000  # bytes of a file, which goes as base64
_PASSWORDS = 3


@dataclass(frozen=True, slots=True)
class _Files:
    """Files that the options name."""

    chain: str | None
    key: str | None
    leave_key: bool
    password_file: str | None
    directory: str | None


@click.command()
@click.argument("chain", required=False, metavar="[CHAIN]", type=click.Path(dir_okay=False))
@click.option(
    "--key",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="File with the private key, unless CHAIN contains it; or the pkcs11: URI of a key in the gateway's token.",
)
@click.option(
    "--leave-key", is_flag=True, help="Use both files where they are, and reload them when another tool renews them."
)
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="File with the password in its first line.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Watch a directory, such as certbot's live, for certificates.",
)
@request_options(certificate_import.AddCertificate, chain="", key="", encoding="base64", password="")
@gateway_options
def add(request: certificate_import.AddCertificate, **options: Any) -> None:
    """Add a certificate with its private key: what CHAIN contains.

    CHAIN: the certificate and its intermediates in any order, as PEM, DER, PKCS#7 (.p7b) or PKCS#12 (.p12, .pfx). The
    key is in CHAIN, in --key, or was created by `gatepost certificate request`. The gateway seals the key with
    store.master_key and stores it. With --leave-key both files stay where they are, mode 0600, and the gateway watches
    them. With --server the key goes over TLS to the gateway, which seals it there; --leave-key and --directory then
    name files on the gateway's machine. A key in a token (--key pkcs11:…) stays there.

    The certificate is next until a changeover, unless no current certificate has its names yet, or --current is given.

    Exit codes: 0 added, 1 it exists already or may not become current, 2 usage error or unusable files, 3 the data
    cannot be read.
    """
    files = _Files(**options)
    if (files.chain is None) == (files.directory is None):
        fail(BAD_INPUT, "give CHAIN, the file with the certificate, or --directory, to watch a directory")
    if files.directory is not None:
        local_gateway()  # it is on the gateway's machine
        _add_directory(client(), Path(files.directory).absolute(), files, request)
        return
    if files.leave_key:
        local_gateway()  # as above
    _add_certificate(client(), files, request)


# a directory


def _add_directory(there: Client, path: Path, files: _Files, request: certificate_import.AddCertificate) -> None:
    if files.key or request.label or request.client or request.current:
        fail(BAD_INPUT, "--directory can be combined only with --note: the certificates in it say the rest")
    directory = there.call(
        certificate_import.watch_directory, certificate_import.WatchDirectory(directory=str(path), note=request.note)
    )
    for chain in directory.usable:
        say("found: %(chain)s", err=True, chain=chain)
    for trouble in directory.troubles:
        say("cannot be used: %(trouble)s", err=True, trouble=trouble)
    if not directory.pairs:
        say("no certificate is in it yet; expected are fullchain.pem with privkey.pem, there or in a "
    "directory below, or NAME.pem or NAME.crt with NAME.key", err=True)  # fmt: skip
    if not printed_json({"directory": str(path), "version": directory.version, "pairs": directory.pairs}):
        say("%(path)s: watched; a running gateway loads what is in it within seconds", path=path)


# a certificate


def _add_certificate(there: Client, files: _Files, request: certificate_import.AddCertificate) -> None:
    content = read_file(Path(str(files.chain)), _MOST)
    key = b""
    if files.key:
        key = files.key.encode() if is_token_uri(files.key) else read_file(Path(files.key), _MOST)
    request = replace(request, chain=base64.b64encode(content).decode(), key=base64.b64encode(key).decode())
    added = _added(there, files, request)
    left = added.certificate.key_file and not is_token_uri(added.certificate.key_file)
    heading = _("warning: the files are used as they are, but") if left else "note:"
    for text in [
        *(f"{heading} {note}" for note in added.notes),
        *(_("warning: %(warning)s", warning=ours(warning)) for warning in added.warnings),
    ]:
        click.echo(printable(text), err=True)
    _report(added, files)


def _report(added: certificate_import.CertificateAdded, files: _Files) -> None:
    summary = added.certificate
    if added.deprecated:
        way = "gatepost certificate changeover"
        say(
            "warning: no gate was checked; check now with %(way)s status, or undo with %(undo)s roll-back",
            err=True,
            way=way,
            undo=way,
        )
    if not printed_json(msgspec.to_builtins(summary) | {"deprecated": added.deprecated}):
        for number in added.deprecated:
            say("%(number)s: deprecated", number=number)
        way = _("; to present it: gatepost certificate changeover check %(id)s", id=summary.id)
        click.echo(f"{summary.id}: {summary.state}{'' if summary.state == State.CURRENT else way}")
    if files.key and not summary.key_file:
        say("note: the key is sealed in the store; %(key)s is no longer needed", err=True, key=files.key)


# passwords


def _added(
    there: Client, files: _Files, request: certificate_import.AddCertificate
) -> certificate_import.CertificateAdded:
    """With the password of a file, or asked for on a terminal, so that it is in no process list."""
    if files.password_file is not None:
        first = next(iter(read_file(Path(files.password_file), _MOST).splitlines()), b"")
        request = replace(request, password=first.decode(errors="replace"))
    number = 0
    while True:
        try:
            return _called(there, files, request)
        except Refusal as why:
            if not any(error.path == "password" for error in why.errors):
                raise
            if files.password_file is not None or not sys.stdin.isatty() or number >= _PASSWORDS:
                hint = "" if files.password_file is not None else ": --password-file FILE"
                raise Refusal(RefusalKind.INPUT, printable(f"{why}{hint}")) from why
            number += 1
            click.echo(printable(str(why)), err=True)
            request = replace(request, password=click.prompt("Password", hide_input=True, err=True))


def _called(
    there: Client, files: _Files, request: certificate_import.AddCertificate
) -> certificate_import.CertificateAdded:
    """Files of this machine may stay where they are; another gateway is sent what is in them."""
    chain, key = str(files.chain), files.key or ""
    if current_server() is None:
        values = msgspec.structs.asdict(request)
        local = certificate_import.AddCertificateFiles(**values, chain_file=chain, key_file=key, leave=files.leave_key)
        return there.call(certificate_import.add_certificate_files, local)
    try:
        return there.call(certificate_import.add_certificate, request).value
    except Refusal as refusal:
        for name, source in (("chain", chain), ("key", key)):
            if source and refusal.text.startswith(f"{name}: "):
                refusal.text = source + refusal.text.removeprefix(name)
                refusal.args = (refusal.text,)
        raise
