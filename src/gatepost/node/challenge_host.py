"""The process that answers an ACME authority's requests for tokens on port 80 (RFC 8555 section 8.3), and no others.

Run by the supervisor beside the workers, where certificates are to come by http-01. The tokens lie in the store for as
long as an order is under way; everything else is not found. If the port could not be bound at the start, it is tried
again and again; meanwhile a file says why, for an alarm.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.net.listener import bind, drain
from gatepost.net.tasks import spawn
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.http_session import Response, plain_listener
from gatepost.node.lifecycle import Duty, Lifecycle, Parts, listening
from gatepost.pki.acme.challenges import token_answer
from gatepost.store.figures import WORKERS_DIRECTORY, note_unserved
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    import h11

    from gatepost.net.listener import Listener
    from gatepost.settings.model import Settings


CONNECTIONS: Final = 100
CONNECTIONS_PER_SOURCE: Final = 20
_CONTENT_TYPE: Final = "application/octet-stream"
_AGAIN: Final = 5.0  # seconds between two tries to bind a port

_log = logging.getLogger(__name__)


def run_challenge_host(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. sockets: none if the port could not be bound.

    lifeline: reads end-of-file when the supervisor is gone.
    """
    return run_auxiliary(
        lambda: ChallengeHost(settings, sockets).parts, lifeline, drain=settings.server.drain, what="ACME challenges"
    )


class ChallengeHost:
    """Serves the tokens that are in the store. Raises StoreFailure if it cannot be opened."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._store = Storage.of(settings).configuration()
        self._notes = Path(settings.server.data_dir) / WORKERS_DIRECTORY
        if sockets:
            self._note("")
            port = listening(self._listener(sockets))
        else:
            port = _LatePort(settings.acme.served_at, self._listener, self._note).life()
        self.parts = Parts(Lifecycle("tokens", close=self._store.close), port)

    def _listener(self, sockets: Sequence[socket.socket]) -> Listener:
        return plain_listener(sockets, self._answer, total=CONNECTIONS, per_source=CONNECTIONS_PER_SOURCE)

    def _note(self, why: str) -> None:
        with suppress(OSError):  # the disk is full: there is an alarm already
            note_unserved(self._notes, why)

    def _answer(self, request: h11.Request) -> Response:
        answer = token_answer(self._store, request.target.decode("latin-1"))
        return Response(HTTPStatus.NOT_FOUND) if answer is None else Response(HTTPStatus.OK, answer, _CONTENT_TYPE)


class _LatePort:
    """A port that another program has, or that this account may not bind: bound once that is over.

    address: "host:port". listener: makes a listener of its sockets. note: is told why it is not served, "" once it is.
    """

    def __init__(
        self,
        address: str,
        listener: Callable[[Sequence[socket.socket]], Listener],
        note: Callable[[str], object],
    ) -> None:
        self._address = address
        self._listener = listener
        self._note = note
        self._listeners: list[Listener] = []
        self._why = ""

    def life(self) -> Lifecycle:
        """Its tries, and its end."""
        return Lifecycle(
            "port of ACME",
            duties=(Duty(_AGAIN, self._try, at_once=True),),
            drain=lambda seconds: drain(self._listeners, seconds),
        )

    def _try(self) -> None:
        if self._listeners:
            return
        try:
            sockets = bind(self._address)
        except OSError as error:
            why = error.strerror or str(error)
            self._note(why)
            if why != self._why:
                self._why = why
                _log.error("certificates cannot be renewed: %s; the gateway goes on trying", why)
            return
        self._note("")
        self._listeners.append(self._listener(sockets))
        spawn(self._listeners[0].start(), "port of ACME")
        _log.warning("certificates can be renewed again: ACME challenges are served at %s", self._address)
