"""The process of the admin centre and REST, which `gatepost serve` runs beside the workers: its parts put together.

It is here because only the command line may know pages, REST and the life of processes at once. What it serves comes
from the data directory and goes there, as with every other command (docs/decisions/0027). Pages and REST are loaded
when somebody connects first: they are a fifth of the memory of a gateway (docs/decisions/0134).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.records import AccountError, Actor
from gatepost.manage.cli import setup_notice
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.users import setup_vault
from gatepost.manage.web.certificate import AdminCertificate, admin_certificate
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.lifecycle import Lifecycle, Parts

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatepost.manage.web.server import WebServer
    from gatepost.settings.model import Settings


_RETRY: Final = 5.0  # seconds after which a server that could not be loaded is tried again

_log = logging.getLogger(__name__)


def run_admin_centre(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone."""
    return run_auxiliary(
        partial(_parts, settings, sockets), lifeline, drain=settings.server.drain, what="the admin centre"
    )


def _parts(settings: Settings, sockets: Sequence[socket.socket]) -> Parts:
    server = _ServerOnDemand(settings, sockets)
    server.announce()
    return Parts(Lifecycle("pages and REST", start=server.start, reload=server.reload, drain=server.close))


class _ServerOnDemand:
    """Loads the server of pages and REST at the first connection, which waits for it.

    Raises StoreFailure, CertificateFileError or OSError for what can be wrong at the start.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._gateway = Gateway(settings)
        self._accounts = Accounts(self._gateway.storage)
        self._sockets = sockets
        self._certificate = admin_certificate(settings)
        self._server: WebServer | None = None
        self._retry: asyncio.TimerHandle | None = None

    def announce(self) -> None:
        """Say where it will be, and where its owner is made."""
        _announce(self._gateway, self._accounts, self._certificate, self._sockets[0].getsockname()[1])

    def start(self) -> None:
        """Wait for the first connection."""
        for port in self._sockets:
            asyncio.get_running_loop().add_reader(port, self._load)

    def reload(self) -> None:
        """See `WebServer.reload`; before the first connection there is nothing that was read."""
        if self._server is not None:
            self._server.reload()

    async def close(self, seconds: float) -> None:
        """Accept no more, and let open requests end for at most `seconds`."""
        self._wait_no_more()
        if self._server is not None:
            await self._server.close(seconds)
        for port in self._sockets:
            port.close()

    def _load(self) -> None:
        self._wait_no_more()
        try:
            from gatepost.manage.cli.admin_pages import web_server  # noqa: PLC0415 - see above

            self._server = web_server(self._gateway, self._accounts, self._sockets)
        except Exception:  # noqa: BLE001 - whatever it is now, such as a certificate that is being renewed, may pass
            _log.critical("the admin centre cannot be served; it tries again in %.0f s", _RETRY, exc_info=True)
            self._retry = asyncio.get_running_loop().call_later(_RETRY, self.start)
        else:
            self._server.start()

    def _wait_no_more(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for port in self._sockets:
            asyncio.get_running_loop().remove_reader(port)


def _announce(gateway: Gateway, accounts: Accounts, certificate: AdminCertificate, port: int) -> None:
    """Where it is, how to know that it is ours, and where its owner is made if there is none."""
    settings, owned = gateway.settings, accounts.has_owner()
    known = "made here" if certificate.own else "of the settings"
    url = setup_notice.admin_url(settings, port, local=not owned)
    _log.info("admin centre at %s; its certificate (%s) has the SHA-256 fingerprint %s", url, known, certificate.sha256)
    if not owned:
        _offer_setup(gateway, accounts, port)
    else:
        setup_notice.forget_setup(gateway.data)


def _offer_setup(gateway: Gateway, accounts: Accounts, port: int) -> None:
    """Show the address that makes the owner. It stays as it was shown before, on whichever node, if it can be said."""
    actor, known = Actor("gatepost"), setup_notice.known_setup(gateway.data)
    try:
        setup = accounts.valid_setup_code(
            by=actor, known=known, vault=setup_vault(gateway), alone=not gateway.storage.is_shared
        )
    except AccountError:  # an owner was made by a command just now
        return
    if not setup.code:
        setup_notice.tell_of_setup_elsewhere(gateway.data, setup.until)
        return
    address = setup_notice.setup_url(gateway.settings, setup.code, port)
    setup_notice.show_setup(gateway.data, address, until=setup.until, replaced=setup.replaced)
