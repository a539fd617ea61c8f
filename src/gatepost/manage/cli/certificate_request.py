"""`gatepost certificate request`: a key that waits for its certificate, and what is sent to the authority."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.named_files import fill_file, made_file
from gatepost.manage.cli.options import BAD_INPUT, client, current_server, fail, gateway_options, local_gateway
from gatepost.manage.cli.output import _, ours, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import certificate_requests
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.request import made_request
from gatepost.protocols.tls.token_uri import TokenUriError, parse_token_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.manage.use_cases.certificates import CertificateRequest


@click.command()
@request_options(certificate_requests.RequestCertificate)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    default="-",
    help="Write the request to this file. Default: standard output.",
)
@click.option("--key", metavar="URI", help="Say how to make a request for a key in a token (pkcs11: URI).")
@gateway_options
def request(request: certificate_requests.RequestCertificate, output: str, key: str | None) -> None:
    """Create a key and a certificate signing request (CSR, PKCS#10).

    The store keeps the key, sealed with store.master_key, until `gatepost certificate add ISSUED.pem` adds its
    certificate, which is recognized by its public key. Without a master key, the key is in a file of mode 0600 beside
    the output. `gatepost certificate list` shows requests that wait, `gatepost certificate remove` removes them. With
    --server the key is created and kept on the gateway, which must have a master key; the request is written here.

    Exit codes: 0 created, 2 usage error or a file that cannot be written, 3 the data cannot be read.
    """
    if key is not None:
        fail(BAD_INPUT, _for_token(key, request))
    with _reserved(output) as write:
        made, csr = _made(request, output)
        write(csr)
    if printed_json({"request": made, "csr": csr.decode("ascii")}):
        return
    where = _("in %(key_file)s", key_file=made.key_file) if made.key_file else _("sealed in the store")
    then = _("when the certificate comes: gatepost certificate add ISSUED.pem")
    say("request %(id)s: its key is %(where)s; %(then)s", err=True, id=made.id, where=where, then=then)
    if output == "-":
        click.echo(csr.decode(), nl=False)


def _for_token(key: str, request: certificate_requests.RequestCertificate) -> str:
    """What to do for a key that the gateway does not have."""
    try:
        uri = parse_token_uri(key)
    except TokenUriError as error:
        return _("--key: %(error)s; without --key the gateway creates a key itself", error=ours(str(error)))
    name = next(iter(request.names), "HOST")
    names = ",".join(f"DNS:{name}" for name in request.names) or "DNS:HOST"
    return _(
        "the gateway cannot sign a request with a key in a token; OpenSSL can (openssl.cnf: "
        "docs/tokens.md):\n"
        "OPENSSL_CONF=openssl.cnf openssl req -new -key '%(uri)s;type=private' -subj %(name)s "
        "-addext %(names)s -out request.csr\n"
        "then: gatepost certificate add ISSUED.pem --key '%(uri2)s'",
        uri=uri,
        name=quote(f"/CN={name}"),
        names=quote(f"subjectAltName={names}"),
        uri2=uri,
    )


def _made(request: certificate_requests.RequestCertificate, output: str) -> tuple[CertificateRequest, bytes]:
    """Sealed, there or here; without a master key here its key is written beside the output."""
    there = client()
    if current_server() is not None or (gateway := local_gateway()).settings.store.master_key:
        made = there.call(certificate_requests.request_certificate, request).value
        return made.request, made.csr.encode("ascii")
    if output == "-":
        fail(
            BAD_INPUT,
            "store.master_key is not set, so the key must be written beside the request: name a file with -o FILE",
        )
    csr, key = made_request(certificate_requests.checked_spec(gateway, request.spec))
    key_file = Path(output).absolute().with_suffix(".key")
    fill_file(made_file(key_file, 0o600), key_file, key)
    register = certificate_requests.RegisterRequest(**msgspec.structs.asdict(request), csr=csr, key_file=str(key_file))
    return there.call(certificate_requests.register_request, register), csr


@contextmanager
def _reserved(output: str) -> Iterator[Callable[[bytes], None]]:
    """The file that is written at last, made first, so that no request is made that cannot be written."""
    if output == "-":
        yield lambda _octets: None
        return
    path = Path(output)
    number = made_file(path, 0o644)
    try:
        yield lambda content: fill_file(number, path, content)
    except BaseException:
        with suppress(OSError), as_caller():
            if not path.stat().st_size:
                path.unlink()
        raise
