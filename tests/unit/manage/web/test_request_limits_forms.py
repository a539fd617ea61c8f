from __future__ import annotations

import asyncio

import pytest

from gatepost.manage.web.request_limits import FormBody

FORM_TYPE = b"application/x-www-form-urlencoded; charset=utf-8"
FORM = {"content-type": FORM_TYPE.decode()}


def sent(ask, echo, body=b"", method="POST", path="/", headers=FORM):
    return ask(FormBody(echo), path, method, parts=[body[:3], body[3:]], headers=headers, state={})


def test_a_form_is_read(ask, echo):
    form = sent(ask, echo, b"name=ann&name=joe&empty=&text=a%2Bb+%C3%A9").state["form"]
    assert form.getlist("name") == ["ann", "joe"]
    assert (form["empty"], form["text"]) == ("", "a+b é")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 200),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"a", {"content-type": "multipart/form-data; boundary=x"}, 415),
        (b"a=%FF", FORM, 400),
        (b"\xff=1", FORM, 400),
        (b"&".join([b"a=1"] * 5001), FORM, 400),
    ],
)
def test_what_is_no_form_is_refused(ask, echo, body, headers, status):
    assert sent(ask, echo, body, headers=headers).status == status


def test_a_form_that_ends_early_is_not_acted_upon(echo):
    async def story():
        parts = [{"type": "http.request", "body": b"all=yes&dom", "more_body": True}, {"type": "http.disconnect"}]
        scope = {"type": "http", "method": "POST", "path": "/", "state": {}, "headers": [(b"content-type", FORM_TYPE)]}

        async def receive():
            return parts.pop(0)

        async def send(message):
            raise AssertionError(message)

        await FormBody(echo)(scope, receive, send)

    asyncio.run(story())


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/api/v1/x")])
def test_other_bodies_are_left_to_who_reads_them(ask, echo, method, path):
    answer = sent(ask, echo, b'{"a": 1}', method, path, {"content-type": "application/json"})
    assert answer.body == b'{"a": 1}'
    assert not answer.state["form"]
