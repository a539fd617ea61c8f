"""`gatepost certificate request`: a key that waits for its certificate, and what is sent to the authority."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, administrator, author, config_option, fail, gateway_of, server_of
from gatepost.manage.use_cases.certificate_requests import checked_wish, request_certificate
from gatepost.manage.use_cases.inventory import inventory_of
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.request import KEY_TYPES, Wish, made_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.pki.certificates.request import Request


@click.command()
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A name in it; the first is also the CN. May be repeated."
)
@click.option("--key-type", "key", type=click.Choice(list(KEY_TYPES)), default="ec-p256", show_default=True)
@click.option("--client", is_flag=True, help="For a client identity, which outbound connectors present.")
@click.option("--organization", default="", help="Whose client identity it is.")
@click.option("--label", default="", help="By which connectors name it, or a name for people.")
@click.option(
    "--must-staple", is_flag=True, help="Ask for a certificate that counts only with a stapled OCSP response."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    default="-",
    help="Where the request goes. Default: standard output.",
)
@config_option
def request(names: tuple[str, ...], output: str, config: str | None, client: bool, **asked: str | bool) -> None:
    """Make a key and a request for a certificate (CSR, PKCS#10).

    The key waits in the store, sealed with store.master_key, or without one in a file of mode 0600 beside the output,
    until `gatepost certificate add ISSUED.pem` brings its certificate; it is found by its public key. What waits is
    in `gatepost certificate list`, and is forgotten by `gatepost certificate remove`. With --server the key is made and
    waits on the gateway, which must have a master key; the request is written here.

    Exit codes: 0 made, 2 wrong use or a file that cannot be written, 3 not readable.
    """
    purpose = Purpose.CLIENT if client else Purpose.SERVER
    organization, label = str(asked["organization"]), str(asked["label"])
    wish = Wish(names, str(asked["key"]), purpose, organization, label, must_staple=bool(asked["must_staple"]))
    with _reserved(output) as write:
        made, csr = _made(config, wish, output)
        write(csr)
    where = f"in {made.key_file}" if made.key_file else "sealed in the store"
    then = "when the certificate comes: gatepost certificate add ISSUED.pem"
    click.echo(f"request {made.id}: its key waits {where}; {then}", err=True)
    if output == "-":
        click.echo(csr.decode(), nl=False)


def _made(config: str | None, wish: Wish, output: str) -> tuple[Request, bytes]:
    """Sealed, there or here; without a master key here its key is written beside the output."""
    if server_of() is not None:
        return door(config)(request_certificate, wish)
    gateway = gateway_of(config)
    with inventory_of(gateway) as inventory:
        if inventory.seals:
            return request_certificate(gateway, administrator(), wish)
        if output == "-":
            fail(
                BAD_INPUT,
                "no store.master_key is set, so the key is written beside the request: name a file with -o FILE",
            )
        wanted = checked_wish(gateway, wish)
        csr, key = made_request(wanted)
        key_file = Path(output).absolute().with_suffix(".key")
        _fill(_opened(key_file, 0o600), key_file, key)
        return inventory.requests.add_with_file(wanted, csr, key_file, author=author(), now=time.time()), csr


@contextmanager
def _reserved(output: str) -> Iterator[Callable[[bytes], None]]:
    """The file that is written at last, made first, so that no request is made that cannot be written."""
    if output == "-":
        yield lambda _: None
        return
    path = Path(output)
    number = _opened(path, 0o644)
    try:
        yield lambda content: _fill(number, path, content)
    except BaseException:
        with suppress(OSError), as_caller():
            if not path.stat().st_size:
                path.unlink()
        raise


def _opened(path: Path, mode: int) -> int:
    """Never one that is there: it may be a key for which a certificate is under way."""
    try:
        with as_caller():
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        fail(BAD_INPUT, f"{path}: is there already; name another file, or move it away")
    except OSError as error:
        fail(BAD_INPUT, f"{path}: {error.strerror}")


def _fill(number: int, path: Path, content: bytes) -> None:
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
    except OSError as error:
        fail(BAD_INPUT, f"{path}: {error.strerror}")
