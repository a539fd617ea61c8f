"""`gatepost site issue`: a certificate with its key for a server that is not a node, such as Exchange on premises."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12

from gatepost.manage.cli.named_files import fill_file, made_file
from gatepost.manage.cli.options import BAD_INPUT, author, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.output import printed_json, say
from gatepost.manage.cli.site import checked_host, opened
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.authority import key_pem
from gatepost.pki.site.site import Site
from gatepost.policy.connectors.names import SmartHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

    type Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


_KEYS: Final[dict[str, Callable[[], Key]]] = {
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
}
_DAYS: Final = 825
_DAY: Final = 86400.0
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that looks like another
_PASSWORD: Final = 28  # of them: 160 bits


@click.command()
@click.argument("name")
@click.option(
    "--name",
    "others",
    multiple=True,
    metavar="HOST",
    help="Another name or address in the certificate. May be repeated.",
)
@click.option("--days", default=90, type=click.IntRange(1, _DAYS), show_default=True, help="Validity in days.")
@click.option(
    "--key-type", type=click.Choice(list(_KEYS)), default="rsa-2048", show_default=True, help="Type of the new key."
)
@click.option("--pfx", type=click.Path(dir_okay=False), help="Write a PFX file (PKCS#12), as Exchange imports it.")
@click.option(
    "--pem", type=click.Path(file_okay=False), help="Write certificate.pem, key.pem and root.pem to a folder."
)
@click.option(
    "--encryption",
    type=click.Choice(["3des", "aes256"]),
    default="3des",
    show_default=True,
    help="Encryption of the PFX file: Windows Server 2016 reads only 3des, 2019 and later read both.",
)
@gateway_options
def issue(name: str, others: tuple[str, ...], **asked: str | int | None) -> None:
    """Issue a certificate with a new key for a server that is not a node, such as an on-premises Exchange.

    The certificate is for both ends of TLS. NAME is the subject's CN: for a hybrid server, the domain or host name that
    the inbound connector names. The key is written once and not stored here. A PFX file is encrypted with a new
    password, which the command prints on standard output and does not store: send it over another channel than the
    file. The root is written beside it (.cer). Nothing renews this certificate: `gatepost site status` shows when it
    ends.

    Exit codes: 0 issued, 1 the authority is not allowed to certify a name, or was changed by somebody else at the same
    time, 2 usage error, or a file exists already, 3 the data cannot be read.
    """
    settings = local_settings()
    pfx, pem = asked["pfx"], asked["pem"]
    if (pfx is None) == (pem is None):
        fail(BAD_INPUT, "use either --pfx FILE or --pem FOLDER")
    names = tuple(dict.fromkeys(_name(text) for text in (name, *others)))
    key = _KEYS[str(asked["key_type"])]()
    files = _pfx_files(Path(str(pfx))) if pfx is not None else _pem_files(Path(str(pem)))
    with opened(settings) as records:
        site, now = Site(records), time.time()
        root = site.issuing_root_pem(now)
        lifetime = int(asked["days"] or 0) * _DAY
        leaf = site.issue(names, key.public_key(), lifetime=lifetime, author=author(), now=now)
    certificate = x509.load_pem_x509_certificate(leaf)
    thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - as Windows names certificates
    password = "" if pfx is None else "".join(secrets.choice(_LETTERS) for _position in range(_PASSWORD))
    contents = (
        _pem_contents(leaf, key, root) if pfx is None else _pfx_contents(certificate, key, root, (password, asked))
    )
    for path, content, mode in zip(files, contents, (0o600, 0o644, 0o644, 0o644), strict=False):
        fill_file(made_file(path, mode), path, content)
    if printed_json(_issued(names, certificate, files, password)):
        return
    until = moment(certificate.not_valid_after_utc.timestamp())
    say(
        "%(names)s: valid until %(until)s, thumbprint (SHA-1) %(thumbprint)s",
        err=True,
        names=", ".join(names),
        until=until,
        thumbprint=thumbprint,
    )
    say("written: %(files)s", err=True, files=", ".join(map(str, files)))
    if password:
        say("the password of the PFX file, shown only now:", err=True)
        click.echo(password)


def _issued(
    names: tuple[str, ...], certificate: x509.Certificate, files: list[Path], password: str
) -> dict[str, object]:
    """For programs. password: of the PFX file, shown only now; null with --pem."""
    return {
        "names": list(names),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "not_after": certificate.not_valid_after_utc.timestamp(),
        "files": [str(file) for file in files],
        "password": password or None,
    }


def _name(text: str) -> str:
    """A host name or an IP address."""
    if SmartHost(text, 25).is_address:
        return text
    return checked_host("NAME", text)


def _pfx_files(path: Path) -> list[Path]:
    if not path.name:
        fail(BAD_INPUT, "--pfx needs the name of a file; nothing was issued")
    return _free([path, path.with_suffix(".root.cer")])


def _pem_files(folder: Path) -> list[Path]:
    with ending(BAD_INPUT, OSError, place=f"{folder}: "), as_caller():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _free([folder / name for name in ("key.pem", "certificate.pem", "root.pem", "root.cer")])


def _free(files: list[Path]) -> list[Path]:
    """Before anything is issued."""
    with as_caller():
        for file in files:
            if file.exists():
                fail(
                    BAD_INPUT,
                    "%(file)s: exists already; name another place, or move it away; nothing was issued",
                    file=file,
                )
            if not file.parent.is_dir():
                fail(BAD_INPUT, "%(parent)s: no such folder; nothing was issued", parent=file.parent)
    return files


def _pem_contents(leaf: bytes, key: Key, root: bytes) -> list[bytes]:
    return [key_pem(key), leaf, root, _der(root)]


def _pfx_contents(
    certificate: x509.Certificate, key: Key, root: bytes, sealed: tuple[str, dict[str, str | int | None]]
) -> list[bytes]:
    password, options = sealed
    how = _encryption(str(options["encryption"]), password.encode("ascii"))
    label = str(certificate.subject.rfc4514_string()).encode("utf-8")
    return [pkcs12.serialize_key_and_certificates(label, key, certificate, None, how), _der(root)]


def _encryption(kind: str, password: bytes) -> KeySerializationEncryption:
    if kind == "aes256":
        return BestAvailableEncryption(password)
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(50_000).hmac_hash(hashes.SHA1())  # noqa: S303 - what Windows Server 2016 reads
    return builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).build(password)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
