"""Check which certificates this node's listeners present now, by handshakes as a partner would make them.

Several handshakes for each listener, since the kernel deals connections out to the workers. Ends within some seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.pki.certificates.lifecycle import names_of
from gatepost.protocols.tls.profile import PROFILES
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry


_SECONDS: Final = 3.0
_TRIES: Final = 4
_LISTENERS: Final = 8
_REPLY: Final = 64 * 1024
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where such a listener is reached
_SUITES: Final = {"RSA": "aRSA", "EC": "aECDSA"}


class ListenerPresentation(NamedTuple):
    """One listener. node: host name. seen: handshakes that showed the certificate, of `asked`; others showed another.

    trouble: why nothing was learnt of it, "" if something was.
    """

    node: str
    listener: str
    seen: int
    asked: int
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether every handshake showed it."""
        return bool(self.asked) and self.seen == self.asked


def check_presentation(gateway: Gateway, entry: Entry) -> list[ListenerPresentation]:
    """Ask each listener with TLS for one of its names, with its kind of key alone. Raises nothing for what they answer.

    At most eight listeners are asked.
    """
    own = [listener for listener in gateway.settings.listeners if listener.role is not ListenerRole.INTERNAL][
        :_LISTENERS
    ]
    if not own:
        return []
    with ThreadPoolExecutor(len(own)) as threads:
        return list(
            threads.map(lambda listener: _ask_listener(gateway, listener.role, str(listener.address), entry), own)
        )


def _ask_listener(gateway: Gateway, role: ListenerRole, address: str, entry: Entry) -> ListenerPresentation:
    node, listener = gateway.settings.server.hostname, f"{role} {address}"
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    name = next((text for text in names_of(entry) if not text.startswith("*.") and not _is_address(text)), node)
    seen = 0
    for _ in range(_TRIES):
        try:
            der = _certificate(role, (_ANY.get(host, host), int(port)), name, _context(gateway, entry))
        except (OSError, ValueError) as failure:
            return ListenerPresentation(node, listener, 0, 0, _why(failure))
        seen += hashlib.sha256(der).hexdigest() == entry.leaf.sha256
    return ListenerPresentation(node, listener, seen, _TRIES)


def _why(failure: Exception) -> str:
    """In our words: what others say is not repeated."""
    if isinstance(failure, ssl.SSLError):
        return "no handshake with this kind of key"
    return "it takes no sessions now" if isinstance(failure, ValueError) else "nobody answers"


def _context(gateway: Gateway, entry: Entry) -> ssl.SSLContext:
    """Judges nothing: whether others trust the certificate is for the gates. Of TLS 1.2, whose suites name the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    suites = _SUITES.get(entry.key_family)
    if suites and PROFILES[gateway.settings.tls.profile].min_version != "TLSv1.3":
        with contextlib.suppress(ssl.SSLError):
            context.set_ciphers(suites)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _certificate(role: ListenerRole, place: tuple[str, int], name: str, context: ssl.SSLContext) -> bytes:
    """The leaf that one session is shown, DER. Raises OSError, and ValueError for a reply that is a no."""
    with socket.create_connection(place, _SECONDS) as plain:
        if role is not ListenerRole.SUBMISSIONS:
            _reply(plain, b"220")
            plain.sendall(b"EHLO [127.0.0.1]\r\n")
            _reply(plain, b"250")
            plain.sendall(b"STARTTLS\r\n")
            _reply(plain, b"220")
        with context.wrap_socket(plain, server_hostname=name) as session:
            return session.getpeercert(binary_form=True) or b""


def _reply(plain: socket.socket, code: bytes) -> None:
    """Read one reply (RFC 5321 section 4.2), of several lines perhaps. Raises ValueError if it is another one."""
    text = b""
    while not text.endswith(b"\r\n") or text.splitlines()[-1][3:4] == b"-":
        part = plain.recv(4096)
        text += part
        if not part or len(text) > _REPLY:
            break
    if not text.startswith(code):
        raise ValueError(text[:3])


def _is_address(name: str) -> bool:
    return ":" in name or name.rpartition(".")[2].isdigit()
