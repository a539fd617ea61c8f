"""The API without a server: an ASGI application with a gateway in tmp_path, called as a server would call it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from contextlib import closing
from functools import cache
from http import HTTPStatus
from typing import NamedTuple

import msgspec
import pytest
import tomlkit
from starlette.applications import Starlette
from starlette.middleware import Middleware

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.rest.openapi import statuses
from gatepost.manage.rest.serving import routes
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.declaration import UseCase, Visibility
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.changes import ConfigStore
from gatepost.store.sqlite.trace import write_events
from gatepost.store.storage import Storage

NOON = 1_795_521_600.0  # 2026-11-24T12:00:00Z
OWNER = Principal("ann", frozenset({Scope.OWNER}))
ROOT = Authority("REST Root")
NAME = "mx.gate.example"
_PARAMETER = re.compile(r"\{\w+(:path)?\}")


@cache
def _pattern(path):
    return re.compile(_PARAMETER.sub("[^/]+", path))


def example(route, function=lambda *_: {}, *fields, result=dict, doc="Things.", **options):
    """The endpoint of a use case that is no more than an example. fields: of its request, beside those of the path."""
    method, _, path = route.partition(" ")
    said = {field[0] for field in fields}
    named = [(name, str) for name in re.findall(r"{(\w+)", path) if name not in said]
    request = msgspec.defstruct("Request", [*named, *fields], kw_only=True)

    def things(context, request):
        return function(context, request)

    things.__doc__ = doc
    given = {"scope": Scope.READ, "visibility": Visibility.SEEN, "tag": "things"} | options
    return RestEndpoint(UseCase(things, method, path, hints={"request": request, "return": result}, **given))


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The name of the problem; fails where it is no problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["instance"].startswith("urn:uuid:")
        return self.json["type"].removeprefix("/api/v1/problems/")

    @property
    def paths(self):
        return [error["path"] for error in self.json["errors"]]


class _Who:
    """What `web` does in a gateway: it says who asks."""

    def __init__(self, app, api):
        self.app = app
        self.api = api

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            scope.setdefault("state", {})["principal"] = self.api.who
        await self.app(scope, receive, send)


class Api:
    """`call` is one request. who: as whom, None for nobody."""

    def __init__(self, gateway, endpoints, served=None):
        """served: the routes of these endpoints, where they are made already; 130 take as long as a request."""
        self.who = OWNER
        self.gateway = gateway
        self._endpoints = endpoints
        self._runner = asyncio.Runner()  # a loop for each call would take as long as the call
        self._app = Starlette(routes=served or routes(endpoints), middleware=[Middleware(_Who, api=self)])
        self._app.state.gateway = gateway
        self.accounts = self._app.state.accounts = Accounts(Storage(SQLITE, gateway.data.with_name("access")))

    def close(self):
        self._runner.close()
        self.accounts.close()

    def call(self, method, url, body=None, *, headers=(), chunks=None):
        """body: bytes, or a value that is sent as JSON. chunks: the body in pieces, without its length."""
        path, _, query = url.partition("?")
        fields = {"content-type": "application/json"} if body is not None or chunks else {}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if not chunks:
            fields["content-length"] = str(len(data))
        fields |= dict(headers)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "server": ("gate.example", 8443),
            "client": ("127.0.0.1", 50000),
            "root_path": "",
            "path": f"/api/v1{path}",
            "raw_path": f"/api/v1{path}".encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items() if value is not None],
        }
        answer = self._runner.run(self._exchange(scope, chunks or [data]))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            for one in self._endpoints:
                if one.case.method == method and _pattern(one.case.path).fullmatch(path):
                    assert answer.status in statuses(one), "the document does not say that it answers this"
        return answer

    async def _exchange(self, scope, chunks):
        pieces = [{"type": "http.request", "body": one, "more_body": True} for one in chunks]
        if pieces and pieces[-1]["body"] is not None:
            pieces[-1]["more_body"] = False
        else:
            pieces = [*pieces[:-1], {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return pieces.pop(0) if pieces else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self._app(scope, receive, send)
        start, *bodies = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Response(start["status"], headers, b"".join(one.get("body", b"") for one in bodies))


@pytest.fixture
def gateway(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n', encoding="utf-8")
    return Gateway(load(str(file), {}))


@pytest.fixture
def sealed(tmp_path):
    return sealed_in(tmp_path)


def sealed_in(folder, **more):
    """One with a master key, that trusts what `ROOT` issues; nothing answers where its DNS server should be.

    more: tables of its settings.
    """
    (folder / "master").touch(0o600)
    (folder / "master").write_bytes(bytes(range(32)))
    (folder / "root.pem").write_bytes(ROOT.certificate_pem)
    document = {
        "server": {"hostname": NAME, "data_dir": "data"},
        "store": {"master_key": f"file:{folder / 'master'}"},
        "tls": {"trust_anchors": "root.pem"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.2},
    }
    (folder / "gatepost.toml").write_text(tomlkit.dumps(document | more), encoding="utf-8")
    return Gateway(load(str(folder / "gatepost.toml"), {}))


@pytest.fixture
def api_of(gateway):
    """The API of some endpoints."""
    made = []

    def make(*endpoints):
        made.append(Api(gateway, endpoints))
        return made[-1]

    yield make
    for one in made:
        one.close()


RESOURCES = {
    "contoso": {
        "display_name": "Contoso",
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": f"{name}@contoso.example", "delivery": "maildir"} for name in ("ann", "bob", "eve")],
        "inbound_connector": [{"name": "bank in", "sender_domains": ["bank.example"], "require_tls": True}],
        "outbound_connector": [
            {
                "name": "bank/out",
                "recipient_domains": ["bank.example"],
                "smart_hosts": ["mx.bank.example"],
                "tls_settings": "certificate-validation",
            }
        ],
        "mail_flow_rule": [{"name": "secrets", "recipients": ["bank.example"], "require_tls": True}],
    },
    "fabrikam": {
        "display_name": "Fabrikam",
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "liz@fabrikam.example", "delivery": "maildir"}],
        "outbound_connector": [
            {"name": "secret-partner", "recipient_domains": ["hidden.example"], "smart_hosts": ["mx.hidden.example"]}
        ],
    },
}


@pytest.fixture(scope="session")
def world(tmp_path_factory, queued):
    """Two organizations, mail that waits and a trace: the data directory, and the ids of messages."""
    data = tmp_path_factory.mktemp("world") / "data"
    with closing(ConfigStore(data / "config.db")) as store:
        store.apply({"organization": RESOURCES}, author="ann", note="begin")
    ids = queued(
        data,
        {"contoso": ["joe@bank.example"], "sender": "ann@contoso.example"},
        {"contoso": ["joe@bank.example"], "sender": "bob@contoso.example"},
        {"fabrikam": ["kim@hidden.example"], "sender": "liz@fabrikam.example"},
    )
    ends = [
        ("contoso", "ann@contoso.example", "joe@bank.example"),
        ("contoso", "bob@contoso.example", "joe@bank.example"),
        ("fabrikam", "liz@fabrikam.example", "kim@hidden.example"),
    ]
    events = [
        TraceEvent(NOON + place, "RECEIVE", ids[place], organization, "originating", f"5e5{place}", sender, recipient)
        for place, (organization, sender, recipient) in enumerate(ends)
    ]
    write_events(data / "trace", "0", events)
    return data, ids


@pytest.fixture(scope="session")
def empty_accounts(tmp_path_factory):
    """The directory of a database of accounts in which nobody is."""
    folder = tmp_path_factory.mktemp("accounts") / "access"
    Accounts(Storage(SQLITE, folder)).close()
    return folder


@pytest.fixture
def api(gateway, world, empty_accounts):
    """The whole API of a copy of the world. ids: of messages, the last is fabrikam's."""
    from gatepost.manage.rest.routes import ENDPOINTS, ROUTES  # noqa: PLC0415 - other tests of this directory need none of it

    data, ids = world
    shutil.copytree(data, gateway.data)
    shutil.copytree(empty_accounts, gateway.data.with_name("access"))
    with closing(Api(gateway, ENDPOINTS, ROUTES)) as found:
        found.ids = ids
        yield found
