"""The certificate table of another gateway, to be written into a directory of this machine."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases.certificate_table import TableFiles
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.forms import File

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.remote.connection import Connection


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def table_files(connection: Connection, base: str = "") -> TableFiles:
    """As `manage.use_cases.certificate_table.table_files`. Names that would lead elsewhere are refused (UNREADABLE)."""
    found = connection.get("/certificate_table", base_url=base).value
    files = tuple(_file(one, connection) for one in found["files"])
    return TableFiles(files, tuple(found["notes"]), found["version"], found["changed"], found["certificates"])


def _file(record: Mapping[str, Any], connection: Connection) -> File:
    name = record["name"]
    if not _NAME.fullmatch(name):
        raise Refusal(
            Kind.UNREADABLE, f"{connection.url}: {name!r} is no name of a file of the table; nothing was written"
        )
    return File(name, record["type"], b64decode(record["content"]), record["lasting"])
