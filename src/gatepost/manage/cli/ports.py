"""The ports that `gatepost serve` binds before it drops privileges, and which of them mail waits for."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.manage.cli.options import BAD_INPUT, fail
from gatepost.manage.cli.output import _, ours
from gatepost.net.listener import bind
from gatepost.node.passed_sockets import PassedSocketError, PassedSockets

if TYPE_CHECKING:
    import socket

    from gatepost.settings.model import Settings

_LATER: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
"""Why a port cannot be bound that may be bound later."""

_log = logging.getLogger(__name__)


class Ports(msgspec.Struct, frozen=True):
    """Bound sockets: mail; policies and the table, by address; ACME; nodes of the site; metrics; the admin centre."""

    mail: list[socket.socket]
    public: dict[str, list[socket.socket]]
    tokens: list[socket.socket]
    nodes: list[socket.socket]
    metrics: list[socket.socket]
    admin: list[socket.socket]

    def keep(self, own: list[socket.socket]) -> None:
        """Close those of other processes, of which this one was given copies."""
        for port in (*self.mail, *self.shared, *self.tokens, *self.nodes, *self.metrics, *self.admin):
            if port not in own:
                port.close()

    @property
    def shared(self) -> list[socket.socket]:
        """Those for policies and the table."""
        return [port for sockets in self.public.values() for port in sockets]


def bind_ports(settings: Settings, passed: PassedSockets | None = None) -> Ports:
    """Bind them all, or end the command. passed: those that systemd has bound already."""
    try:
        mail = [port for listener in settings.listeners for port in bind(listener.address, passed)]
        public = {address: bind(address, passed) for address in settings.public_addresses.values()}
        tokens = _bind_tokens(settings, passed)
        nodes = bind(settings.site.address, passed) if settings.site.address else []
        metrics = bind(settings.metrics_address, passed) if settings.metrics_address else []
        admin = _bind_admin(settings, passed)
        if passed is not None:
            passed.check_all_taken()
    except OSError as error:
        text = ours(error.strerror or str(error))
        if error.errno == errno.EADDRINUSE:
            text += _("; gatepost doctor names the program that has it, which may be this gateway")
        fail(BAD_INPUT, text)
    except PassedSocketError as error:
        fail(BAD_INPUT, str(error))
    return Ports(mail, public, tokens, nodes, metrics, admin)


def _bind_tokens(settings: Settings, passed: PassedSockets | None) -> list[socket.socket]:
    """Mail does not wait for a port that renewals alone need: `node.challenge_host` takes it once it is free."""
    try:
        return bind(settings.acme.served_at, passed) if settings.acme.served_at else []
    except OSError as error:
        if error.errno not in _LATER:
            raise
        _log.error("certificates cannot be renewed: %s; gatepost doctor says what is in the way", error.strerror)
        return []


def _bind_admin(settings: Settings, passed: PassedSockets | None) -> list[socket.socket]:
    """Mail does not wait for a port that nobody chose: where its default is taken, there is no admin centre."""
    if not settings.admin.address:
        return []
    try:
        return bind(settings.admin.address, passed)
    except OSError as error:
        if "address" in settings.admin.written:
            raise
        _log.warning(
            "the admin centre is not available: %s; set [admin] address in the settings", error.strerror or error
        )
        return []
