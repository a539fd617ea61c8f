"""`gatepost certificate request`: a key that waits for its certificate, and what is sent to the authority."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.administration.certificate_requests import checked_wish
from gatepost.administration.inventory import inventory_of
from gatepost.certificates.entry import Purpose
from gatepost.certificates.request import KEY_TYPES, Wish, made_request
from gatepost.cli.options import BAD_INPUT, author, config_option, fail, gateway_of

if TYPE_CHECKING:
    from gatepost.certificates.request import Request, Requests

__all__ = ["request"]


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
    in `gatepost certificate list`, and is forgotten by `gatepost certificate remove`.

    Exit codes: 0 made, 2 wrong use or a file that cannot be written, 3 not readable.
    """
    gateway = gateway_of(config)
    purpose = Purpose.CLIENT if client else Purpose.SERVER
    organization, label = str(asked["organization"]), str(asked["label"])
    wish = checked_wish(
        gateway,
        Wish(names, str(asked["key"]), purpose, organization, label, must_staple=bool(asked["must_staple"])),
    )
    with inventory_of(gateway) as inventory:
        made, csr = _made(inventory.requests, wish, output, sealed=inventory.seals)
    where = f"in {made.key_file}" if made.key_file else "sealed in the store"
    then = "when the certificate comes: gatepost certificate add ISSUED.pem"
    click.echo(f"request {made.id}: its key waits {where}; {then}", err=True)
    if output == "-":
        click.echo(csr.decode(), nl=False)


def _made(requests: Requests, wish: Wish, output: str, *, sealed: bool) -> tuple[Request, bytes]:
    if not sealed and output == "-":
        fail(
            BAD_INPUT, "no store.master_key is set, so the key is written beside the request: name a file with -o FILE"
        )
    csr, key = made_request(wish)
    now, key_file = time.time(), Path(output).absolute().with_suffix(".key")
    if not sealed:
        _write(key_file, key, 0o600)
    if output != "-":
        _write(Path(output), csr, 0o644)
    if sealed:
        return requests.add(wish, csr, key, author=author(), now=now), csr
    return requests.add_with_file(wish, csr, key_file, author=author(), now=now), csr


def _write(path: Path, content: bytes, mode: int) -> None:
    """Never over a file that is there: it may be a key for which a certificate is under way."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(number, "wb") as file:
            file.write(content)
    except FileExistsError:
        fail(BAD_INPUT, f"{path}: is there already; name another file, or move it away")
    except OSError as error:
        fail(BAD_INPUT, f"{path}: {error.strerror}")
