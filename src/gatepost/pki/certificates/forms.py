"""Every form of the published certificate table as files: page, JSON, feed and bundles, by their names.

All links are relative, so that the same files serve anywhere; names with a digest in them always hold the same content.

`gatepost certificate publish` and `node.table_pages` make the table here from the live inventory: they read the store,
the settings' certificate files and the trust anchors; private keys only to see that they belong to their certificates.
Bundles have roots and intermediates together and each alone: one without the intermediates had to be published again
once (exchange.md section 9.3).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors
from gatepost.net.certificate import quietly
from gatepost.pki.certificates.inventory import Inventory, listed
from gatepost.pki.certificates.published import Table, published
from gatepost.pki.certificates.published_atom import atom
from gatepost.pki.certificates.published_html import Link, page
from gatepost.pki.certificates.published_json import table_record
from gatepost.protocols.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.settings.model import Settings


_DIGITS: Final = 16


def bundle_version(certificates: Sequence[bytes]) -> str:
    """Names a set of certificates (DER), whatever their order."""
    digests = sorted(hashlib.sha256(der).digest() for der in certificates)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:_DIGITS]


def p7b(certificates: Sequence[bytes], *, armoured: bool = False) -> bytes:
    """The certificates (DER, at least one) as PKCS #7. armoured: as PEM text, else DER."""
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415 - it imports all of email

    return pkcs7.serialize_certificates(_read(certificates), Encoding.PEM if armoured else Encoding.DER)


def pem(certificates: Sequence[bytes]) -> bytes:
    """The same one after the other, each with its subject above it."""
    return b"".join(_titled(certificate) for certificate in _read(certificates))


def _titled(certificate: x509.Certificate) -> bytes:
    name = certificate.subject.rfc4514_string()
    title = "".join(text if text.isprintable() else "?" for text in name)
    return f"# {title}\n".encode() + certificate.public_bytes(Encoding.PEM)


def _read(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    with quietly():
        return [x509.load_der_x509_certificate(der) for der in certificates]


PAGE: Final = "index.html"
"""The page itself. The others are named certificates.… and stand beside it."""

_P7B: Final = "application/x-pkcs7-certificates"
_PEM: Final = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class File:
    """name: within the directory. kind: media type. lasting: whoever has it need never ask for it again."""

    name: str
    kind: str
    body: bytes = field(repr=False)
    lasting: bool = False


def forms(table: Table, base: str = "", name: str = PAGE) -> tuple[File, ...]:
    """All files, the page last. base: URL of the directory they are in, with "/" at its end, "" if not known.

    name: of the page, as the feed links to it.
    """
    bundles = _bundles(table)
    own, html = f"{base}certificates.atom", f"{base}{name}"
    record = table_record(table) | {"bundles": [file.name for file, _ in bundles]}
    document = json.dumps(record, indent=2, ensure_ascii=True).encode("ascii") + b"\n"
    links = [Link(file.name, text) for file, text in bundles if text]
    links += [
        Link("certificates.json", "This table for programs (JSON)"),
        Link("certificates.atom", "Changes, for feed readers (Atom)"),
    ]
    return (
        *(file for file, _ in bundles),
        File("certificates.json", "application/json", document),
        File("certificates.atom", "application/atom+xml; charset=utf-8", atom(table, own, html)),
        File(PAGE, "text/html; charset=utf-8", page(table, links)),
    )


def _bundles(table: Table) -> list[tuple[File, str]]:
    """Each with the text of its link, "" for none. Where there are no such authorities there is no file."""
    sets = (
        ("certificates", "Roots and intermediates", [authority.columns.der for authority in table.authorities]),
        ("certificates-roots", "Roots", [root.columns.der for root in table.roots]),
        (
            "certificates-intermediates",
            "Intermediates",
            [intermediate.columns.der for intermediate in table.intermediates],
        ),
    )
    result: list[tuple[File, str]] = []
    for name, text, ders in sets:
        if not ders:
            continue
        binary, version = p7b(ders), bundle_version(ders)
        result += [
            (File(f"{name}-{version}.p7b", _P7B, binary, lasting=True), f"{text}, version {version} (P7B)"),
            (File(f"{name}.p7b", _P7B, binary), ""),
            (File(f"{name}-pem.p7b", _P7B, p7b(ders, armoured=True)), f"{text} (P7B as PEM)"),
            (File(f"{name}.pem", _PEM, pem(ders)), f"{text} (PEM)"),
        ]
    return result


_CHANGES: Final = 500
"""Changes of certificates that are looked through for what the feed tells."""


class Roots:
    """The sources of roots: this machine's store and the settings' anchors, read once.

    trouble: why one of them is missing, "" if both are there. A root that is in neither is shown as not found.
    """

    def __init__(self, settings: Settings) -> None:
        certificates: list[bytes] = []
        troubles = []
        for spec in dict.fromkeys((settings.tls.trust_anchors, SYSTEM)):
            try:
                certificates += TrustAnchors.load(spec).certificates
            except AnchorsError as error:
                troubles.append(str(error))
        self.certificates = tuple(dict.fromkeys(certificates))
        self.trouble = "; ".join(troubles)


def current_table(
    inventory: Inventory, settings: Settings, roots: Roots, *, now: float
) -> tuple[Table, tuple[str, ...]]:
    """The table as it is now, and what is wrong with files of the settings. now: seconds since 1970.

    Raises ValueError if an entry is not of this version, StoreFailure.
    """
    files = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
    listing = listed(inventory, files, now=now)
    table = published(
        listing,
        roots.certificates,
        inventory.history(_CHANGES),
        hostname=settings.server.hostname,
        profile=PROFILES[settings.tls.profile],
        now=now,
    )
    return table, listing.trouble


def write_files(files: Sequence[File], directory: Path) -> list[str]:
    """Bring a directory up to date, made if it is not there; the names that were written. Raises OSError.

    Each file is there whole or as it was before, in the order given; one that says the same already is left alone, and
    nothing is removed. Readable by everybody.
    """
    directory.mkdir(parents=True, exist_ok=True)
    changed = [file for file in files if not _says(directory / file.name, file.body)]
    if not changed:
        return []
    workshop = Path(tempfile.mkdtemp(prefix=".publish-", dir=directory))
    try:
        for file in changed:
            _write(workshop / file.name, file.body)
        for file in changed:
            (workshop / file.name).replace(directory / file.name)
        _sync(directory)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return [file.name for file in changed]


def _says(path: Path, body: bytes) -> bool:
    try:
        return path.read_bytes() == body
    except FileNotFoundError:
        return False


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
