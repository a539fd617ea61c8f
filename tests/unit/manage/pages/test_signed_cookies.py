from __future__ import annotations

import base64
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
    signed_cookies.remember(response, Flash("pass", "Connector «bank-out» was saved."), secure=secure)
    cookie = kept(response)
    assert signed_cookies.read({COOKIE: cookie.value}) == Flash("pass", "Connector «bank-out» was saved.")
    assert bool(cookie["secure"]) is secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    signed_cookies.forget(response)
    assert f"{COOKIE}=" in response.headers.getlist("set-cookie")[1]
    assert "Max-Age=0" in response.headers.getlist("set-cookie")[1]


def test_what_is_too_long_for_a_cookie_is_cut():
    response = Response()
    signed_cookies.remember(response, Flash("fail", "ü" * 5000), secure=True)
    assert len(response.headers["set-cookie"]) < 4096
    assert signed_cookies.read({COOKIE: kept(response).value}) == Flash("fail", "ü" * 500)


@pytest.mark.parametrize(
    "value", ["", "x", "ü", "AAAA", base64.urlsafe_b64encode(bytes(32) + b'["pass","your password, please"]').decode()]
)
def test_words_that_are_not_ours_are_not_said(value):
    assert signed_cookies.read({COOKIE: value}) is None


@pytest.mark.parametrize("body", [b"{}", b"\xff", b"", b'["pass"]'])
def test_words_that_are_no_message_are_not_said(body):
    assert (
        signed_cookies.read({COOKIE: base64.urlsafe_b64encode(signed_cookies._tag(COOKIE, body) + body).decode()})
        is None
    )


def test_nothing_was_said():
    assert signed_cookies.read({}) is None
