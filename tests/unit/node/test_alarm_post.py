from __future__ import annotations

import asyncio

import pytest

from gatepost.analysis.alarms.alarm import Alarm, AlarmEvent, Kind, News, Post, Severity
from gatepost.net.lookups.http import HttpFailed, HttpResponse
from gatepost.node.alarm_post import AlarmPost, webhook_secret
from gatepost.pki.certificates.vault import VaultError

SECRET = "a secret of thirty-two octets !!"
POST = Post("id", 1.0, 1.0, (News(AlarmEvent.RAISED, Alarm(Kind.QUEUE_AGE, Severity.ERROR, "", "t", "d", "f")),))


class Client:
    """Answers as it is told, and keeps what was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    async def fetch(self, request):
        self.asked.append(request)
        if isinstance(self.answer, HttpFailed):
            raise self.answer
        return self.answer


def send(home, answer, **fields):
    file = home.path / "secret"
    file.touch(0o600)
    file.write_text(f"{SECRET}\n")
    given = {"webhook": "https://hooks.example/x", "webhook_secret": f"file:{file}", **fields}
    client = Client(answer)
    post = AlarmPost(home.settings(alarms=given), client)
    assert post.wanted
    return asyncio.run(post.send(POST, now=5.0)), client.asked


ANSWERS = [
    (HttpResponse(b"", "", ""), True),
    (HttpFailed("status 204", temporary=False, status=204), True),
    (HttpFailed("status 503", temporary=True, status=503), False),
    (HttpFailed("no answer", temporary=True), False),
]


@pytest.mark.parametrize(("answer", "taken"), ANSWERS)
def test_what_the_receiver_says(home, answer, taken, caplog):
    found, (request,) = send(home, answer)
    assert found is taken
    assert ("try 1" in caplog.text) is not taken
    assert (request.url, request.private, request.redirects) == ("https://hooks.example/x", False, 0)
    assert dict(request.fields)["Webhook-Timestamp"] == "5"
    assert request.body.startswith(b'{"gateway":"mx.gate.example","id":"id"')
    assert SECRET not in f"{caplog.text}{request}"


def test_a_secret_that_is_gone_is_said_and_nothing_is_posted(home, caplog):
    found, asked = send(home, HttpResponse(b"", "", ""), webhook_secret="env:NOWHERE_AT_ALL")
    assert (found, asked) == (False, [])
    assert "alarms are not posted: env:NOWHERE_AT_ALL" in caplog.text


def test_a_short_secret_is_refused(tmp_path):
    (tmp_path / "s").touch(0o600)
    (tmp_path / "s").write_text("short\n")
    with pytest.raises(VaultError, match=r"has 5 bytes, 24 or more are needed; make one with: .*openssl rand"):
        webhook_secret(f"file:{tmp_path / 's'}")
    with pytest.raises(VaultError, match=r"webhook secret /nowhere: No such file.*make one with"):
        webhook_secret("file:/nowhere")


def test_without_an_address_there_is_no_webhook(home):
    assert not AlarmPost(home.settings(), Client(None)).wanted
