"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides (RFC 5802, RFC 7677), octets in and out.

The server's side is driven by `mail.inbound.login`: `first`, then `challenge` with the verifier of whoever that named,
then `final`. The server keeps a verifier, from which neither the password nor a log-in can be made. The client's side
is used by `protocols.smtp.client.sasl_client`. Nonces and salts are parameters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.values import RedactedStruct

ITERATIONS: Final = 4096
"""The minimum of RFC 7677 section 4; the throttle, and TLS around it, are what really slows guessing."""

_MOST_ITERATIONS: Final = 1_000_000  # some 0.4 s of CPU; whoever asks for more wants to keep us busy
_MESSAGE_OCTETS = 4096
_SALT_OCTETS = 16
# "," and "=" are written =2C and =3D, and no "=" stands for anything else (RFC 5802 section 5.1).
_NAME = re.compile(r"(?:[^=,\0]|=2C|=3D)+")
_FIRST = re.compile(
    r"(?P<flag>n|y|p=[A-Za-z0-9.-]+),(?:a=(?P<authzid>[^,\0]+))?,(?P<bare>n=(?P<name>[^,]+),r=(?P<nonce>[!-+\x2d-~]+)(?:,.*)?)"
)
_FINAL = re.compile(
    r"(?P<bare>c=(?P<binding>[A-Za-z0-9/+=]+),r=(?P<nonce>[!-+\x2d-~]+)(?:,[^,]+)*?),p=(?P<proof>[A-Za-z0-9/+=]+)"
)

_SERVER_FIRST = re.compile(
    r"r=(?P<nonce>[!-+\x2d-~]+),s=(?P<salt>[A-Za-z0-9/+=]+),i=(?P<count>[1-9][0-9]{0,8})(?:,.*)?"
)
_SERVER_FINAL = re.compile(r"(?:v=(?P<signature>[A-Za-z0-9/+=]+)|e=(?P<error>[^,]*))(?:,.*)?")


