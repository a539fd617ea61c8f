from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from starlette.responses import Response

from gatepost.manage.pages import signed_cookies


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
