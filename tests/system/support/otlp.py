"""A receiver of OpenTelemetry's traces on loopback: OTLP over HTTP, protobuf, as collectors take it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.served import HttpsServer, Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

PATH = "/v1/traces"


@dataclass(frozen=True)
class ReceivedSpan:
    """One span, with its attributes and those of who sent it as Python values. failed: by its status."""

    name: str
    kind: int
    trace: bytes
    id: bytes
    parent: bytes
    start: int
    end: int
    failed: bool
    said: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


class TraceReceiver(Served):
    """certificate: for HTTPS. status: of the answers, may be changed at any time. headers: of the posts, in order."""

    def __init__(self, certificate: Leaf | None = None, port: int = 0) -> None:
        self.status = 200
        self.headers: list[dict[str, str]] = []
        self.spans: list[ReceivedSpan] = []
        self.bodies = b""
        self.port = port or free_port()
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}{PATH}"
        self.certificate = certificate

    def _made(self) -> ThreadingHTTPServer:
        address, handler = ("127.0.0.1", self.port), _handler(self)
        if self.certificate is None:
            return ThreadingHTTPServer(address, handler)
        return HttpsServer(address, handler, self.certificate)

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of one name, in the order in which they came."""
        return [one for one in list(self.spans) if one.name == name]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """One post; the status of its answer."""
        self.headers.append(headers)
        if path != PATH or headers["content-type"] != "application/x-protobuf":
            return 404
        if self.status == 200:
            data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.bodies += data
            self.spans += _spans(ExportTraceServiceRequest.FromString(data))
        return self.status


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            one.name,
            one.kind,
            one.trace_id,
            one.span_id,
            one.parent_span_id,
            one.start_time_unix_nano,
            one.end_time_unix_nano,
            one.status.code == 2,
            one.status.message,
            {pair.key: _value(pair.value) for pair in one.attributes},
            {pair.key: _value(pair.value) for pair in of_resource.resource.attributes},
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for one in of_scope.spans
    ]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


def _handler(receiver: TraceReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
