"""MTA-STS policies that another gateway publishes, and what senders find, as that gateway sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import DOMAIN

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def published_policy(
    connection: Connection, name: str, organization: str = "", *, check: bool = False, private: bool = False
) -> dict[str, Any]:
    """As `manage.use_cases.mta_sts.published_policy`."""
    part = choose_part(FetchedGateway(connection).directory().resources, DOMAIN, name, organization)
    owner, domain = (quote(one, safe="") for one in (part.organization.name, part.name))
    found: dict[str, Any] = connection.get(
        f"/organizations/{owner}/domains/{domain}/mta_sts", check=check, private=private
    ).value
    return found
