"""The gallery of the admin centre's components, served by uvicorn on a free port: no gateway is behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.pages import static_files
from gatepost.manage.pages.rendering import event, fragment, link, render, see_other
from gatepost.testing.process import free_port, wait_until

ENDED: list[str] = []  # streams that were read to their end
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
NOON = 1_795_651_200.0  # 2026-11-26 00:00Z


class Policy:
    """Answers with the headers that the admin centre has, and lets everybody be ann."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        if scope["type"] == "http":
            state = scope.setdefault("state", {})
            state["csrf"] = "token"
            state["principal"] = Principal("ann", ROLES[Role.OWNER], frozenset({"contoso", "fabrikam"}))
        await self.app(scope, receive, with_policy)


def gallery(request: Request) -> Response:
    """Every component, with contents that do not change."""
    if request.method == "POST":
        return see_other(request, "/gallery", "Connector bank-out was saved.")
    return render(
        request,
        "gallery.html",
        block="rows",
        connectors=CONNECTORS,
        tasks=TASKS,
        events=EVENTS,
        days=DAYS,
        live=link("/live") if "live" in request.query_params else "",
        errors={} if "calm" in request.query_params else ERRORS,
    )


def live(request: Request) -> Response:
    """The tasks one after the other: each of them passes."""

    def steps() -> Iterator[bytes]:
        for done in range(len(TASKS) + 1):
            tasks = [{**one, "level": "pass" if at < done else "waiting"} for at, one in enumerate(TASKS)]
            yield event(fragment(request, "progress.html", "tasks", tasks=tasks))
        yield event("", "done")
        ENDED.append(request.url.path)

    return StreamingResponse(steps(), media_type="text/event-stream")


def bare(request: Request) -> Response:
    """An error page for somebody who is not logged in."""
    del request.state.principal
    return render(
        request,
        "error.html",
        404,
        heading="This page does not exist",
        text="Nothing is at this address.",
        advice="Check the address.",
        errors=(),
        is_of_form=False,
    )


CONNECTORS = [
    ("bank-out", "pass", "bank.example", "domain-validation", NOON - 4000, 12408),
    ("clinic-out", "warn", "clinic.example", "encryption-only", NOON - 86400 * 3, 310),
    ("old-partner", "fail", "an-unusually-long-partner-name.example", "certificate-validation", NOON - 60, 0),
    ("rehearsed", "unknown", "city.example", "dane", None, 77),
]
TASKS = [
    {
        "key": "resolve",
        "level": "pass",
        "title": "Find the mail servers",
        "took": 0.021,
        "text": "mx1.bank.example, mx2.bank.example; signed by DNSSEC.",
    },
    {
        "key": "tls",
        "level": "fail",
        "title": "Protect the connection",
        "took": 0.2,
        "text": "The certificate bears mail.bank.example, not mx1.bank.example.",
        "advice": "Ask bank.example for a certificate with the name mx1.bank.example, or set tls_domain.",
        "raw": "> STARTTLS\n< 220 2.0.0 go ahead\n> (TLSv1.3 TLS_AES_256_GCM_SHA384)",
        "raw_title": "SMTP transcript with mx1.bank.example (192.0.2.1:25)",
    },
    {"key": "send", "level": "running", "title": "Send a test message"},
    {"key": "report", "level": "waiting", "title": "Look for the answer"},
]
ERRORS = {"tls_domain": "must be a host name such as mx.partner.example", "mode": "choose one"}
EVENTS = [
    {
        "level": "info",
        "when": NOON,
        "title": "Received",
        "facts": [("From", "192.0.2.1"), ("Protection", "TLS 1.3, verified")],
    },
    {
        "level": "warn",
        "when": NOON + 2,
        "title": "Deferred",
        "text": "mx1.bank.example did not offer STARTTLS; bank-out requires it.",
        "raw": "<- 250 SIZE 1000",
    },
    {"level": "pass", "when": NOON + 302, "title": "Delivered", "text": "250 2.0.0 queued as 4F2"},
]
DAYS = [(NOON - 86400 * back, 400 + 13 * (back % 5), 300 + 7 * (back % 3), 90 - back, back % 4) for back in range(14)]

APP = Starlette(
    routes=[
        Route("/gallery", gallery, methods=["GET", "POST"]),
        Route("/bare", bare),
        Route("/live", live),
        *static_files.ROUTES,
    ],
    middleware=[Middleware(Policy)],
)


class Gallery:
    """Serves it from a thread while entered. url: of the server."""

    def __enter__(self) -> Self:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = uvicorn.Server(
            uvicorn.Config(APP, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the gallery is served")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
