"""Make a TLS handshake with a listener of this node, as a partner would, and give back the certificate it presents.

Used by `manage.use_cases.presentation_check` and `node.certificate_observer`. Judges nothing: whether others trust the
certificate is for other checks. Blocks, for some seconds at most.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

from gatepost.protocols.tls.profile import PROFILES
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.protocols.tls.facts import CertificateFacts


_SECONDS: Final = 3.0
_REPLY: Final = 64 * 1024
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where such a listener is reached
_SUITES: Final = {"RSA": "aRSA", "EC": "aECDSA"}


class HandshakeFailed(Exception):  # noqa: N818 - an outcome
    """Nothing was presented; why, in our words: what others say is not repeated."""


def server_name(leaf: CertificateFacts, hostname: str) -> str:
    """The name by which a client asks for a certificate: its first one in full, else our own."""
    return next((name for name in leaf.dns_names if not name.startswith("*.")), hostname)


def presented_leaf(
    role: ListenerRole,
    address: str,
    name: str,
    *,
    key_family: str,
    profile: str,
    connect: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection,
) -> bytes:
    """The leaf that one session is shown, DER. Raises HandshakeFailed.

    address: as in the settings. name: for the server name indication. key_family: "RSA" or "EC", the kind of key that
    the client knows; others are for a client that knows all. profile: of the listener.
    """
    context = _context(key_family, profile)
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        with connect((_ANY.get(host, host), int(port)), _SECONDS) as plain:
            if role is not ListenerRole.SUBMISSIONS:
                _start_tls(plain)
            with context.wrap_socket(plain, server_hostname=name) as session:
                return session.getpeercert(binary_form=True) or b""
    except ssl.SSLError as failure:
        raise HandshakeFailed("no handshake with this kind of key") from failure
    except OSError as failure:
        raise HandshakeFailed("nobody answers") from failure


def _context(key_family: str, profile: str) -> ssl.SSLContext:
    """Of TLS 1.2, whose suites name the kind of key, where the listener's profile allows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    suites = _SUITES.get(key_family)
    if suites and PROFILES[profile].min_version != "TLSv1.3":
        with contextlib.suppress(ssl.SSLError):
            context.set_ciphers(suites)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _start_tls(plain: socket.socket) -> None:
    """Raises HandshakeFailed, OSError."""
    for command, code in ((b"", b"220"), (b"EHLO [127.0.0.1]\r\n", b"250"), (b"STARTTLS\r\n", b"220")):
        if not _reply(plain, command).startswith(code):
            raise HandshakeFailed("it offers no TLS now" if command else "it takes no sessions now")


def _reply(plain: socket.socket, command: bytes) -> bytes:
    """The reply to a command (RFC 5321 section 4.2), of several lines perhaps; b"" if it does not end."""
    if command:
        plain.sendall(command)
    text = b""
    while not text.endswith(b"\r\n") or text.splitlines()[-1][3:4] == b"-":
        part = plain.recv(4096)
        text += part
        if not part or len(text) > _REPLY:
            return b""
    return text
