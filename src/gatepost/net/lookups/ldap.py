"""Ask a directory over LDAP whether it has an entry, always under TLS that proves the server's name.

Used by `mail.inbound.recipient_directory`. Messages are in `protocols.ldap`. Few connections at a time for each
directory, kept for a while and used again; every wait ends. Nothing blocks the event loop: roots and passwords are read
on a thread.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.http import host_addresses, https_context
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.ldap import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.lookups.dns import Resolver


_MAX_ADDRESSES: Final = 4
_MOST_MESSAGES: Final = 64  # of one search: an entry, and references to other directories
_READ: Final = 16 * 1024


class LdapLimits(msgspec.Struct, frozen=True):
    """Limits for one directory in one worker. connections: at a time. idle: seconds for which one is kept.

    connect: seconds to a connection that is ready, with TLS and log-in. search: for one search.
    """

    connections: int = 4
    idle: float = 60.0
    connect: float = 5.0
    search: float = 5.0


class LdapServer(msgspec.Struct, frozen=True):
    """One server. implicit: TLS from the first octet (ldaps); otherwise StartTLS comes first."""

    host: str
    port: int
    implicit: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.implicit else 'ldap'}://{host}:{self.port}"


class LdapDirectory(msgspec.Struct, frozen=True):
    """A directory as one configuration names it. servers: tried in their order. bind_dn: "" for no log-in.

    trust_anchors: "system", PEM, or a path. whose: for whom it is asked, so that nobody uses another's connection.
    """

    servers: tuple[LdapServer, ...]
    bind_dn: str
    trust_anchors: str
    whose: str


class LdapSearch(msgspec.Struct, frozen=True):
    """A search for one entry. encoded: the filter, as a request has it."""

    base: str
    encoded: bytes


class LdapUnavailable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """No server answered. The text is for us: it holds no password."""


class _Failed(Exception):  # noqa: N818 - as above
    """One server gave no answer. stale: on a connection that had been kept, which the server may have closed."""

    def __init__(self, detail: str, *, stale: bool = False) -> None:
        super().__init__(detail)
        self.stale = stale


class LdapOutcome(msgspec.Struct, frozen=True):
    """The result of a search. found: whether there was an entry. server: that answered.

    references: to other servers that may have one; nobody asks them.
    """

    found: bool
    result: messages.LdapResult
    server: LdapServer
    references: tuple[str, ...] = ()


class _Connection:
    """One connection that is logged in. server: to which. used: whether a search went over it."""

    def __init__(self, server: LdapServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.used = False
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._received = b""

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed it, as far as is known."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._reader.exception() is not None)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """TLS on a connection that began without. What came before it is no answer to anything behind it."""
        answer = await self._ask(messages.start_tls_request(self._next()), messages.Operation.EXTENDED)
        if answer.code != messages.ResultCode.SUCCESS:
            raise _Failed(f"it refuses StartTLS: {answer.text}")
        await self._writer.start_tls(context, server_hostname=self.server.host)
        # The reader goes on with what it has: an attacker may have put answers to later requests behind this one.
        if self._received or await self._has_unread():
            raise _Failed("it sent something before TLS began")

    async def _has_unread(self) -> bool:
        """Whether the reader has octets by now."""
        try:
            async with asyncio.timeout(0):
                return await self._reader.read(1) != b""
        except TimeoutError:
            return False

    async def bind(self, name: str, password: str) -> None:
        """Log in. Raises _Failed if the server refuses."""
        result = await self._ask(messages.bind_request(self._next(), name, password), messages.Operation.BOUND)
        if result.code != messages.ResultCode.SUCCESS:
            hint = (
                "; the name or the password is wrong" if result.code == messages.ResultCode.INVALID_CREDENTIALS else ""
            )
            raise _Failed(f"it refuses the log-in of {name}: {result.text}{hint}")

    async def search(self, search: LdapSearch, seconds: int) -> LdapOutcome:
        """Whether there is an entry, and how the search ended."""
        number = self._next()
        await self._send(messages.search_request(number, search.base, search.encoded, seconds))
        has_entry = False
        references: list[str] = []
        for _ in range(_MOST_MESSAGES):
            answer = await self._answer(number)
            if answer.result is not None and answer.operation is messages.Operation.SEARCHED:
                self.used = True
                return LdapOutcome(has_entry, answer.result, self.server, tuple(references))
            if answer.operation not in {messages.Operation.ENTRY, messages.Operation.REFERENCE}:
                raise _Failed(f"it answered a search with {answer.operation.name}")
            has_entry |= answer.operation is messages.Operation.ENTRY
            references += answer.references
        raise _Failed("its answer has no end")

    def close(self) -> None:
        """End it, and wait for nothing."""
        if not self._writer.is_closing():
            self._writer.write(messages.unbind_request(self._next()))
            self._writer.close()

    def abort(self) -> None:
        """End it in the middle of something."""
        self._writer.transport.abort()

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, request: bytes, expected: messages.Operation) -> messages.LdapResult:
        await self._send(request)
        answer = await self._answer(self._number)
        if answer.operation is not expected or answer.result is None:
            raise _Failed(f"it answered with {answer.operation.name}")
        return answer.result

    async def _send(self, request: bytes) -> None:
        self._writer.write(request)
        await self._writer.drain()

    async def _answer(self, number: int) -> messages.LdapAnswer:
        answer = messages.read_message(await self._message())
        if answer.number != number:
            said = f": {answer.result.text}" if answer.result is not None else ""
            raise _Failed(f"it ends the connection{said}" if not answer.number else "it answered another request")
        return answer

    async def _message(self) -> bytes:
        while (size := messages.message_size(self._received)) is None or len(self._received) < size:
            data = await self._reader.read(_READ)
            if not data:
                raise _Failed("it closed the connection", stale=self.used)
            self._received += data
        message, self._received = self._received[:size], self._received[size:]
        return message


class _Pool:
    """The connections to one directory: those that nobody uses now, and places for as many as may be in use."""

    def __init__(self, most: int) -> None:
        self.places = asyncio.Semaphore(most)
        self.idle: dict[_Connection, asyncio.TimerHandle] = {}
        self.users = 0

    def take(self) -> _Connection | None:
        """One that is open, None if there is none."""
        while self.idle:
            connection, timer = self.idle.popitem()
            timer.cancel()
            if connection.is_open:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """End all that nobody uses."""
        for connection, timer in self.idle.items():
            timer.cancel()
            connection.close()
        self.idle.clear()


class LdapClient:
    """Searches in directories, with the connections that one worker keeps. resolver: finds the names of servers.

    load: reads trust anchors by their name, on a thread. Raises AnchorsError.
    """

    def __init__(
        self,
        resolver: Resolver,
        limits: LdapLimits | None = None,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self._resolver = resolver
        self._load = load
        self._limits = limits or LdapLimits()
        self._pools: dict[LdapDirectory, _Pool] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def search(self, directory: LdapDirectory, search: LdapSearch, password: Callable[[], str]) -> LdapOutcome:
        """The answer of the first server that gives one. Raises LdapUnavailable.

        password: of bind_dn, called on a thread for each new connection; what it raises is not caught.
        """
        pool = self._pools.setdefault(directory, _Pool(self._limits.connections))
        pool.users += 1
        try:
            async with pool.places:
                return await self._search(pool, directory, search, password)
        finally:
            pool.users -= 1
            self._tidy(directory)

    def reload(self) -> None:
        """Take other roots and passwords, and begin with new connections."""
        self._contexts = {}  # a thread may be making one by those before
        for pool in self._pools.values():
            pool.close()

    async def close(self) -> None:
        """End all connections."""
        self.reload()

    async def _search(
        self, pool: _Pool, directory: LdapDirectory, search: LdapSearch, password: Callable[[], str]
    ) -> LdapOutcome:
        failures = []
        while (kept := pool.take()) is not None:
            try:
                return await self._over(pool, kept, search)
            except _Failed as failed:
                if not failed.stale:
                    failures.append(f"{kept.server}: {failed}")
                    break
        for server in directory.servers:
            try:
                connection = await self._opened(server, directory, password)
                return await self._over(pool, connection, search)
            except _Failed as failed:
                failures.append(f"{server}: {failed}")
        raise LdapUnavailable("; ".join(failures) or "no server is named")

    async def _over(self, pool: _Pool, connection: _Connection, search: LdapSearch) -> LdapOutcome:
        """Search over a connection, and keep it afterwards. Raises _Failed."""
        was_used = connection.used
        try:
            async with asyncio.timeout(self._limits.search):
                outcome = await connection.search(search, max(1, round(self._limits.search)))
        except TimeoutError:
            connection.abort()
            raise _Failed(f"no answer to the search within {self._limits.search:g} s") from None
        except (OSError, messages.LdapError) as failure:
            connection.abort()
            raise _Failed(_words(failure), stale=was_used and isinstance(failure, OSError)) from failure
        except BaseException:
            connection.abort()
            raise
        self._keep(pool, connection)
        return outcome

    def _keep(self, pool: _Pool, connection: _Connection) -> None:
        def expire() -> None:
            pool.idle.pop(connection, None)
            connection.close()

        pool.idle[connection] = asyncio.get_running_loop().call_later(self._limits.idle, expire)

    def _tidy(self, directory: LdapDirectory) -> None:
        """Forget directories that are asked no more, once another one is asked."""
        for known, other in list(self._pools.items()):
            if known != directory and not other.users and not other.idle:
                del self._pools[known]

    async def _opened(self, server: LdapServer, directory: LdapDirectory, password: Callable[[], str]) -> _Connection:
        """A connection that is ready. Raises _Failed."""
        secret = await asyncio.to_thread(password) if directory.bind_dn else ""
        try:
            context = await self._context(directory.trust_anchors)
            async with asyncio.timeout(self._limits.connect):
                connection = await self._connected(server, context)
                try:
                    if not server.implicit:
                        await connection.start_tls(context)
                    if directory.bind_dn:
                        await connection.bind(directory.bind_dn, secret)
                except BaseException:
                    connection.abort()
                    raise
                return connection
        except TimeoutError:
            raise _Failed(f"no connection within {self._limits.connect:g} s") from None
        except AnchorsError as failure:
            raise _Failed(f"the trust anchors cannot be read: {failure}") from failure
        except (OSError, messages.LdapError) as failure:
            raise _Failed(_words(failure)) from failure

    async def _connected(self, server: LdapServer, context: ssl.SSLContext) -> _Connection:
        try:
            addresses = (await host_addresses(self._resolver, server.host))[:_MAX_ADDRESSES]
        except LookupFailed as failed:
            raise _Failed(failed.detail) from failed
        tls, name = (context, server.host) if server.implicit else (None, None)
        problem: OSError | None = None
        for address in addresses:
            try:
                streams = await asyncio.open_connection(
                    address, server.port, limit=_READ, ssl=tls, server_hostname=name
                )
                return _Connection(server, *streams)
            except ssl.SSLError:
                raise
            except OSError as failure:
                problem = problem or failure
        raise problem or OSError(0, f"{server.host} has no address")

    async def _context(self, anchors: str) -> ssl.SSLContext:
        contexts = self._contexts
        if (context := contexts.get(anchors)) is None:
            context = contexts[anchors] = await asyncio.to_thread(lambda: https_context(self._load(anchors)))
        return context


def _words(failure: Exception) -> str:
    """A failure of the network or of TLS, for us."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {failure.verify_message}"
    said = getattr(failure, "strerror", None) or str(failure) or type(failure).__name__
    return str(said)[:300]
