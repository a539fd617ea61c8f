"""Check that this node's listeners answer, and the resolver that administrators ask as a worker would.

Each listener is connected to as a client, and its greeting is read, all in parallel.

Used by `manage.use_cases.status`. Takes no lock of the gateway's and changes nothing; whatever a listener does, a look
at it ends within five seconds. Who asks again at once, or while a look is under way, gets what that look found.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.net.lookups.configured import configured_resolver
from gatepost.policy.connectors.names import host_port
from gatepost.policy.connectors.network_set import NetworkSet
from gatepost.settings.model import DnsValidation, Listener, Settings
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.net.lookups.dns import Resolver


_PATIENCE: Final = 5.0  # seconds for connection, handshake and greeting together
_FRESH: Final = 2.0  # seconds for which a look is good enough
_AT_ONCE: Final = 16
_GREETING: Final = 600  # bytes: more than a reply line may have
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound, these are looked for


class ServiceStatus(msgspec.Struct, frozen=True):
    """A listener, the nameservers, or a worker. ok: it answers as it should. detail: what it says, or what happened."""

    name: str
    ok: bool
    detail: str


class ListenerChecks:
    """The listeners of some settings, and what else is served where an address was written for it. For any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._looked = float("-inf")
        self._found: list[ServiceStatus] = []

    def run(self) -> list[ServiceStatus]:
        """Each of them, in the order of the settings. Raises nothing for what they answer."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH:
                looks = list(_checks(self._settings))
                with ThreadPoolExecutor(min(_AT_ONCE, len(looks) or 1)) as threads:
                    self._found = list(threads.map(lambda run: run(), looks))
                self._looked = time.monotonic()
            return self._found


def _checks(settings: Settings) -> Iterator[Callable[[], ServiceStatus]]:
    for listener in settings.listeners:
        yield partial(_greeting, listener)
    for name, address, what in (
        ("mta-sts", settings.mta_sts.address, "policies"),
        ("certificate-table", settings.certificate_table.address, "the certificate table"),
        ("tls-reports", settings.tls_reports.address, "TLS reports of others"),
        # Where its default is taken there is none, and mail does not mind.
        ("admin", settings.admin.address if "address" in settings.admin.written else "", "the admin centre"),
    ):
        if address:
            yield partial(_https, name, address, what)
    if settings.metrics_address:
        yield partial(_http, "metrics", settings.metrics_address)


def _greeting(listener: Listener) -> ServiceStatus:
    """Read the greeting of a listener."""
    name, end = f"{listener.role} {listener.address}", _end()
    try:
        with _connected(listener.address, end) as plain, _as_offered(listener, plain, end) as connection:
            line = _received(connection, end).decode("ascii", "replace").partition("\r\n")[0]
    except OSError as error:
        return _silent(name, error)
    if listener.role is ListenerRole.INTERNAL and line.startswith("554"):
        return ServiceStatus(name, ok=True, detail="OK: rejects non-members of the site")
    return ServiceStatus(name, ok=line.startswith("220"), detail=line or "closes the connection without a word")


def _https(role: str, address: str, what: str) -> ServiceStatus:
    """Whether something is served over HTTPS: any answer will do. The port alone is open without the process."""
    name, end = f"{role} {address}", _end()
    try:
        with _connected(address, end) as plain, _over_tls(plain, end) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = _received(connection, end).startswith(b"HTTP/1.1 ")
    except OSError as error:
        return _silent(name, error)
    return ServiceStatus(name, ok=answers, detail=f"serves {what}" if answers else "does not answer as an HTTPS server")


def _http(role: str, address: str) -> ServiceStatus:
    """Whether metrics are served."""
    name, end = f"{role} {address}", _end()
    try:
        with _connected(address, end) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = _received(connection, end).startswith(b"HTTP/1.1 200 ")
    except OSError as error:
        return _silent(name, error)
    return ServiceStatus(name, ok=answers, detail="serves metrics" if answers else "does not answer as it should")


def _silent(name: str, error: OSError) -> ServiceStatus:
    return ServiceStatus(name, ok=False, detail=f"does not answer: {error.strerror or error}")


def _as_offered(listener: Listener, plain: socket.socket, end: float) -> socket.socket:
    """The connection as the listener speaks on it: under TLS from the start for users and between nodes.

    Where this machine must send a PROXY header, it says that the connection is its own.
    """
    if listener.proxy_protocol_from and plain.getsockname()[0] in NetworkSet.of(listener.proxy_protocol_from):
        plain.sendall(b"PROXY UNKNOWN\r\n")
    return _over_tls(plain, end) if listener.role in {ListenerRole.SUBMISSIONS, ListenerRole.INTERNAL} else plain


def _over_tls(plain: socket.socket, end: float) -> ssl.SSLSocket:
    """The connection under TLS, with whatever certificate: we only look whether somebody answers. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain.settimeout(_left(end))
    return context.wrap_socket(plain)


def _connected(address: str, end: float) -> socket.socket:
    """Raises OSError."""
    host, port = host_port(address, None, lowest=0)
    return socket.create_connection((_EVERYWHERE.get(host, host), port), timeout=_left(end))


def _received(connection: socket.socket, end: float) -> bytes:
    connection.settimeout(_left(end))
    return connection.recv(_GREETING)


def _end() -> float:
    return time.monotonic() + _PATIENCE


def _left(end: float) -> float:
    """Seconds, never so few that a socket would not wait at all. Raises TimeoutError if the time is over."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class ResolverCheck:
    """Whether the nameservers of the settings answer this process. For any thread that runs no event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._looked = float("-inf")
        self._found = ServiceStatus("", ok=False, detail="")

    def run(self) -> ServiceStatus:
        """Ask, unless somebody just did. Raises nothing for what they answer."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH:
                self._found = self._run()
                self._looked = time.monotonic()
            return self._found

    def _run(self) -> ServiceStatus:
        dns = self._settings.dns
        named = "nameservers" in dns.written or dns.validation is not DnsValidation.LOCAL
        name = ", ".join(dns.nameservers) if named else "root servers"
        try:
            trouble = asyncio.run(self._trouble())
        except TimeoutError:
            trouble = f"no answer within {_PATIENCE:g} s"
        except Refusal as refusal:
            trouble = refusal.text
        return ServiceStatus(name, ok=not trouble, detail=trouble or "answers queries")

    async def _trouble(self) -> str:
        async with asyncio.timeout(_PATIENCE), resolver_of(self._settings) as resolver:
            if trouble := await resolver.trouble(self._settings.server.hostname):
                return trouble
            fault = await resolver.dnssec_fault()
            return fault.detail if fault is not None and fault.stops_mail else ""


def resolver_of(settings: Settings) -> Resolver:
    """Made of the settings where the event loop runs, to be closed. Raises Refusal (INPUT) if none can be made."""
    try:
        return configured_resolver(settings.dns)
    except ValueError as error:  # ValidatorError is one
        raise Refusal(RefusalKind.INPUT, f"[dns]: {error}") from error
