"""The process of the admin centre and REST, which `gatepost serve` runs beside the workers: its parts put together.

It is here because only the command line may know pages, REST and the life of processes at once. What it serves comes
from the data directory and goes there, as with every other command (docs/decisions/0027).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.records import AccountError, Actor
from gatepost.manage.cli.setup_notice import (
    admin_url,
    forget_setup,
    known_setup,
    setup_url,
    show_setup,
    tell_of_setup_elsewhere,
)
from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.rest.routes import ROUTES as API_ROUTES
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.users import setup_vault
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
    _announce(gateway, accounts, server)
    Thread(target=_prepare, args=[gateway], name="preparing", daemon=True).start()
    return Parts(Lifecycle("pages and REST", start=server.start, reload=server.reload, drain=server.close))


def _prepare(gateway: Gateway) -> None:
    """Warm up: read and parse the resources, and count a week, for which the first page would wait."""
    with suppress(Refusal):  # the page says so
        gateway.directory()
        recent_verdicts(gateway, ())


def _announce(gateway: Gateway, accounts: Accounts, server: WebServer) -> None:
    """Where it is, how to know that it is ours, and where its owner is made if there is none."""
    settings, owned = gateway.settings, accounts.has_owner()
    certificate = server.certificate
    known = "made here" if certificate.own else "of the settings"
    url = admin_url(settings, server.port, local=not owned)
    _log.info("admin centre at %s; its certificate (%s) has the SHA-256 fingerprint %s", url, known, certificate.sha256)
    if not owned:
        _offer_setup(gateway, accounts, server.port)
    else:
        forget_setup(gateway.data)


def _offer_setup(gateway: Gateway, accounts: Accounts, port: int) -> None:
    """Show the address that makes the owner. It stays as it was shown before, on whichever node, if it can be said."""
    actor, known = Actor("gatepost"), known_setup(gateway.data)
    try:
        setup = accounts.valid_setup_code(
            by=actor, known=known, vault=setup_vault(gateway), alone=not gateway.storage.is_shared
        )
    except AccountError:  # an owner was made by a command just now
        return
    if not setup.code:
        tell_of_setup_elsewhere(gateway.data, setup.until)
        return
    address = setup_url(gateway.settings, setup.code, port)
    show_setup(gateway.data, address, until=setup.until, replaced=setup.replaced)
