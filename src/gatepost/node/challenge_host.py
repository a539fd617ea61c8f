"""The process that answers an ACME authority's requests for tokens on port 80 (RFC 8555 section 8.3), and no others.

Run by the supervisor beside the workers, where certificates are to come by http-01. The tokens lie in the store for as
long as an order is under way; everything else is not found.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.http_session import Response, plain_listener
from gatepost.node.lifecycle import Lifecycle, Parts, listening
from gatepost.pki.acme.challenges import token_answer
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    import h11

    from gatepost.settings.model import Settings


CONNECTIONS: Final = 100
CONNECTIONS_PER_SOURCE: Final = 20
_CONTENT_TYPE: Final = "application/octet-stream"


def run_challenge_host(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone."""
    return run_auxiliary(
        lambda: ChallengeHost(settings, sockets).parts, lifeline, drain=settings.server.drain, what="ACME challenges"
    )


class ChallengeHost:
    """Serves the tokens that are in the store. Raises StoreFailure if it cannot be opened."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._store = Storage.of(settings).configuration()
        listener = plain_listener(sockets, self._answer, total=CONNECTIONS, per_source=CONNECTIONS_PER_SOURCE)
        self.parts = Parts(Lifecycle("tokens", close=self._store.close), listening(listener))

    def _answer(self, request: h11.Request) -> Response:
        answer = token_answer(self._store, request.target.decode("latin-1"))
        return Response(HTTPStatus.NOT_FOUND) if answer is None else Response(HTTPStatus.OK, answer, _CONTENT_TYPE)
