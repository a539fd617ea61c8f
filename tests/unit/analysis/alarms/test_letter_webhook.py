from __future__ import annotations

import base64
import hashlib
import hmac
import json

from gatepost.analysis.alarms.alarm import Alarm, AlarmEvent, Kind, News, Post, Severity
from gatepost.analysis.alarms.letter import post_body, signed_headers

ALARM = Alarm(Kind.PARTNER_FAILING, Severity.CRITICAL, "", "t\u202e", "d", "f", "contoso/bank", ("line",), since=5.0)
POST = Post("abc", 10.0, 10.0, (News(AlarmEvent.RAISED, ALARM), News(AlarmEvent.CLEARED, ALARM)))


def test_what_is_posted():
    body = json.loads(post_body("mx.example", POST))
    assert (body["gateway"], body["id"], body["at"]) == ("mx.example", "abc", 10.0)
    assert [one["event"] for one in body["alarms"]] == ["raised", "cleared"]
    assert body["alarms"][0] == {
        "event": "raised",
        "kind": "partner-failing",
        "severity": "critical",
        "certificate": None,
        "about": "contoso/bank",
        "title": "t\u202e",
        "detail": "d",
        "fix": "f",
        "lines": ["line"],
        "since": 5.0,
    }


def test_who_knows_the_secret_can_tell_it_from_another():
    body = post_body("mx.example", POST)
    headers = dict(signed_headers(b"s" * 24, POST, body, now=99.9))
    assert (headers["Webhook-Id"], headers["Webhook-Timestamp"]) == ("abc", "99")
    version, _, signature = headers["Webhook-Signature"].partition(",")
    expected = hmac.new(b"s" * 24, b"abc.99." + body, hashlib.sha256).digest()
    assert (version, base64.b64decode(signature)) == ("v1", expected)
