"""The webhook request for alarms, signed (Standard Webhooks 1.0: id, time and body under HMAC-SHA256). Pure.

Called by `node.alarm_post`. The keys of the body are a contract (docs/monitoring.md).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from gatepost.analysis.alarms.alarm_state import News, Post


CONTENT_TYPE = "application/json"
LEAST_SECRET = 24
"""Bytes of a secret that make signing worth the while."""

_encode = msgspec.json.Encoder().encode


def post_body(hostname: str, post: Post) -> bytes:
    """The body of a post, the same bytes each time it is tried. hostname: ours."""
    return _encode({"gateway": hostname, "id": post.id, "at": post.at, "alarms": [_record(news) for news in post.news]})


def signed_headers(secret: bytes, post: Post, body: bytes, *, now: float) -> tuple[tuple[str, str], ...]:
    """The fields that prove who posts. A receiver refuses what is minutes old, so `now` is the time of this try."""
    stamp = str(int(now))
    signed = f"{post.id}.{stamp}.".encode() + body
    signature = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return ("Webhook-Id", post.id), ("Webhook-Timestamp", stamp), ("Webhook-Signature", f"v1,{signature}")


def _record(news: News) -> dict[str, Any]:
    alarm = news.alarm
    return {
        "event": str(news.event),
        "kind": str(alarm.kind),
        "severity": str(alarm.severity),
        "certificate": alarm.certificate or None,
        "about": alarm.about or None,
        "title": alarm.title,
        "detail": alarm.detail,
        "fix": alarm.fix,
        "lines": list(alarm.lines),
        "since": alarm.since,
    }
