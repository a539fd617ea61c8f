"""Passwords of mailboxes of another gateway: sent there, where a hash is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import MAILBOX

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def set_mailbox_password(connection: Connection, address: str, password: str | None, organization: str = "") -> str:
    """As `manage.use_cases.mailbox_passwords.set_mailbox_password`."""
    part = choose_part(FetchedGateway(connection).directory().resources, MAILBOX, address, organization)
    owner, name = (quote(one, safe="") for one in (part.organization.name, part.name))
    body = None if password is None else {"password": password}
    method = "DELETE" if password is None else "PUT"
    found = connection.call(method, f"/organizations/{owner}/mailbox_passwords/{name}", body=body).value
    changed: str = found["address"]
    return changed
