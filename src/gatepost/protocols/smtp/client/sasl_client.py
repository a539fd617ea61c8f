"""The client's side of the SASL mechanisms by which the gateway logs in to a smart host (RFC 4954, RFC 4422).

Used by `mail.outbound.login`, one object for one log-in: `initial` with AUTH, then `respond` to each challenge, and
`complete` once the server said 235. No secret is in the text of an error. Whether a secret may be sent over a
connection at all is decided before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.protocols.smtp.scram import ScramClient

BY_PASSWORD: Final = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
"""Mechanisms with a password, the best first."""
BY_TOKEN: Final = ("OAUTHBEARER", "XOAUTH2")
"""Mechanisms with an access token, the best first."""

_BINDINGS: Final = ("tls-exporter", "tls-server-end-point")  # RFC 9266 section 2, RFC 5929 section 4


class SaslClient(Protocol):
    """One log-in. name: of the mechanism, as AUTH has it."""

    name: str

    def initial(self) -> bytes | None:
        """The initial response, None where the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge. It may take a second of CPU (SCRAM). Raises SaslError."""

    def complete(self) -> None:
        """Check the end after 235. Raises SaslError if the server did not prove what the mechanism demands."""


class PlainClient:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"

    def __init__(self, username: str, password: str) -> None:
        self._message = f"\0{saslprep(username)}\0{saslprep(password)}".encode()

    def initial(self) -> bytes:
        """All there is to say."""
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        """There is no challenge."""
        del challenge
        raise SaslError("PLAIN: the server asks for more than the mechanism has")

    def complete(self) -> None:
        """Nothing was promised."""


class LoginClient:
    """LOGIN (draft-murchison-sasl-login): two questions, whose words differ from server to server."""

    name = "LOGIN"

    def __init__(self, username: str, password: str) -> None:
        self._answers = [saslprep(password).encode(), saslprep(username).encode()]

    def initial(self) -> None:
        """The server asks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The name, then the password."""
        del challenge
        if not self._answers:
            raise SaslError("LOGIN: the server asks for more than a name and a password")
        return self._answers.pop()

    def complete(self) -> None:
        """Nothing was promised."""


class ScramMechanism:
    """SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): the server never sees the password."""

    def __init__(self, name: str, client: ScramClient) -> None:
        self.name = name
        self._client = client
        self._challenges = 0

    def initial(self) -> bytes:
        """client-first-message."""
        return self._client.first()

    def respond(self, challenge: bytes) -> bytes:
        """client-final-message, then nothing to server-final-message, which is verified."""
        self._challenges += 1
        if self._challenges == 1:
            return self._client.final(challenge)
        if self._challenges == 2:
            self._client.verify(challenge)
            return b""
        raise SaslError("SCRAM: the server asks for more than the mechanism has")

    def complete(self) -> None:
        """The server must have shown that it knows the password as well (RFC 5802 section 3)."""
        if not self._client.verified:
            raise SaslError("SCRAM: the server did not prove that it knows the password")


class TokenClient:
    """OAUTHBEARER (RFC 7628) and XOAUTH2, Google's and Microsoft's older form of it.

    error: what the server said of the token, "" if it took it; for us, without control characters.
    """

    def __init__(self, name: str, username: str, token: str, host: str, port: int) -> None:
        self.name = name
        self.error = ""
        if "\x01" in username or not token.isascii() or not token.isprintable():
            raise SaslError(f"{name}: the name or the token has a character that it may not have")
        if name == "XOAUTH2":
            self._message = f"user={username}\x01auth=Bearer {token}\x01\x01"
        else:
            whom = username.replace("=", "=3D").replace(",", "=2C")
            self._message = f"n,a={whom},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01"

    def initial(self) -> bytes:
        """All there is to say."""
        return self._message.encode()

    def respond(self, challenge: bytes) -> bytes:
        """A challenge is the error (RFC 7628 section 3.2.3); the reply follows once it is answered."""
        if self.error:
            raise SaslError(f"{self.name}: the server asks for more than the mechanism has")
        text = challenge.decode("utf-8", "replace")[:200]
        self.error = "".join(char if char.isprintable() else " " for char in text) or "refused without a reason"
        return b"" if self.name == "XOAUTH2" else b"\x01"

    def complete(self) -> None:
        """Nothing was promised."""


def choose(offered: str, allowed: Collection[str], bindings: Mapping[str, bytes]) -> str:
    """The best mechanism that the server offers and the connector allows, "" if there is none.

    offered: the parameters of AUTH in EHLO. allowed: names, the best first. bindings: of this TLS session; without one
    that is known here there is no -PLUS.
    """
    names = set(offered.upper().split())
    if binding_of(bindings) is None:
        names.discard("SCRAM-SHA-256-PLUS")
    return next((name for name in allowed if name in names), "")


def binding_of(bindings: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """The channel binding to use, with its type; None without one."""
    return next(((kind, bindings[kind]) for kind in _BINDINGS if bindings.get(kind)), None)


def password_client(
    name: str, username: str, password: str, *, nonce: str, offered: str, bindings: Mapping[str, bytes]
) -> SaslClient:
    """The client of a mechanism with a password. offered, bindings: as in `choose`. Raises SaslError."""
    if name == "PLAIN":
        return PlainClient(username, password)
    if name == "LOGIN":
        return LoginClient(username, password)
    binding = binding_of(bindings)
    if name == "SCRAM-SHA-256-PLUS":
        return ScramMechanism(name, ScramClient(username, password, nonce, binding))
    # "y": we could bind, and the server did not offer it; it finds out if somebody took that out (RFC 5802 section 6).
    could = binding is not None and "SCRAM-SHA-256-PLUS" not in offered.upper().split()
    return ScramMechanism(name, ScramClient(username, password, nonce, None, could_bind=could))
