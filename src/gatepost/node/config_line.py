"""Have the configuration changed for processes that may only read it: their lines, and the process that writes.

The supervisor gives each process a line (`node.lifeline`) and takes nothing from it. When something has come, it
starts a process for a moment, the writer: that reads one request after the other, has them judged by
`node.config_judge`, stores what is granted and ends. One writer runs at a time (docs/decisions/0139).
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from gatepost.decoding import msgpack_decoder
from gatepost.node.file_line import hear_by_signal
from gatepost.store.config_requests import WRITE_ACCESS, ConfigReply, ConfigRequest, ReplyKind

LARGEST: Final = 2 << 20
"""Octets of a request. What is known of alarms is the largest of them: 500 octets for each."""

WRITER_NAME: Final = "gatepost-config"
"""The name of a writer's process, where the system keeps one; at most 15 characters."""

_HEADER: Final = struct.Struct("=III")  # number of the request, its octets, and how many of them came before
_CHUNK: Final = 32 << 10
_TEXT: Final = 1000  # characters of a reply
_SECONDS: Final = 20.0  # that a process waits for its reply
_LOOP_SECONDS: Final = 2.0  # that an event loop waits for it: all mail of the process waits with it
_OTHER_LOOP_SECONDS: Final = 10.0  # that the loop of a process without mail does: who joins a site waits for 20
_REST_SECONDS: Final = 2.0  # in which the rest of a request comes
_LIFE_SECONDS: Final = 15  # of a writer: the kernel ends it
_NEXT_SECONDS: Final = 0.05  # that a writer waits for another request
_REQUESTS: Final = 50  # of one process before others have their turn
_TURN_SECONDS: Final = 3.0  # after which no other request of the process is begun
_BURST: Final = 1000.0  # writers that a process may use up at once,
_A_SECOND: Final = 5.0  # and those that it gets back

_log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode


