from __future__ import annotations

import pytest

from gatepost.manage.web.application import SecurityHeaders


def test_every_answer_says_what_a_page_may_do(ask, echo):
    headers = ask(SecurityHeaders(echo, strict=False)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("strict", [True, False])
def test_only_a_certificate_that_browsers_know_is_insisted_on(ask, echo, strict):
    assert ("strict-transport-security" in ask(SecurityHeaders(echo, strict=strict)).headers) is strict


def test_what_an_answer_says_itself_stays(ask):
    async def kept(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=9")]})
        await send({"type": "http.response.body", "body": b""})

    assert ask(SecurityHeaders(kept, strict=False)).headers["cache-control"] == "max-age=9"
