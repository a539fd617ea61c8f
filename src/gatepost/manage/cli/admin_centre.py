"""The process of the admin centre and REST, which `gatepost serve` runs beside the workers: its parts put together.

It is here because only the command line may know pages, REST and the life of processes at once. What it serves comes
from the data directory and goes there, as with every other command (docs/decisions/0027).
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.records import AccountError, Actor
from gatepost.manage.access.setup_rows import LIFETIME
from gatepost.manage.cli.admin_address import admin_url, setup_url
from gatepost.manage.cli.setup_notice import forget_setup, show_setup
from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.rest.routes import ROUTES as API_ROUTES
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.application import application
from gatepost.manage.web.server import WebServer
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.lifecycle import Lifecycle, Parts

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatepost.settings.model import Settings


_log = logging.getLogger(__name__)


def run_admin_centre(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone."""
    return run_auxiliary(
        partial(_parts, settings, sockets), lifeline, drain=settings.server.drain, what="the admin centre"
    )


def _parts(settings: Settings, sockets: Sequence[socket.socket]) -> Parts:
    gateway = Gateway(settings)
    accounts = Accounts(gateway.storage)
    app = application(gateway, accounts, [*ROUTES, *API_ROUTES], HANDLERS)
    server = WebServer(app, settings, sockets)
    _announce(settings, accounts, server)
    Thread(target=_prepare, args=[gateway], name="preparing", daemon=True).start()
    return Parts(Lifecycle("pages and REST", start=server.start, reload=server.reload, drain=server.close))


def _prepare(gateway: Gateway) -> None:
    """Warm up: read and parse the resources, and count a week, for which the first page would wait."""
    with suppress(Refusal):  # the page says so
        gateway.directory()
        recent_verdicts(gateway, ())


def _announce(settings: Settings, accounts: Accounts, server: WebServer) -> None:
    """Where it is, how to know that it is ours, and where its owner is made if there is none."""
    owned = accounts.has_owner()
    certificate = server.certificate
    known = "made here" if certificate.own else "of the settings"
    url = admin_url(settings, server.port, local=not owned)
    _log.info("admin centre at %s; its certificate (%s) has the SHA-256 fingerprint %s", url, known, certificate.sha256)
    data_dir = Path(settings.server.data_dir)
    if owned:
        forget_setup(data_dir)
    elif code := _setup_code(accounts):
        show_setup(data_dir, setup_url(settings, code, server.port), until=time.time() + LIFETIME)


def _setup_code(accounts: Accounts) -> str:
    """A code that makes the owner; "" if one was made by a command just now."""
    try:
        return accounts.setup_code(by=Actor("gatepost"))
    except AccountError:
        return ""
