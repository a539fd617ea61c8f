"""`gatepost certificate add`: a certificate into the inventory, or a directory in which others renew some.

Files are read here and passwords asked for; `manage.use_cases.certificate_intake` does the rest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, administrator, config_option, fail, gateway_of, json_option
from gatepost.manage.cli.tables import print_json, printable
from gatepost.manage.use_cases.certificate_intake import NewCertificate, add_certificate, watch_directory
from gatepost.manage.use_cases.certificates import list_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.entry import State

if TYPE_CHECKING:
    from gatepost.manage.cli.door import Door
    from gatepost.manage.use_cases.certificate_intake import Taken
    from gatepost.manage.use_cases.gateway import Gateway


_MOST = 16 * 1024 * 1024
_PASSWORDS = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options."""

    chain: str | None
    key: str | None
    leave_key: bool
    password_file: str | None
    label: str
    client: bool
    organization: str
    current: bool
    directory: str | None
    note: str
    as_json: bool


@click.command()
@click.argument("chain", required=False, metavar="[CHAIN]", type=click.Path(dir_okay=False))
@click.option("--key", type=click.Path(dir_okay=False), metavar="FILE", help="Its private key, unless it is in CHAIN.")
@click.option("--leave-key", is_flag=True, help="Use both files where they are, and notice when others renew them.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False), metavar="FILE", help="Has the password in its first line."
)
@click.option("--label", default="", help="A name for people; connectors name client identities by it.")
@click.option("--client", is_flag=True, help="A client identity, which outbound connectors present.")
@click.option("--organization", default="", help="Whose client identity it is.")
@click.option("--current", is_flag=True, help="Present it at once, in the place of what is current for its names.")
@click.option(
    "--directory", type=click.Path(file_okay=False), metavar="DIR", help="Watch a directory, such as certbot's live."
)
@click.option("--note", default="", help="Why, for the history.")
@config_option
@json_option
def add(config: str | None, **options: object) -> None:
    """Add a certificate: what CHAIN holds, with its key.

    CHAIN: the certificate and its intermediates in any order, as PEM, DER, PKCS#7 (.p7b) or PKCS#12 (.p12, .pfx). The
    key is in CHAIN, in --key, or waits since `gatepost certificate request`. It is sealed with store.master_key and
    stored; with --leave-key both files stay where they are, mode 0600, and are watched. With --server it goes over TLS
    to the gateway, which seals it there; what --leave-key and --directory name is on the gateway's machine.

    The certificate is next until a changeover, unless nothing is current yet for its names, or --current says so.

    Exit codes: 0 added, 1 it is there already or may not become current, 2 wrong use or files that cannot be used,
    3 not readable.
    """
    asked = _Asked(**options)  # type: ignore[arg-type] # click gives what the options say
    if (asked.chain is None) == (asked.directory is None):
        fail(BAD_INPUT, "name CHAIN, the file with the certificate, or --directory, to watch one")
    if asked.directory is not None:
        _add_directory(gateway_of(config), Path(asked.directory).absolute(), asked)
        return
    if asked.leave_key:
        gateway_of(config)  # names files of the gateway's machine
    _add_certificate(door(config), str(asked.chain), asked)


# a directory


def _add_directory(gateway: Gateway, path: Path, asked: _Asked) -> None:
    if asked.key or asked.label or asked.client or asked.current:
        fail(BAD_INPUT, "--directory takes no other option but --note: what is in it says the rest")
    found = watch_directory(gateway, administrator(), path, asked.note)
    for chain in found.usable:
        click.echo(f"found: {chain}", err=True)
    for trouble in found.troubles:
        click.echo(f"cannot be used: {trouble}", err=True)
    if not found.pairs:
        click.echo("no certificate is in it yet: looked for are fullchain.pem with privkey.pem, here or in a directory "
                   "below, and NAME.pem or NAME.crt with NAME.key", err=True)  # fmt: skip
    if asked.as_json:
        pairs = [[str(one) for one in pair] for pair in found.pairs]
        print_json({"directory": str(path), "version": found.version, "pairs": pairs})
    else:
        click.echo(f"{path}: watched; a gateway that runs takes up what is in it within seconds")


# a certificate


def _add_certificate(there: Door, source: str, asked: _Asked) -> None:
    done = _added(there, _given(source, asked), asked.password_file)
    heading = "warning: the files are used as they are, though" if done.entry.key_file else "note:"
    for text in [*(f"{heading} {note}" for note in done.notes), *(f"warning: {one}" for one in done.warnings)]:
        click.echo(printable(text), err=True)
    _tell(done, asked)


def _given(source: str, asked: _Asked) -> NewCertificate:
    files = (Path(source).absolute(), Path(asked.key or source).absolute()) if asked.leave_key else None
    return NewCertificate(
        content=_read(Path(source)),
        source=source,
        key=_read(Path(asked.key)) if asked.key else b"",
        key_source=asked.key or "",
        file=Path(source).absolute(),
        files=files,
        client=asked.client,
        organization=asked.organization,
        label=asked.label,
        current=asked.current,
        note=asked.note,
    )


def _tell(done: Taken, asked: _Asked) -> None:
    entry, others = done.entry, done.deprecated
    if others:
        way = "gatepost certificate changeover"
        click.echo(f"warning: no gate was asked, so see now: {way} status; to take it back: {way} roll-back", err=True)
    if asked.as_json:
        print_json(list_record(entry, entry.added) | {"deprecated": [one.id for one in others]})
    else:
        for one in others:
            click.echo(f"{one.id}: deprecated")
        way = f"; to present it: gatepost certificate changeover check {entry.id}"
        click.echo(f"{entry.id}: {entry.state}{'' if entry.state is State.CURRENT else way}")
    if asked.key and not entry.key_file:
        click.echo(f"note: the key is sealed in the store; {asked.key} is not needed any more", err=True)


def _read(path: Path) -> bytes:
    try:
        with as_caller(), path.open("rb") as file:
            return file.read(_MOST + 1)
    except OSError as error:
        fail(BAD_INPUT, f"{path}: {error.strerror}")


# passwords


def _added(there: Door, new: NewCertificate, file: str | None) -> Taken:
    """With the password of a file, or asked for on a terminal, so that it is in no process list."""
    if file is not None:
        new = replace(new, password=next(iter(_read(Path(file)).splitlines()), b""))
    asked = 0
    while True:
        try:
            return there(add_certificate, new)
        except Refusal as why:
            if not any(one.path == "password" for one in why.errors):
                raise
            if file is not None or not sys.stdin.isatty() or asked >= _PASSWORDS:
                hint = "" if file is not None else ": --password-file FILE"
                raise Refusal(Kind.INPUT, printable(f"{why}{hint}")) from why
            asked += 1
            click.echo(printable(str(why)), err=True)
            new = replace(new, password=click.prompt("Password", hide_input=True, err=True).encode())
