"""A receiver of alarms over HTTPS on loopback: refuses if it is told to, and checks signatures by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.served import HttpsServer, Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port


class WebhookReceiver(Served):
    """status: of the answers, may be changed at any time. tries: of all posts. taken: bodies that were answered 2xx.

    A post whose signature is wrong is answered 401, and its error is in `faults`.
    """

    def __init__(self, certificate: Leaf, secret: bytes) -> None:
        self.status = 204
        self.secret = secret
        self.tries = 0
        self.taken: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.port = free_port()
        self.certificate = certificate

    def _made(self) -> ThreadingHTTPServer:
        return HttpsServer(("127.0.0.1", self.port), _handler(self), self.certificate)

    def events(self, kind: str) -> list[str]:
        """What was told of alarms of one kind, in order."""
        return [one["event"] for body in list(self.taken) for one in body["alarms"] if one["kind"] == kind]

    def about(self, kind: str, event: str) -> set[str]:
        """What alarms of one kind were about of which this was told."""
        told = [one for body in list(self.taken) for one in body["alarms"]]
        return {one["about"] for one in told if (one["kind"], one["event"]) == (kind, event)}

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """One post; the status of its answer."""
        self.tries += 1
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(self.secret, signed, hashlib.sha256).digest()).decode()
        if headers["webhook-signature"] != f"v1,{expected}" or headers["content-type"] != "application/json":
            self.faults.append(f"{headers} {body!r}")
            return 401
        if self.status < 300:
            self.taken.append(json.loads(body))
        return self.status


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
