"""The address of the admin centre for browsers, as its process, `gatepost user setup` and the demo print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


_EVERYWHERE: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not listened on


def admin_url(settings: Settings, port: int = 0, *, local: bool) -> str:
    """Its address. port: 0 for that of the settings. local: on this machine, since nobody else is answered yet."""
    host, _, written = settings.admin.address.rpartition(":")
    if host in _EVERYWHERE:
        host = "127.0.0.1" if local else settings.server.hostname
    return f"https://{host}:{port or written}"


def setup_url(settings: Settings, code: str, port: int = 0) -> str:
    """Where the first owner is made."""
    return f"{admin_url(settings, port, local=True)}/setup?code={code}"
