"""The interface between protocols and the network: a stream of bytes that can start TLS in place.

Everything above works against `Stream` and `Receiver`; `net.connection` is the one over a socket. A receiver is called,
not awaited: a session costs no task. `Stream.drain` is the one coroutine, for a sender that must not outrun its peer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from gatepost.policy.connectors.facts import Introduction
    from gatepost.protocols.tls.facts import TlsFacts


class Endpoint(msgspec.Struct, frozen=True):
    """One end of a connection: an IP address in text form and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}"


NOWHERE: Final = Endpoint("", 0)
"""An end that is not on a network, or not known yet."""


def endpoint(address: object) -> Endpoint:
    """An endpoint of what the loop calls an address; NOWHERE for what is not an IP address (a socket pair)."""
    if isinstance(address, tuple) and len(address) >= 2:
        return Endpoint(str(address[0]).partition("%")[0], int(address[1]))
    return NOWHERE


class LossKind(StrEnum):
    """Kinds of ends of a stream."""

    CLOSED = "closed"  # we closed it, or the peer did so in order (after close_notify under TLS)
    TRUNCATED = "truncated"  # the peer's end of file without close_notify under TLS
    RESET = "reset"  # an error of the network
    TIMEOUT = "timeout"  # the time given by `Stream.timeout` passed
    HANDSHAKE = "handshake"  # TLS could not be agreed
    INJECTION = "injection"  # plaintext stood in the buffer when TLS began (RFC 3207 section 6)


class Loss(msgspec.Struct, frozen=True):
    """The end of a stream and its reason. detail is for us: it never goes on the wire.

    unanswered: during a handshake, and the peer showed no sign of having understood ours: it went away without an alert
    or with one that says that it cannot read what was sent.
    """

    kind: LossKind
    detail: str = ""
    unanswered: bool = False


class TlsContext(Protocol):
    """The settings of a TLS session: `net.engine` builds it from a profile, certificates and trust anchors.

    Opaque here: streams pass it to the engine, nothing else looks inside.
    """


class Receiver(Protocol):
    """The party that a stream calls with its events."""

    def received(self, data: bytes) -> None:
        """Application bytes arrived, 1 to 65536 of them, decrypted if TLS is up. Never called while paused."""

    def secured(self, facts: TlsFacts) -> None:
        """The handshake begun by `Stream.start_tls` is complete."""

    def lost(self, loss: Loss) -> None:
        """The stream is gone. Called once, last; after it nothing can be written."""


class Stream(Protocol):
    """One connection. Methods do not block; writes after the loss are dropped."""

    @property
    def peer(self) -> Endpoint:
        """The other end."""

    @property
    def local(self) -> Endpoint:
        """Our end."""

    @property
    def introduction(self) -> Introduction | None:
        """The host that named `peer`; None where the connection itself shows it."""

    def introduce(self, client: Endpoint, introduction: Introduction) -> None:
        """Let `peer` be the client that a trusted host speaks for. It lasts as long as the stream."""

    @property
    def tls(self) -> TlsFacts | None:
        """Facts of the running TLS session, None in plaintext."""

    def channel_bindings(self) -> dict[str, bytes]:
        """The channel bindings of this TLS session, by type (RFC 5056); {} if unencrypted.

        See `Engine.channel_bindings`.
        """

    def attach(self, receiver: Receiver) -> None:
        """Set the receiver, instead of the one before."""

    def write(self, data: bytes, *, at_once: bool = False) -> None:
        """Send; all writes of one turn of the loop leave in one flight (one segment or record where they fit).

        at_once: nothing follows in this turn, so that it need not end first.
        """

    async def drain(self) -> None:
        """Return when less than 256 KiB waits to be sent, or at once if the stream is lost."""

    def start_tls(self, context: TlsContext, *, server_name: str = "", session_key: str = "") -> None:
        """Begin the handshake; `Receiver.secured` or `Receiver.lost` follows.

        As a server, what was written before is sent in plaintext first (the 220 to STARTTLS). Plaintext that the peer
        sent already is dropped and ends the stream with LossKind.INJECTION. server_name: SNI to send, client only.
        session_key: client only; sessions are resumed only among connections with the same non-empty key.
        """

    def pause(self) -> None:
        """Stop reading: the peer is held back by TCP. What was read already is kept, bounded."""

    def resume(self) -> None:
        """Read again; bytes kept are delivered in a later turn of the loop."""

    def owe(self, *, owing: bool) -> None:
        """Say whether an answer to what was read is still to come, because we wait for a disk or a lookup.

        Then a peer that sends no more, but may still read, is no loss until nothing is owed: it gets its answer.
        """

    def timeout(self, seconds: float) -> None:
        """End the stream with LossKind.TIMEOUT if `received` or `secured` is not called within `seconds`.

        Each call starts a new period; 0 stops the clock. Sending does not count as a sign of life.
        """

    def close(self) -> None:
        """Send what waits, close_notify under TLS, then close. `Receiver.lost(CLOSED)` follows. At most 5 s."""

    def abort(self, loss: Loss) -> None:
        """Drop the connection now; `Receiver.lost(loss)` follows."""
