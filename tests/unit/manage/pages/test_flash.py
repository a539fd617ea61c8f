from __future__ import annotations

import base64
from http.cookies import SimpleCookie

import pytest
from starlette.responses import Response

from gatepost.manage.pages import flash
from gatepost.manage.pages.flash import COOKIE, Flash


def kept(response):
    return SimpleCookie(response.headers["set-cookie"])[COOKIE]


@pytest.mark.parametrize("secure", [True, False])
def test_what_was_said_is_read_once(secure):
    response = Response()
    flash.remember(response, Flash("pass", "Connector «bank-out» was saved."), secure=secure)
    cookie = kept(response)
    assert flash.read({COOKIE: cookie.value}) == Flash("pass", "Connector «bank-out» was saved.")
    assert bool(cookie["secure"]) is secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    flash.forget(response)
    assert f"{COOKIE}=" in response.headers.getlist("set-cookie")[1]
    assert "Max-Age=0" in response.headers.getlist("set-cookie")[1]


def test_what_is_too_long_for_a_cookie_is_cut():
    response = Response()
    flash.remember(response, Flash("fail", "ü" * 5000), secure=True)
    assert len(response.headers["set-cookie"]) < 4096
    assert flash.read({COOKIE: kept(response).value}) == Flash("fail", "ü" * 500)


@pytest.mark.parametrize(
    "value", ["", "x", "ü", "AAAA", base64.urlsafe_b64encode(bytes(32) + b'["pass","your password, please"]').decode()]
)
def test_words_that_are_not_ours_are_not_said(value):
    assert flash.read({COOKIE: value}) is None


@pytest.mark.parametrize("body", [b"{}", b"\xff", b"", b'["pass"]'])
def test_words_that_are_no_message_are_not_said(body):
    assert flash.read({COOKIE: base64.urlsafe_b64encode(flash._tag(body) + body).decode()}) is None


def test_nothing_was_said():
    assert flash.read({}) is None
