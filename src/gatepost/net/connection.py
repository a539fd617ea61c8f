"""`Stream` over a transport of the event loop.

Made by `net.listener` and `net.dial`. TLS is switched on in place over memory BIOs (`net.engine`); the loop's own TLS
layer is not used, because it executes plaintext that was buffered before the handshake and costs 290 KB a connection.
Decides nothing about trust, and knows no SMTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from gatepost.net.engine import ClientContext, Engine, ServerContext, TlsFailure
from gatepost.net.read_buffer import READ_BYTES, read_buffer
from gatepost.net.stream import NOWHERE, Endpoint, Loss, LossKind, Receiver, TlsContext, endpoint
from gatepost.net.timer import IdleTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.facts import Introduction
    from gatepost.protocols.tls.facts import TlsFacts

HIGH_WATER: Final = 262144
"""Bytes waiting to be sent from which on `drain` waits, and a server reads no more commands of this peer."""
MAX_OUTPUT: Final = 4 * 1024 * 1024
"""Bytes waiting to be sent at which the connection is dropped: the peer does not read."""
CLOSE_SECONDS: Final = 5.0
"""Seconds that the end of a connection may take before it is cut."""


class Connection(asyncio.BufferedProtocol):
    """One connection; see `net.stream.Stream` for the contract.

    answering: we accepted it. Then reading stops while much output waits (each command makes a reply), and closing
    waits for the peer's end of file, so that unread input does not make the kernel throw away our last reply. ends: the
    peer's and ours; the loop is asked for what is NOWHERE. opened: called with the connection when it is up. gone:
    called after `Receiver.lost`.
    """

    __slots__ = (
        "_answering",
        "_blocked",
        "_buffer",
        "_clock",
        "_cut",
        "_end_of_file",
        "_ended",
        "_engine",
        "_facts",
        "_flush_due",
        "_gone",
        "_held",
        "_inside",
        "_introduction",
        "_local",
        "_loop",
        "_loss",
        "_opened",
        "_output",
        "_output_bytes",
        "_owing",
        "_paused",
        "_peer",
        "_proved",
        "_receiver",
        "_stopped",
        "_transport",
        "_waiters",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        answering: bool = False,
        ends: tuple[Endpoint, Endpoint] = (NOWHERE, NOWHERE),
        opened: Callable[[Connection], None] | None = None,
        gone: Callable[[Connection], None] | None = None,
    ) -> None:
        self._loop = loop
        self._answering = answering
        self._opened = opened
        self._gone = gone
        self._buffer = read_buffer()  # whoever makes a connection is on its loop
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._engine: Engine | None = None
        self._facts: TlsFacts | None = None
        self._peer, self._local = ends
        self._introduction: Introduction | None = None
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._flush_due = False  # a call of _flush is on its way
        self._inside = False  # the receiver is being called: its writes are flushed when it returns
        self._held = b""  # plaintext that the receiver has not had
        self._paused = False  # by the receiver
        self._owing = False  # the receiver has not yet said all it will say to what it read
        self._stopped = False  # the transport does not read
        self._blocked = False  # HIGH_WATER is passed
        self._proved = False  # data has come over TLS
        self._end_of_file: Loss | None = None  # how the stream ends once _held is delivered
        self._loss: Loss | None = None  # the end has begun
        self._ended = False  # Receiver.lost has been called
        self._waiters: list[asyncio.Future[None]] = []
        self._clock = IdleTimer(loop, self._expired)
        self._cut: asyncio.TimerHandle | None = None  # of an end that takes too long

    # ------------------------------------------------------------------------------------------------ Stream

    @property
    def peer(self) -> Endpoint:
        """The other end."""
        return self._peer

    @property
    def local(self) -> Endpoint:
        """Our end."""
        return self._local

    @property
    def introduction(self) -> Introduction | None:
        """The host that named `peer`; None where the connection itself shows it."""
        return self._introduction

    def introduce(self, client: Endpoint, introduction: Introduction) -> None:
        """Let `peer` be the client that a trusted host speaks for."""
        self._peer, self._introduction = client, introduction

    def replay(self, data: bytes) -> None:
        """Take octets as if they arrived in a later turn of the loop, before any that have not been read yet."""
        if data:
            self._loop.call_soon(self._take_again, data)

    @property
    def tls(self) -> TlsFacts | None:
        """Facts of the running TLS session; they stay readable after the loss."""
        return self._facts

    def channel_bindings(self) -> dict[str, bytes]:
        """The channel bindings of this TLS session, by type; {} if unencrypted and after the loss."""
        return self._engine.channel_bindings() if self._engine is not None else {}

    def attach(self, receiver: Receiver) -> None:
        """Set the receiver. What arrived before the first one is delivered in a later turn of the loop."""
        if self._ended and self._loss is not None:
            self._loop.call_soon(receiver.lost, self._loss)
            return
        self._receiver = receiver
        if self._held:
            self._loop.call_soon(self._deliver_held)

    def write(self, data: bytes, *, at_once: bool = False) -> None:
        """Send. More than 4 MiB waiting ends the stream: a caller that sends much awaits `drain` in between."""
        if self._loss is not None or not data:
            return
        self._output.append(data)
        self._output_bytes += len(data)
        if self._output_bytes > MAX_OUTPUT:
            self._abort_unread()
        elif self._inside:
            return
        elif at_once:
            self._send(self._flight())
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    async def drain(self) -> None:
        """Return when less than 256 KiB waits to be sent, or at once if the stream is lost."""
        self._flush()
        while (self._blocked or self._output_bytes >= HIGH_WATER) and not self._ended:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def start_tls(self, context: TlsContext, *, server_name: str = "", session_key: str = "") -> None:
        """Begin the handshake. Raises RuntimeError if TLS has begun already; does nothing after the loss."""
        if self._engine is not None:
            raise RuntimeError("TLS has begun on this stream already")
        if self._loss is not None:
            return
        if self._held:
            self._finish(Loss(LossKind.INJECTION, "plaintext followed the command that starts TLS"))
            return
        self._flush()
        engine = cast("ServerContext | ClientContext", context).engine(server_name=server_name, session_key=session_key)
        self._engine = engine
        try:
            engine.start()
        except TlsFailure as failure:  # nothing that both the profile and the library can do
            self._finish(Loss(LossKind.HANDSHAKE, str(failure)))
            return
        self._send(engine.take_output())
        self._adjust_reading()
        self._clock.go()

    def pause(self) -> None:
        """Stop reading. The time given by `timeout` stands still meanwhile: it is not the peer who is late."""
        if self._loss is not None:
            return
        self._paused = True
        if self._engine is None or self._facts is not None:
            self._clock.stand()

    def resume(self) -> None:
        """Read again; bytes kept are delivered in a later turn of the loop. The time runs anew."""
        if not self._paused or self._loss is not None:
            return
        self._paused = False
        self._clock.go()
        if self._held or self._end_of_file is not None:
            self._loop.call_soon(self._deliver_held)

    def owe(self, *, owing: bool) -> None:
        """Say whether an answer is still to come: until it has been written, a peer that stops sending is no loss."""
        self._owing = owing
        if self._end_of_file is not None and not owing:
            self._loop.call_soon(self._deliver_held)

    def timeout(self, seconds: float) -> None:
        """End the stream with LossKind.TIMEOUT if `received` or `secured` is not called within `seconds`.

        Each such call, and each call of this method, starts a new period; 0 stops the clock.
        """
        if self._loss is None:
            self._clock.start(seconds)

    def close(self) -> None:
        """Send what waits, close_notify under TLS, then close; at most 5 s."""
        if self._loss is None:
            self._finish(Loss(LossKind.CLOSED))

    def abort(self, loss: Loss) -> None:
        """Drop the connection now. A close that is under way is cut short and keeps its own loss."""
        self._loss = self._loss or loss
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    # ---------------------------------------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has a socket for us. It has set TCP_NODELAY itself."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER - 1, low=HIGH_WATER // 2)
        if self._peer is NOWHERE:
            self._peer = endpoint(transport.get_extra_info("peername"))
        if self._local is NOWHERE:
            self._local = endpoint(transport.get_extra_info("sockname"))
        if (opened := self._opened) is not None:
            self._opened = None  # a connection is opened once, and keeps nothing for it
            opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """The buffer that the loop reads into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have been read."""
        if self._loss is not None:
            return  # the end has begun: what still comes is only waited out
        if self._engine is not None:
            self._decrypt(self._engine, self._buffer[:nbytes])
        elif self._paused or self._held or self._receiver is None:
            self._hold(bytes(self._buffer[:nbytes]))
        else:
            self._deliver(bytes(self._buffer[:nbytes]))

    def _take_again(self, data: bytes) -> None:
        """As `buffer_updated`, of octets that were read before."""
        self._buffer[: len(data)] = data
        self.buffer_updated(len(data))

    def eof_received(self) -> bool:
        """The peer sends no more. Gives True to keep the transport open until all it sent is delivered and answered."""
        if self._loss is not None:
            return False
        loss = self._loss_at_end()
        # After a close_notify, whose end waits for the receiver, this says nothing new.
        if self._held or self._owing or self._end_of_file is not None:
            self._end_of_file = self._end_of_file or loss
            return True
        self._flush()
        self._loss = self._loss or loss  # type: ignore[redundant-expr] # sending may have ended it
        return False

    def pause_writing(self) -> None:
        """The transport's buffer passed HIGH_WATER."""
        self._blocked = True
        self._adjust_reading()

    def resume_writing(self) -> None:
        """It is half empty again."""
        self._blocked = False
        self._adjust_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone; called once."""
        if self._loss is None:
            shaking = self._engine is not None and self._facts is None
            kind = LossKind.HANDSHAKE if shaking else LossKind.RESET if exc is not None else LossKind.CLOSED
            self._loss = Loss(kind, str(exc or ""), shaking)
        self._ended = True
        self._forget()
        self._clock.end()
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
        self._transport = None
        self._wake()
        gone = self._gone
        self._opened = self._gone = None
        receiver, self._receiver = self._receiver, None  # which has us: what both hold is free when the last call ends
        try:
            if receiver is not None:
                receiver.lost(self._loss)
        finally:
            if gone is not None:
                gone(self)

    # ------------------------------------------------------------------------------------------------ reading

    def _decrypt(self, engine: Engine, data: memoryview) -> None:
        try:
            plaintext = engine.feed(data)
        except TlsFailure as failure:
            # In TLS 1.3 a client has finished before the server has looked at its certificate (RFC 8446 section
            # 4.4.2.4).
            agreed = self._facts is not None and (self._answering or self._proved)
            unanswered = self._facts is None and failure.unread
            self._finish(Loss(LossKind.RESET if agreed else LossKind.HANDSHAKE, str(failure), unanswered))
            return
        if self._facts is None and engine.facts is not None:
            self._secured(engine.facts)
        if plaintext:
            self._proved = True
            self._take_in(plaintext)
        if self._loss is not None:
            return
        if output := engine.take_output():  # as far as it has not gone with what the receiver wrote
            self._send(output)
        if engine.peer_closed:
            self._peer_closed()

    def _secured(self, facts: TlsFacts) -> None:
        self._facts = facts
        self._clock.touch()
        if self._paused:
            self._clock.stand()
        if self._receiver is not None:
            self._inside = True
            try:
                self._receiver.secured(facts)
            finally:
                self._inside = False
        self._flush()
        self._wake()

    def _take_in(self, plaintext: bytes) -> None:
        if self._loss is not None:
            return
        if self._paused or self._held or self._receiver is None:
            self._hold(plaintext)
        elif len(plaintext) > READ_BYTES:  # the rest of a record that an earlier read began
            self._hold(plaintext[READ_BYTES:])
            self._deliver(plaintext[:READ_BYTES])
            self._loop.call_soon(self._deliver_held)
        else:
            self._deliver(plaintext)

    def _hold(self, data: bytes) -> None:
        self._held += data
        self._adjust_reading()

    def _deliver(self, data: bytes) -> None:
        self._clock.touch()
        self._inside = True
        try:
            self._receiver.received(data)  # type: ignore[union-attr] # callers have looked: this is the hot path
        except BaseException:
            self.abort(Loss(LossKind.RESET, "the receiver failed"))  # never go on in an unknown state
            raise
        finally:
            self._inside = False
        if self._output:
            self._send(self._flight())

    def _deliver_held(self) -> None:
        if self._paused or self._loss is not None:
            return
        if self._held:
            data, self._held = self._held[:READ_BYTES], self._held[READ_BYTES:]
            self._deliver(data)
            if self._held:
                self._loop.call_soon(self._deliver_held)
                return
            self._adjust_reading()
        if self._end_of_file is not None and not self._owing and self._loss is None:
            self._finish(self._end_of_file)

    def _peer_closed(self) -> None:
        loss = Loss(LossKind.CLOSED)
        if self._held or self._owing:
            self._end_of_file = loss
        else:
            self._finish(loss)

    def _loss_at_end(self) -> Loss:
        if self._engine is None:
            return Loss(LossKind.CLOSED)
        if self._facts is None:
            return Loss(LossKind.HANDSHAKE, "the peer closed the connection during the handshake", unanswered=True)
        return Loss(LossKind.TRUNCATED, "the peer closed the connection without close_notify")

    def _adjust_reading(self) -> None:
        """Read unless bytes wait for the receiver, or replies wait for a peer that goes on sending commands."""
        stop = self._loss is None and (bool(self._held) or (self._answering and self._blocked))
        if stop == self._stopped or self._transport is None:
            return
        self._stopped = stop
        if stop:
            self._transport.pause_reading()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    # ------------------------------------------------------------------------------------------------ writing

    def _flush(self) -> None:
        """Send what was written in one flight; during a handshake it waits."""
        self._flush_due = False
        if self._output:
            self._send(self._flight())

    def _flight(self) -> bytes:
        """What was written, as it goes to the peer; b"" if nothing may, or if TLS fails, which ends the stream."""
        if not self._output or (self._engine is not None and self._facts is None):
            return b""
        data = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output = []
        self._output_bytes = 0
        if self._engine is not None:
            try:
                return self._engine.send(data)
            except TlsFailure as failure:
                self.abort(Loss(LossKind.RESET, str(failure)))
                return b""
        return data

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None:
            return
        transport.write(data)
        if self._blocked and transport.get_write_buffer_size() > MAX_OUTPUT:
            self._abort_unread()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ------------------------------------------------------------------------------------------------- ending

    def _expired(self) -> None:
        self.abort(Loss(LossKind.TIMEOUT, "the peer was silent for too long"))

    def _abort_unread(self) -> None:
        self.abort(Loss(LossKind.RESET, f"more than {MAX_OUTPUT} bytes wait to be sent: the peer does not read"))

    def _forget(self) -> None:
        self._output = []
        self._output_bytes = 0
        self._held = b""
        if self._engine is not None:  # with hundreds of kilobytes, if the peer meant it: they do not wait for its end
            self._engine.release()
            self._engine = None

    def _finish(self, loss: Loss) -> None:
        """Close in order: output, close_notify or alert, end of file, then the peer's end of file."""
        last = self._flight()
        if self._loss is None and self._engine is not None:
            last += self._engine.shutdown()
        self._send(last)
        if self._loss is not None or self._transport is None:
            return  # the peer is gone, or does not read
        transport = self._transport
        self._loss = loss
        over = self._end_of_file is not None or (self._engine is not None and self._engine.peer_closed)
        self._forget()
        self._clock.end()
        self._cut = self._loop.call_later(CLOSE_SECONDS, transport.abort)
        if self._answering and not over and transport.can_write_eof():
            self._adjust_reading()
            transport.write_eof()
        else:
            transport.close()
