"""As which relying party (WebAuthn) the admin centre is asked: what a passkey is bound to. Used by the log-in pages."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatepost.protocols.tls.names import is_ip_address

if TYPE_CHECKING:
    from starlette.requests import Request


def rp_id(request: Request) -> str:
    """The host that the browser asked for, "" if there can be no passkey: without the extra `sso`, or at an IP address.

    An IP address is no relying party (WebAuthn section 5.1.2). `manage.web.request_limits.KnownHosts` lets no name but
    ours come here.
    """
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return host if not is_ip_address(host) and find_spec("webauthn") else ""


def origin(request: Request) -> str:
    """The origin that the browser must have signed."""
    return f"https://{request.headers['host'].lower()}"
