"""OAuth issuers of another gateway, whose keys that gateway fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import ISSUER

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def try_issuer(connection: Connection, name: str, organization: str = "", token: str = "") -> dict[str, Any]:
    """As `manage.use_cases.issuer_trials.try_issuer`."""
    part = choose_part(FetchedGateway(connection).directory().resources, ISSUER, name, organization)
    path = f"/organizations/{quote(part.organization.name, safe='')}/issuer_trials"
    found: dict[str, Any] = connection.call("POST", path, body={"issuer": part.name, "token": token}).value
    return found
