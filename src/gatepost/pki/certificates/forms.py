"""Every form of the published certificate table as files: page, JSON, feed and bundles, by their names.

Used by `pki.certificates.publisher`, for a directory and for the HTTPS server alike. Pure. All links are relative, so
that the same files serve anywhere; names with a digest in them always hold the same content.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gatepost.pki.certificates.bundle import bundle_version, p7b, pem
from gatepost.pki.certificates.published_atom import atom
from gatepost.pki.certificates.published_html import Link, page
from gatepost.pki.certificates.published_json import table_record

if TYPE_CHECKING:
    from gatepost.pki.certificates.published import Table


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
