from __future__ import annotations

import gzip
import logging
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import Actor
from gatepost.manage.web.application import application
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage


def _page(request):
    state = request.app.state
    assert state.gateway.settings.server.hostname == "MX1.contoso.example"
    assert state.accounts.has_owner()
    return PlainTextResponse(f"{request.state.id} {request.method}")


def _broken(request):
    raise RuntimeError("a secret")


def _odd(request):
    raise LookupError


def _teapot(request):
    raise HTTPException(418, "short and stout", {"x-kind": "tea"})


async def _half(request):
    async def parts():
        yield b"first"
        raise RuntimeError("a secret")

    return StreamingResponse(parts())


def _long(request):
    return PlainTextResponse("word " * 1000)


def _events(request):
    return StreamingResponse(iter([b"data: word\n\n" * 1000]), media_type="text/event-stream")


# below /setup, as these are open to strangers
ROUTES = [
    Route("/setup", _page, methods=["GET", "POST"]),
    Route("/static/broken", _broken),
    Route("/static/odd", _odd),
    Route("/static/teapot", _teapot),
    Route("/static/half", _half),
    Route("/static/long", _long),
    Route("/static/events", _events),
]


@pytest.fixture
def app(tmp_path):
    admin = SimpleNamespace(chain="", names=("admin.contoso.example",))
    server = SimpleNamespace(hostname="MX1.contoso.example")
    gateway = SimpleNamespace(settings=SimpleNamespace(admin=admin, server=server))
    accounts = Accounts(Storage(SQLITE, tmp_path))
    accounts.add_user("ann", Role.OWNER, "a long enough passphrase", actor=Actor("root"))
    yield application(gateway, accounts, ROUTES, {LookupError: lambda *_: PlainTextResponse("odd", 404)})
    accounts.close()


def test_every_request_has_a_number(ask, app):
    answers = [ask(app, "/setup").text.split() for _ in range(2)]
    assert [words[1] for words in answers] == ["GET", "GET"]
    assert answers[0][0] != answers[1][0]


@pytest.mark.parametrize("host", ["mx1.contoso.example", "admin.contoso.example:8443", "localhost"])
def test_it_is_known_by_its_names(ask, app, host):
    assert ask(app, "/setup", headers={"host": host}).status == 200
    assert ask(app, "/setup", headers={"host": f"x.{host}"}).status == 421


@pytest.mark.parametrize("path", ["/setup", "/static/broken", "/static/teapot", "/static/none", "/trace"])
def test_every_answer_has_the_headers(ask, app, path):
    assert "default-src 'none'" in ask(app, path).headers["content-security-policy"]


def test_what_nobody_foresaw_is_in_the_log_alone(ask, app, caplog):
    with caplog.at_level(logging.ERROR):
        answer = ask(app, "/static/broken")
    assert answer.status == 500
    assert "secret" not in answer.text
    number = answer.text.rsplit("number ", 1)[1].split(".")[0]
    assert number in caplog.text
    assert "a secret" in caplog.text


def test_an_answer_that_has_begun_is_not_begun_again(ask, app, caplog):
    with pytest.raises(RuntimeError):
        ask(app, "/static/half")
    assert "a secret" in caplog.text


def test_what_a_page_raises_is_answered_by_who_knows_it(ask, app):
    assert (ask(app, "/static/odd").status, ask(app, "/static/odd").text) == (404, "odd")
    answer = ask(app, "/static/teapot")
    assert (answer.status, answer.headers["x-kind"]) == (418, "tea")
    assert "short and stout" in answer.text


def test_other_methods_are_told_which_there_are(ask, app):
    answer = ask(app, "/static/teapot", "HEAD")
    assert answer.status == 418
    answer = ask(app, "/static/teapot", "POST", headers={"sec-fetch-site": "same-origin"})
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


def test_nothing_but_http_is_answered(ask, app):
    assert ask(app, "/setup", kind="websocket").status == 0


@pytest.mark.parametrize(
    ("path", "accepted", "encoding"),
    [
        ("/static/long", "gzip, br", "gzip"),
        ("/static/long", "identity", None),
        ("/setup", "gzip", None),
        ("/static/events", "gzip", None),
    ],
)
def test_long_answers_are_compressed_for_who_can_read_them(ask, app, path, accepted, encoding):
    answer = ask(app, path, headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    if path == "/static/long":
        assert answer.headers["vary"] == "Accept-Encoding"
        plain = gzip.decompress(answer.body) if encoding else answer.body
        assert plain == b"word " * 1000
