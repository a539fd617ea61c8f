"""Stands between a gateway and Pebble, passes everything on, and has the bad nights that Pebble cannot have by itself.

Pebble writes its addresses with the Host that it is asked by, so that all of an order comes through here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from support.pebble import Pebble, context_of
from support.served import HttpsServer, Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

_PASSED = ("Content-Type", "Location", "Replay-Nonce", "Retry-After", "Link")


class Reply(NamedTuple):
    """What an authority answers."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def problem(status: int, code: str, detail: str, **headers: str) -> Reply:
    """An error in the form of RFC 8555 section 6.7."""
    body = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status}
    return Reply(status, [("Content-Type", "application/problem+json"), *headers.items()], json.dumps(body).encode())


class AcmeFront(Served):
    """authority: passed on to. leaf: its HTTPS certificate. url: its directory.

    answers: by the beginning of a path, what is answered instead of Pebble's answer. changes: by the beginning of a
    path, what becomes of Pebble's answer. asked: method and path of each request, but of those whose nonce Pebble
    refused, as it does with one in twenty: they are repeated.
    """

    def __init__(self, authority: Pebble, leaf: Leaf) -> None:
        self.authority = authority
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}/dir"
        self.answers: dict[str, Reply] = {}
        self.changes: dict[str, Callable[[bytes], bytes]] = {}
        self.asked: list[str] = []
        self.certificate = leaf

    def settings(self, **more: Any) -> dict[str, Any]:
        """The table [acme] for a gateway."""
        return self.authority.settings(**{"directory_url": self.url, **more})

    def count(self, path: str) -> int:
        """The number of requests to paths that begin so."""
        return sum(request.partition(" ")[2].startswith(path) for request in self.asked)

    def reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to one request."""
        request = f"{method} {path}"
        self.asked.append(request)
        for begin, instead in self.answers.items():
            if path.startswith(begin):
                return instead
        link = http.client.HTTPSConnection(
            "127.0.0.1", self.authority.port, timeout=20, context=context_of(self.authority.anchors)
        )
        try:
            link.request(method, path, body or None, {"Host": f"127.0.0.1:{self.port}", **headers})
            response = link.getresponse()
            content = response.read()
        finally:
            link.close()
        if b"acme:error:badNonce" in content:
            with contextlib.suppress(ValueError):  # a test has cleared the list meanwhile
                self.asked.remove(request)
        for begin, change in self.changes.items():
            if path.startswith(begin):
                content = change(content)
        sent = [(name, value) for name, value in response.headers.items() if name in _PASSED]
        return Reply(response.status, sent, content)

    def _made(self) -> ThreadingHTTPServer:
        return HttpsServer(("127.0.0.1", self.port), _handler(self), self.certificate)


def _handler(front: AcmeFront) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            sent = {name: self.headers[name] for name in ("Content-Type", "User-Agent") if self.headers[name]}
            try:
                status, headers, content = front.reply(self.command, self.path, sent, body)
            except OSError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _any  # noqa: N815 - names of the standard library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
