from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(app: Any, path: str = "/", method: str = "GET", **given: Any) -> Answered:
    """One request, without a server. headers: a dict. parts: of the body. client: address of the other side."""
    path, _, query = path.partition("?")
    parts: list[bytes] = list(given.get("parts", [given.get("body", b"")]))
    headers = {"host": "localhost:8443"} | given.get("headers", {})
    scope: dict[str, Any] = {
        "type": given.get("kind", "http"),
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": (given.get("client", "127.0.0.1"), 40000),
        "server": ("127.0.0.1", 8443),
        "scheme": "https",
    }
    if "state" in given:
        scope["state"] = given["state"]
    found, ended = Answered(0, {}, b""), list[bool]()

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        if ended:
            await asyncio.Event().wait()  # a client that waits for its answer
        ended.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}  # for who reads what was read already

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found.status = message["status"]
            found.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            found.body += message.get("body", b"")

    asyncio.run(app(scope, receive, send))
    found.state = scope.get("state", {})
    return found


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with what it was sent."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(name="ask")
def _ask() -> Any:
    return ask


@pytest.fixture(name="echo")
def _echo() -> Any:
    return echo
