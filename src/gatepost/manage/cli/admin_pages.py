"""The server of pages and REST in the process of the admin centre, apart so that it is loaded when it is needed.

Made by `manage.cli.admin_centre`.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.rest.routes import ROUTES as API_ROUTES
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.application import application
from gatepost.manage.web.server import WebServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.use_cases.context import Gateway


def web_server(gateway: Gateway, accounts: Accounts, sockets: Sequence[socket.socket]) -> WebServer:
    """Make it, not started yet. Raises CertificateFileError or OSError for its certificate."""
    app = application(gateway, accounts, [*ROUTES, *API_ROUTES], HANDLERS)
    server = WebServer(app, gateway.settings, sockets)
    Thread(target=_prepare, args=[gateway], name="preparing", daemon=True).start()
    return server


def _prepare(gateway: Gateway) -> None:
    """Warm up: read and parse the resources, and count a week, for which the first page would wait."""
    with suppress(Refusal):  # the page says so
        gateway.directory()
        recent_verdicts(gateway, ())
