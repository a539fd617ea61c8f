"""An OAuth authorization server on loopback: metadata and keys over HTTPS, and the tokens that it signs.

It signs with the library of keys alone, so that no code checks what it made itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.served import HttpsServer, Served

from gatepost.testing.pki import Key, Leaf, make_key
from gatepost.testing.process import free_port

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/keys"
AUTHORIZE = "/authorize"
TOKEN = "/token"
USER_INFO = "/userinfo"


class Issuer(Served):
    """certificate: of its HTTPS server, at 127.0.0.1. kind: of its keys, "rsa", "ecdsa" or "ed25519".

    pages: what it serves by path, made anew by `publish`. requests: paths asked for so far. stop() and start() keep the
    port: between them it is down. audience: whom its tokens are for unless they say otherwise.

    It also lets people in by OpenID Connect, without a page of its own: person has the claims of whoever comes, secret
    is that of the client. elsewhere: claims at its UserInfo endpoint, for whoever brings its access token. spoil: makes
    of the arguments of `token` other ones, as an attacker would.
    """

    def __init__(self, certificate: Leaf, kind: str = "rsa", *, audience: str = "smtp") -> None:
        self.certificate = certificate
        self.audience = audience
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.requests: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.endpoints = {
            "authorization_endpoint": f"{self.url}{AUTHORIZE}",
            "token_endpoint": f"{self.url}{TOKEN}",
            "userinfo_endpoint": f"{self.url}{USER_INFO}",
            "authorization_response_iss_parameter_supported": True,
        }
        self.person: dict[str, Any] = {}
        self.elsewhere: dict[str, Any] = {}
        self.access = secrets.token_urlsafe(16)
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self.secret = ""
        self.granted: dict[str, dict[str, str]] = {}
        self._number = 0
        self._kind = kind
        self.rotate()

    def rotate(self, *, publish: bool = True) -> None:
        """Make a key; from now on tokens are signed with it, and it alone is published."""
        self._number += 1
        self.kid = f"{self.port}-{self._number}"
        self.key: Key = make_key(self._kind)
        if publish:
            self.publish()

    def publish(self) -> None:
        metadata = {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"} | self.endpoints
        self.pages = {
            CONFIGURATION: json.dumps(metadata).encode(),
            KEYS: json.dumps({"keys": [{"kid": self.kid, "use": "sig", **_jwk(self.key)}]}).encode(),
        }

    def token(self, user: str, *, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for an hour. claims, header: over what it would hold; None takes a claim out. key: instead of its."""
        now = int(time.time())
        payload = {"iss": self.url, "aud": self.audience, "sub": "1", "email": user, "email_verified": True}
        payload |= {"scope": "smtp.send openid", "iat": now, "exp": now + 3600, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        key = key or self.key
        head = {"alg": _algorithm(key), "typ": "at+jwt", "kid": self.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(payload).encode())}"
        return f"{signed}.{_b64(_signature(key, signed.encode(), head['alg']))}"

    def _made(self) -> ThreadingHTTPServer:
        return HttpsServer(("127.0.0.1", self.port), _handler(self), self.certificate)


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            path, _, query = self.path.partition("?")
            if path == AUTHORIZE:
                self.send_response(303)
                self.send_header("Location", _authorized(issuer, dict(parse_qsl(query))))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path == USER_INFO:
                is_known = self.headers.get("Authorization") == f"Bearer {issuer.access}"
                self._answer(json.dumps(issuer.elsewhere).encode() if is_known else None, 401)
                return
            self._answer(issuer.pages.get(self.path), 404)

        def do_POST(self) -> None:
            issuer.requests.append(self.path)
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = _exchanged(issuer, dict(parse_qsl(sent)), self.headers.get("Authorization", ""))
            self._answer(None if found is None else json.dumps(found).encode(), 400)

        def _answer(self, body: bytes | None, otherwise: int) -> None:
            self.send_response(otherwise if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _authorized(issuer: Issuer, query: dict[str, str]) -> str:
    """Where the person is sent back to (RFC 6749 section 4.1.2, RFC 9207)."""
    code = secrets.token_urlsafe(16)
    issuer.granted[code] = query
    answer = {"code": code, "state": query["state"], "iss": issuer.url}
    return f"{query['redirect_uri']}?{urlencode(answer)}"


def _exchanged(issuer: Issuer, form: dict[str, str], credentials: str) -> dict[str, Any] | None:
    """What a code is worth, once: its client, its verifier (RFC 7636) and its address must be right."""
    asked = issuer.granted.pop(form.get("code", ""), None)
    if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
        return None
    challenge = _b64(hashlib.sha256(form["code_verifier"].encode()).digest())
    pair = f"{quote_plus(asked['client_id'])}:{quote_plus(issuer.secret)}"  # RFC 6749 section 2.3.1
    if challenge != asked["code_challenge"] or credentials != f"Basic {base64.b64encode(pair.encode()).decode()}":
        return None
    now = int(time.time())
    claims = {"aud": asked["client_id"], "nonce": asked["nonce"], "auth_time": now, "header": {"typ": "JWT"}}
    given = issuer.spoil(claims | {"scope": None} | issuer.person)
    return {"access_token": issuer.access, "token_type": "Bearer", "id_token": issuer.token("", **given)}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _number(value: int, octets: int = 0) -> str:
    return _b64(value.to_bytes(octets or (value.bit_length() + 7) // 8))


def _algorithm(key: Key) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256" if _is_ec(key) else "EdDSA"


def _is_ec(key: Key) -> bool:
    return isinstance(key, ec.EllipticCurvePrivateKey)


def _jwk(key: Key) -> dict[str, str]:
    """RFC 7518 section 6, RFC 8037 section 2."""
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        ec_numbers = key.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": _number(ec_numbers.x, 32), "y": _number(ec_numbers.y, 32)}
    return {"kty": "OKP", "crv": "Ed25519", "x": _b64(key.public_key().public_bytes_raw())}


def _signature(key: Key, data: bytes, algorithm: str) -> bytes:
    """RFC 7518 section 3. "none" has none; HS256 is the attack that takes the published key for the shared secret."""
    if algorithm == "none":
        return b""
    if algorithm == "HS256":
        return hmac.digest(_public_pem(key), data, "sha256")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(data)


def _public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