class ConfigLine:
    """The line on which one process asks. Made by the supervisor before it forks the process.

    who: its name. takes_mail: whether mail waits with its event loop.
    """

    def __init__(self, who: str, *, takes_mail: bool = True) -> None:
        self.who = who
        self._loop_seconds = _LOOP_SECONDS if takes_mail else _OTHER_LOOP_SECONDS
        self._own, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hear_by_signal(self._own)
        self._lock = threading.Lock()
        self._asked = 0
        self._left, self._counted = _BURST, time.monotonic()

    # in the supervisor

    def is_due(self) -> bool:
        """Whether something has come, and a writer may be started for it; then it counts as started."""
        try:
            if not self._own.recv(1, socket.MSG_PEEK):
                return False  # its end is closed
        except OSError:
            return False
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._counted) * _A_SECOND)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def release_child_end(self) -> None:
        """After the fork: only the process has that end."""
        self._child.close()

    def close(self) -> None:
        """Close the supervisor's end."""
        self._own.close()

    # in the writer

    def serve(self, answer: Callable[[ConfigRequest], ConfigReply]) -> None:
        """Answer what comes, until nothing more does, or something is denied: our own code asks for no such thing."""
        until = time.monotonic() + _TURN_SECONDS
        for _ in range(_REQUESTS):
            if time.monotonic() > until or not _waits(self._own, _NEXT_SECONDS):
                return
            received = self._received()
            if received is None:
                return
            number, request = received
            reply = _answered(request, answer)
            with suppress(OSError):
                self._own.send(_HEADER.pack(number, 0, 0) + _encode(reply))
            if reply.kind is ReplyKind.DENIED:
                return

    def _received(self) -> tuple[int, bytes] | None:
        """The next request with its number; None if it does not come whole, or is too large."""
        number, size, content = -1, 0, bytearray()
        until = time.monotonic() + _REST_SECONDS
        while _waits(self._own, max(0.0, until - time.monotonic())):
            packet = _packet(self._own)
            if len(packet) < _HEADER.size:
                return None  # its end is closed
            header = _HEADER.unpack_from(packet)
            if header[2] == 0 and header[1] <= LARGEST:  # one begins; what began before was given up
                number, size, content = header[0], header[1], bytearray()
            if header != (number, size, len(content)):
                continue
            content += packet[_HEADER.size :]
            if len(content) >= size:
                return number, bytes(content)
        return None

    # in the process

    def use(self) -> None:
        """From now on `store.config_requests` asks here."""
        WRITE_ACCESS.ask = self.ask

    def ask(self, request: ConfigRequest) -> ConfigReply | None:
        """The answer to a request, None if there is none in time. Waits; for threads, and briefly for an event loop."""
        content = _encode(request)
        if len(content) > LARGEST:
            return ConfigReply(ReplyKind.DENIED, text=f"{len(content)} octets are too many for one change")
        until = time.monotonic() + self._patience()
        if not self._lock.acquire(timeout=until - time.monotonic()):  # another thread waits for its reply
            return None
        try:
            return self._exchanged(content, until)
        except OSError:
            return None
        finally:
            self._lock.release()

    def _patience(self) -> float:
        """Seconds that whoever asks may wait."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _SECONDS
        return self._loop_seconds

    def _exchanged(self, content: bytes, until: float) -> ConfigReply | None:
        """Send a request and wait for its reply. Raises OSError."""
        self._asked = (self._asked + 1) % (1 << 32)
        for start in range(0, len(content), _CHUNK):
            self._child.settimeout(max(0.001, until - time.monotonic()))
            self._child.send(_HEADER.pack(self._asked, len(content), start) + content[start : start + _CHUNK])
        return self._answered(until)

    def _answered(self, until: float) -> ConfigReply | None:
        """Skip answers that came too late for earlier requests. Raises OSError."""
        while (left := until - time.monotonic()) > 0:
            self._child.settimeout(left)
            packet = self._child.recv(_HEADER.size + _CHUNK)
            if not packet:
                return None
            if _HEADER.unpack_from(packet)[0] == self._asked:
                return msgpack_decoder(ConfigReply)(packet[_HEADER.size :])
        return None


class ConfigWriter:
    """Starts writers, in the supervisor. answer: in the writer, makes the function that answers a process by its name.

    limit: called in the writer before anything is read. without: names of processes that write the configuration
    themselves.
    """

    def __init__(
        self,
        answer: Callable[[str], Callable[[ConfigRequest], ConfigReply]],
        limit: Callable[[], None],
        *,
        without: Collection[str] = (),
    ) -> None:
        self.without = without
        self._answer = answer
        self._limit = limit
        self._pid = 0
        self._turn = 0

    def look(self, lines: Sequence[ConfigLine], prepare: Callable[[], None]) -> None:
        """Start a writer for the next line on which something has come, if none runs. Never raises.

        prepare: called in the writer, which is a copy of the supervisor.
        """
        if self._pid:
            return
        self._turn += 1
        for index in range(len(lines)):
            line = lines[(self._turn + index) % len(lines)]
            if line.is_due():
                self._start(line, prepare)
                return

    @property
    def is_running(self) -> bool:
        """Whether a writer has not ended yet."""
        return bool(self._pid)

    def ended(self, pid: int, status: int) -> bool:
        """Whether the process that ended was the writer. status: as of `os.waitpid`."""
        if pid != self._pid:
            return False
        self._pid = 0
        if code := os.waitstatus_to_exitcode(status):
            _log.error("a change of the configuration was not finished: its process ended with %d", code)
        return True

    def _start(self, line: ConfigLine, prepare: Callable[[], None]) -> None:
        try:
            self._pid = os.fork()
        except OSError as error:
            _log.error("no process can be started to change the configuration: %s", error.strerror)
            return
        if self._pid == 0:
            self._run(line, prepare)

    def _run(self, line: ConfigLine, prepare: Callable[[], None]) -> NoReturn:
        code = 1
        try:
            with suppress(OSError):  # `ps -A` and `top` show it
                Path("/proc/self/comm").write_text(WRITER_NAME)
            prepare()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_LIFE_SECONDS)
            self._limit()
            line.serve(self._answer(line.who))
            code = 0
        except Exception:  # noqa: BLE001 - the child must end here, whatever it was
            _log.exception("the configuration was not changed for %s", line.who)
        finally:
            os._exit(code)


def _answered(content: bytes, answer: Callable[[ConfigRequest], ConfigReply]) -> ConfigReply:
    try:
        request = msgpack_decoder(ConfigRequest)(content)
    except msgspec.DecodeError as error:
        return ConfigReply(ReplyKind.DENIED, text=f"a request that cannot be read: {error}"[:_TEXT])
    reply = answer(request)
    return ConfigReply(reply.kind, reply.version, reply.text[:_TEXT])


def _packet(own: socket.socket) -> bytes:
    """The next packet of a process; nothing if it has ended, whether or not it had read all that it was told."""
    try:
        return own.recv(_HEADER.size + _CHUNK)
    except ConnectionResetError:
        return b""


def _waits(own: socket.socket, seconds: float) -> bool:
    """Whether something is to be read within some time."""
    poll = select.poll()
    poll.register(own, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
