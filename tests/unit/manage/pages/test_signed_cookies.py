from __future__ import annotations

import base64
import time
from http.cookies import SimpleCookie
from types import SimpleNamespace

import msgspec
import pytest
from starlette.responses import Response

from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.signed_cookies import COOKIE, Flash


class Ticket(msgspec.Struct):
    word: str


def given(name="__Host-one"):
    answer = Response()
    signed_cookies.give(answer, name, Ticket("open"))
    head = answer.headers["set-cookie"]
    for part in ("HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=600"):
        assert part in head
    return head.partition("=")[2].partition(";")[0].strip('"')


def shown(value, name="__Host-one"):
    return signed_cookies.shown(SimpleNamespace(cookies={name: value}), name, Ticket)


def test_what_we_gave_is_known_again():
    assert shown(given()) == Ticket("open")


@pytest.mark.parametrize(
    "spoil", [lambda _: "", lambda value: value[:-4] + "AAAA", lambda _: "é", lambda _: "a", str.lower]
)
def test_nobody_else_makes_one(spoil):
    assert shown(spoil(given())) is None


def test_one_is_not_taken_for_another():
    assert shown(given("__Host-two")) is None


def test_it_is_forgotten():
    answer = Response()
    signed_cookies.forget(answer, "__Host-one")
    assert "Max-Age=0" in answer.headers["set-cookie"]


def kept(response):
    return SimpleCookie(response.headers["set-cookie"])[COOKIE]


@pytest.mark.parametrize("secure", [True, False])
def test_what_was_said_is_read_once(secure):
    response = Response()
    signed_cookies.remember(response, Flash("pass", "Connector «bank-out» was saved."), "ann", secure=secure)
    cookie = kept(response)
    assert signed_cookies.read({COOKIE: cookie.value}, "ann") == Flash("pass", "Connector «bank-out» was saved.")
    assert bool(cookie["secure"]) is secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    signed_cookies.forget(response)
    assert f"{COOKIE}=" in response.headers.getlist("set-cookie")[1]
    assert "Max-Age=0" in response.headers.getlist("set-cookie")[1]


def test_what_is_too_long_for_a_cookie_is_cut():
    response = Response()
    signed_cookies.remember(response, Flash("fail", "ü" * 5000), "", secure=True)
    assert len(response.headers["set-cookie"]) < 4096
    assert signed_cookies.read({COOKIE: kept(response).value}, "") == Flash("fail", "ü" * 500)


@pytest.mark.parametrize(
    "value", ["", "x", "ü", "AAAA", base64.urlsafe_b64encode(bytes(32) + b'["pass","your password, please"]').decode()]
)
def test_words_that_are_not_ours_are_not_said(value):
    assert signed_cookies.read({COOKIE: value}, "") is None


@pytest.mark.parametrize("user", ["tim", "", "ANN", "ann\0"])
def test_nobody_else_is_told(user):
    assert signed_cookies.read({COOKIE: said_to("ann")}, user) is None


def said_to(user):
    response = Response()
    signed_cookies.remember(response, Flash("pass", "Saved."), user, secure=True)
    return kept(response).value


def test_after_its_time_it_is_not_said_and_no_ticket_known(monkeypatch):
    """A browser may keep a cookie for longer than it was told to."""
    flash, ticket, now = said_to("ann"), given(), time.monotonic()
    for seconds, is_said, is_shown in ((59, True, True), (61, False, True), (599, False, True), (601, False, False)):
        monkeypatch.setattr(signed_cookies.time, "monotonic", lambda at=now + seconds: at)
        assert (signed_cookies.read({COOKIE: flash}, "ann") is not None) is is_said
        assert (shown(ticket) is not None) is is_shown


@pytest.mark.parametrize(
    "body", [b"{}", b"\xff", b"", b'["pass"]', b"9999999999 {}", b'9999999999 ["pass"]', b'["pass","x"]']
)
def test_words_that_are_no_message_are_not_said(body):
    value = base64.urlsafe_b64encode(signed_cookies._tag(COOKIE, body, "ann") + body).decode()
    assert signed_cookies.read({COOKIE: value}, "ann") is None


def test_nothing_was_said():
    assert signed_cookies.read({}, "ann") is None
