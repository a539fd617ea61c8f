"""Requests for certificates on another gateway, where the key is made and stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.remote.certificates import request_of
from gatepost.pki.certificates.entry import Purpose

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.pki.certificates.request import Request, Wish


def request_certificate(connection: Connection, wish: Wish, *, dry_run: bool = False) -> tuple[Request, bytes]:
    """As `manage.use_cases.certificate_requests.request_certificate`."""
    body = {
        "names": list(wish.names),
        "key": wish.key,
        "client": wish.purpose is Purpose.CLIENT,
        "organization": wish.organization,
        "label": wish.label,
        "must_staple": wish.must_staple,
    }
    found = connection.call("POST", "/certificate_requests", query={"dry_run": dry_run}, body=body).value
    return request_of(found["request"]), found["csr"].encode("ascii")
