"""OAuth issuers of another gateway, whose keys that gateway fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.administration.choice import choose_part
from gatepost.administration.parts import ISSUER
from gatepost.remote.resources import FetchedGateway

if TYPE_CHECKING:
    from gatepost.remote.connection import Connection

__all__ = ["try_issuer"]


def try_issuer(connection: Connection, name: str, organization: str = "", token: str = "") -> dict[str, Any]:
    """As `administration.issuer_trials.try_issuer`."""
    part = choose_part(FetchedGateway(connection).directory().resources, ISSUER, name, organization)
    path = f"/organizations/{quote(part.organization.name, safe='')}/issuer_trials"
    found: dict[str, Any] = connection.call("POST", path, body={"issuer": part.name, "token": token}).value
    return found
