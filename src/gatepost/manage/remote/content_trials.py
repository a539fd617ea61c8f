"""Content hooks of another gateway, whose scanners that gateway asks."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import HOOK
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


_MOST: Final = 32 * 1024 * 1024


def try_hook(connection: Connection, name: str, organization: str = "", message: bytes | None = None) -> dict[str, Any]:
    """As `manage.use_cases.content_trials.try_hook`, with a message of 32 MB at most."""
    if message is not None and len(message) > _MOST:
        text = f"the message is larger than {_MOST} bytes, which is what goes to another gateway; ask on its machine"
        raise Refusal(Kind.INPUT, text)
    part = choose_part(FetchedGateway(connection).directory().resources, HOOK, name, organization)
    body = {"hook": part.name} | ({} if message is None else {"message": b64encode(message).decode("ascii")})
    path = f"/organizations/{quote(part.organization.name, safe='')}/hook_trials"
    found: dict[str, Any] = connection.call("POST", path, body=body).value
    return found
