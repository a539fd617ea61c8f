"""Microsoft Graph and the token endpoint of Microsoft Entra ID, as far as Microsoft's reference documents them.

A server of the tests over HTTPS, since there is no Graph to run: it takes what the reference takes (client credentials,
GET /v1.0/users and /v1.0/groups with $filter and the advanced query parameters) and refuses the rest with the codes
that it documents. It shares no code with gatepost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from support.served import HttpsServer, Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SECRET = "a~client-Secret.of_40~characters"

_TEXT = r"'((?:[^']|'')*)'"
_CLAUSE = re.compile(rf"proxyAddresses/any\(p:p eq {_TEXT} or p eq {_TEXT}\) or mail eq {_TEXT}")
_CLAUSES = 15


class GraphRequest(NamedTuple):
    """A request that came. found: how many objects it had in its answer."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    found: int


class Graph(Served):
    """users, groups: the proxyAddresses of each; their mail is the primary one (SMTP:).

    secret: that it takes. status, retry_after: of the next answers, 0 for what is asked. revoked: tokens that count no
    more. permitted: which lists the app may read.
    """

    def __init__(
        self,
        certificate: Leaf,
        users: Sequence[Sequence[str]],
        groups: Sequence[Sequence[str]] = (),
        *,
        secret: str = SECRET,
    ) -> None:
        self.objects: dict[str, Sequence[Sequence[str]]] = {"users": users, "groups": groups}
        self.secret, self.status, self.retry_after, self.permitted = secret, 0, "", {"users", "groups"}
        self.requests: list[GraphRequest] = []
        self.logins: list[dict[str, str]] = []
        self.revoked: set[str] = set()
        self.certificate = certificate
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"

    def token(self) -> str:
        """The one that was given last."""
        return f"eyJ-{len(self.logins)}-{'x' * 1500}"

    def _made(self) -> ThreadingHTTPServer:
        return HttpsServer(("127.0.0.1", self.port), _handler(self), self.certificate)


def _handler(graph: Graph) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            form = dict(_pairs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            graph.logins.append(form)
            self._say(*_login(graph, self.path, form, self.headers.get("Content-Type", "")))

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query, headers = parse_qs(parts.query, strict_parsing=True), dict(self.headers.items())
            status, content = _list(graph, parts.path, query, headers)
            graph.requests.append(GraphRequest(parts.path, query, headers, len(content.get("value", ()))))
            self._say(status, content)

        def _say(self, status: int, content: Mapping[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json;odata.metadata=minimal")
            self.send_header("Content-Length", str(len(body)))
            if status == 429 and graph.retry_after:
                self.send_header("Retry-After", graph.retry_after)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, values[0]) for name, values in parse_qs(text, strict_parsing=True).items()]


def _login(graph: Graph, path: str, form: dict[str, str], content_type: str) -> tuple[int, dict[str, Any]]:
    """The client credentials flow: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow."""
    if path != f"/{TENANT}/oauth2/v2.0/token" or content_type != "application/x-www-form-urlencoded":
        return 400, {"error": "invalid_request"}
    if form.get("grant_type") != "client_credentials" or form.get("scope") != f"{graph.url}/.default":
        return 400, {"error": "invalid_scope"}
    if (form.get("client_id"), form.get("client_secret")) != (CLIENT, graph.secret):
        return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    return 200, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": graph.token()}


def _list(graph: Graph, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """learn.microsoft.com/graph/api/user-list, group-list, and graph/aad-advanced-queries."""
    kind = path.removeprefix("/v1.0/")
    wanted = _wanted(query.get("$filter", [""])[0])
    if (refused := _refused(graph, kind, query, headers)) is not None:
        return refused
    if wanted is None:
        return 400, _error("Request_BadRequest")
    found = [number for number, addresses in enumerate(graph.objects[kind]) if wanted & _values(addresses)]
    value = [{"id": f"{kind}-{number}"} for number in found[:1]]
    return 200, {"@odata.context": f"{graph.url}/v1.0/$metadata#{kind}(id)", "@odata.count": len(found), "value": value}


def _refused(
    graph: Graph, kind: str, query: dict[str, list[str]], headers: dict[str, str]
) -> tuple[int, dict[str, Any]] | None:
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    advanced = headers.get("ConsistencyLevel") == "eventual" and query.get("$count") == ["true"]
    cases = [
        (401, "InvalidAuthenticationToken", not graph.logins or token != graph.token() or token in graph.revoked),
        (graph.status, "TooManyRequests" if graph.status == 429 else "UnknownError", graph.status),
        (404, "Request_ResourceNotFound", kind not in graph.objects),
        (403, "Authorization_RequestDenied", kind not in graph.permitted),
        (400, "Request_UnsupportedQuery", not advanced),
        (400, "Request_BadRequest", query.get("$select") != ["id"] or query.get("$top") != ["1"]),
    ]
    return next(((status, _error(code)) for status, code, applies in cases if applies), None)


def _wanted(text: str) -> set[str] | None:
    """The comparisons of a filter, None for one that is not understood or has too many."""
    wanted: set[str] = set()
    rest, clauses = text, 0
    while (match := _CLAUSE.match(rest)) is not None:
        first, second, mail = (value.replace("''", "'") for value in match.groups())
        wanted |= {f"p {first.lower()}", f"p {second.lower()}", f"mail {mail.lower()}"}
        rest, clauses = rest[match.end() :], clauses + 3
        if not rest:
            return wanted if clauses <= _CLAUSES else None
        if not rest.startswith(" or "):
            return None
        rest = rest.removeprefix(" or ")
    return None


def _values(addresses: Sequence[str]) -> set[str]:
    """What is compared of an object, without regard to case."""
    mail = next((address for address in addresses if address.startswith("SMTP:")), "")
    return {f"p {address.lower()}" for address in addresses} | {f"mail {mail.removeprefix('SMTP:').lower()}"}


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "-", "innerError": {"request-id": "0"}}}
