"""A certificate, a request or a watched directory of another gateway is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from gatepost.manage.remote.certificates import step_path

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def remove(connection: Connection, number: str, *, force: str = "", note: str = "") -> str:
    """As `manage.use_cases.certificate_removal.remove`; a directory is named by its whole path on that machine."""
    found = connection.get("/certificate_inventory").value
    why = f"forced: {force}" if force else note
    query = {"note": why}
    if number.lower() in {one["id"] for one in found["requests"]}:
        path = f"/certificate_requests/{number.lower()}"
    elif number in found["directories"]:
        path = f"/certificate_directories/{quote(number, safe='')}"
    else:
        path, query = step_path(connection, number), {"force": force, "note": note}
    text: str = connection.call("DELETE", path, query=query).value["text"]
    return text