class Verifier(RedactedStruct, frozen=True):
    """The data of a password that the server stores (RFC 5802 section 3). All but `iterations` are octets."""

    REDACTED = ("stored_key", "server_key")

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def make_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """The verifier of a password. Raises SaslError for one that cannot be written (RFC 4013)."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    return Verifier(salt, iterations, _digest(_mac(salted, b"Client Key")), _mac(salted, b"Server Key"))


def unknown_verifier(name: str, secret: bytes, iterations: int = ITERATIONS) -> Verifier:
    """Make the verifier that stands in for a name without an account: always the same, and no password fits.

    secret: the server's own, never changed, so that asking twice does not tell it from a real one.
    """
    salt = _mac(secret, b"salt\0" + name.encode())[:_SALT_OCTETS]
    return Verifier(
        salt, iterations, _mac(secret, b"stored\0" + name.encode()), _mac(secret, b"server\0" + name.encode())
    )


class ScramServer:
    """One exchange. name: who wants to be known, after `first`; authzid: as whom, "" for the same.

    bindings: what each type of channel binding is on this connection, by name. plus: whether the mechanism that the
    client chose is the one with channel binding. nonce: ours, printable and never used again.
    """

    __slots__ = (
        "_bindings",
        "_challenge",
        "_client_bare",
        "_header",
        "_nonce",
        "_plus",
        "_type",
        "_verifier",
        "authzid",
        "name",
    )

    def __init__(self, nonce: str, bindings: Mapping[str, bytes], *, plus: bool) -> None:
        self._nonce = nonce
        self._bindings = bindings
        self._plus = plus
        self._type = ""
        self._header = ""
        self._client_bare = ""
        self._challenge = ""
        self._verifier: Verifier | None = None
        self.name = ""
        self.authzid = ""

    def first(self, message: bytes) -> None:
        """Read client-first-message. Raises SaslError."""
        text = _text(message)
        match = _FIRST.fullmatch(text)
        if match is None or not _NAME.fullmatch(match["name"]):
            raise SaslError("SCRAM client-first-message is malformed")
        self._check_flag(match["flag"])
        self.name = _unescaped(match["name"])
        if match["authzid"]:
            if not _NAME.fullmatch(match["authzid"]):
                raise SaslError("SCRAM authzid is malformed")
            self.authzid = _unescaped(match["authzid"])
        self._client_bare = match["bare"]
        self._header = text[: match.start("bare")]
        self._nonce = match["nonce"] + self._nonce

    def _check_flag(self, flag: str) -> None:
        if self._plus != flag.startswith("p="):
            raise SaslError("SCRAM channel binding flag does not fit the mechanism")
        if flag == "y" and self._bindings:
            # The client could bind, and was told that we cannot: somebody took -PLUS out of the offer (section 6).
            raise SaslError("SCRAM client was shown no channel binding, though it is offered: a downgrade")
        self._type = flag[2:]
        if self._plus and not self._bindings.get(self._type):
            raise SaslError(f"SCRAM channel binding type {self._type[:40]} is not available here")

    def challenge(self, verifier: Verifier) -> bytes:
        """server-first-message, for the verifier of `name`."""
        self._verifier = verifier
        salt = base64.b64encode(verifier.salt).decode()
        self._challenge = f"r={self._nonce},s={salt},i={verifier.iterations}"
        return self._challenge.encode()

    def final(self, message: bytes) -> bytes | None:
        """server-final-message if client-final-message proves the password, None if it does not. Raises SaslError."""
        match = _FINAL.fullmatch(_text(message))
        if match is None or self._verifier is None:
            raise SaslError("SCRAM client-final-message is malformed")
        expected = self._header.encode() + self._bindings.get(self._type, b"")
        if not hmac.compare_digest(_octets(match["binding"]), expected):
            raise SaslError("SCRAM channel binding does not match: an attacker may be in between")
        if not hmac.compare_digest(match["nonce"], self._nonce):
            raise SaslError("SCRAM nonce is not the one of this exchange")
        said = f"{self._client_bare},{self._challenge},{match['bare']}".encode()
        signature = _mac(self._verifier.stored_key, said)
        proof = _octets(match["proof"])
        if len(proof) != len(signature):
            raise SaslError("SCRAM proof has a wrong length")
        client_key = bytes(number ^ other for number, other in zip(proof, signature, strict=True))
        if not hmac.compare_digest(_digest(client_key), self._verifier.stored_key):
            return None
        return b"v=" + base64.b64encode(_mac(self._verifier.server_key, said))


class ScramClient:
    """One log-in of ours. nonce: fresh, of printable characters without ",".

    binding: type and octets for -PLUS, None without. could_bind: we have a binding, and the server offers no -PLUS.
    verified: the server has proved that it knows the password. Raises SaslError for a name or password that cannot be
    written.
    """

    def __init__(
        self, name: str, password: str, nonce: str, binding: tuple[str, bytes] | None, *, could_bind: bool = False
    ) -> None:
        self.verified = False
        self._password = saslprep(password)
        self._nonce = nonce
        self._header = f"p={binding[0]},," if binding else "y,," if could_bind else "n,,"
        self._bound = binding[1] if binding else b""
        escaped = saslprep(name).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={escaped},r={nonce}"
        self._signature: bytes | None = None

    def first(self) -> bytes:
        """client-first-message."""
        return (self._header + self._bare).encode()

    def final(self, message: bytes) -> bytes:
        """client-final-message for server-first-message. Takes as long as the server's iterations. Raises SaslError."""
        text = _text(message)
        match = _SERVER_FIRST.fullmatch(text)
        if match is None:
            raise SaslError("SCRAM server-first-message is malformed")
        if not match["nonce"].startswith(self._nonce) or match["nonce"] == self._nonce:
            raise SaslError("SCRAM nonce of the server does not begin with ours, or adds nothing to it")
        iterations = int(match["count"])
        if not ITERATIONS <= iterations <= _MOST_ITERATIONS:
            raise SaslError(
                f"SCRAM server asks for {iterations} iterations; {ITERATIONS} to {_MOST_ITERATIONS} will do"
            )
        salted = _salted(self._password, _octets(match["salt"]), iterations)
        bound = base64.b64encode(self._header.encode() + self._bound).decode()
        bare = f"c={bound},r={match['nonce']}"
        said = f"{self._bare},{text},{bare}".encode()
        key = _mac(salted, b"Client Key")
        proof = bytes(octet ^ other for octet, other in zip(key, _mac(_digest(key), said), strict=True))
        self._signature = _mac(_mac(salted, b"Server Key"), said)
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, message: bytes) -> None:
        """Check server-final-message. Raises SaslError if the server does not know the password either."""
        match = _SERVER_FINAL.fullmatch(_text(message))
        if match is None or self._signature is None:
            raise SaslError("SCRAM server-final-message is malformed")
        if match["signature"] is None:
            raise SaslError(f"SCRAM server refused: {ascii(match['error'][:40])[1:-1]}")
        if not hmac.compare_digest(_octets(match["signature"]), self._signature):
            raise SaslError("SCRAM signature of the server is wrong: it does not know the password")
        self.verified = True


@lru_cache(16)
def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    """SaltedPassword (RFC 5802 section 3), kept, as a server sends the same salt for each log-in of a name."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _text(message: bytes) -> str:
    if len(message) > _MESSAGE_OCTETS:
        raise SaslError("SCRAM message is too long")
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("SCRAM message is not UTF-8") from None


def _unescaped(name: str) -> str:
    return saslprep(name.replace("=2C", ",").replace("=3D", "="))


def _octets(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode(), strict_mode=True)
    except binascii.Error:
        raise SaslError("SCRAM value is not base64") from None


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _digest(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()
