"""The alarm mail to the owner of a gateway (RFC 5322, RFC 3834) in their language, and the alarm webhook. Pure.

Called by `node.alarms`, which queues it with the null reverse-path. The same values always make the same bytes.

The webhook request of `node.alarm_post` is made here, too, and signed (Standard Webhooks 1.0: id, time and body under
HMAC-SHA256). The keys of its body are a contract (docs/monitoring.md).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, News, Post, Severity
from gatepost.language import ENGLISH, _, in_language, ngettext
from gatepost.protocols.message.header_text import shown_text
from gatepost.protocols.message.notice_mail import NoticeHead, notice_mail
from gatepost.sentences import in_zone, ours
from gatepost.texts import NN_
from gatepost.times import minute_text
from gatepost.values import copy_fields

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


_WIDTH: Final = 72
_SHOWN: Final = 40  # alarms in full; the command shows them all
_COUNTS: Final = {
    Severity.CRITICAL: NN_("%(num)s critical", "%(num)s critical"),
    Severity.ERROR: NN_("%(num)s error", "%(num)s errors"),
    Severity.WARNING: NN_("%(num)s warning", "%(num)s warnings"),
}


class Letter(msgspec.Struct, frozen=True):
    """The content of an alarm mail. standing: active alarms, most severe first. fresh: keys of those not mailed yet.

    cleared: alarms that are over. hostname: ours. to: addresses. now: seconds since 1970. message_id: without angle
    brackets. language: of the text. zone: that times are in.
    """

    hostname: str
    to: tuple[str, ...]
    message_id: str
    now: float
    standing: tuple[Alarm, ...]
    fresh: frozenset[str]
    cleared: tuple[Alarm, ...]
    language: str = ENGLISH
    zone: tzinfo = UTC


def subject_of(letter: Letter) -> str:
    """The subject of the mail: how many alarms, how severe, and the title of the most severe; or what is over."""
    with in_language(letter.language):
        if not letter.standing:
            return _("[gatepost %(host)s] all clear again", host=letter.hostname)
        if letter.cleared and not letter.fresh:
            worst = max(letter.cleared, key=lambda alarm: tuple(Severity).index(alarm.severity))
            return _("[gatepost %(host)s] resolved: %(title)s", host=letter.hostname, title=ours(worst.title))
        counts = Counter(alarm.severity for alarm in letter.standing)
        shown = ", ".join(ngettext(*_COUNTS[severity], counts[severity]) for severity in _COUNTS if counts[severity])
        first = next((alarm for alarm in letter.standing if alarm.key in letter.fresh), letter.standing[0])
        return f"[gatepost {letter.hostname}] {shown}: {ours(first.title)}"


def build_letter(letter: Letter) -> bytes:
    """The whole message."""
    head = copy_fields(NoticeHead, letter, name="gatepost", domain=letter.hostname, subject=subject_of(letter))
    with in_language(letter.language), in_zone(letter.zone):
        return notice_mail(head, _lines(letter))


def _lines(letter: Letter) -> Iterator[str]:
    yield from _wrapped(
        _(
            "The mail gateway %(host)s reports the following about its mail and TLS certificates:",
            host=letter.hostname,
        )
    )
    new = [alarm for alarm in letter.standing if alarm.key in letter.fresh]
    old = [alarm for alarm in letter.standing if alarm.key not in letter.fresh]
    for title, some in ((_("NEW"), new), (_("STILL ACTIVE"), old)):
        if some:
            yield from ("", title)
            yield from _account(some, letter.zone)
    if letter.cleared:
        yield from ("", _("RESOLVED"))
        for alarm in letter.cleared[:_SHOWN]:
            yield from _wrapped(ours(alarm.title), "  ")
    yield from ("", *_wrapped(_("`gatepost alarms` shows the active alarms.")))
    yield from _wrapped(
        _(
            "The gateway sends one such mail a day at most, and another at once when a critical alarm is raised, "
            "and when all critical alarms are over."
        )
    )


def _account(alarms: Sequence[Alarm], zone: tzinfo) -> Iterator[str]:
    for alarm in alarms[:_SHOWN]:
        yield ""
        yield from _wrapped(f"{_(str(alarm.severity).capitalize()).upper()}: {ours(alarm.title)}", "  ")
        yield from _wrapped(ours(alarm.detail), "  ")
        yield from _wrapped(f"{_('What to do:')} {ours(alarm.fix)}", "  ")
        yield from (f"    {piece}" for line in alarm.lines for piece in _cut(shown_text(line, 2000)))
        yield f"  {_('Since %(since)s', since=minute_text(alarm.since, zone))}"
    if len(alarms) > _SHOWN:
        yield from ("", f"  {_('and %(count)s more', count=len(alarms) - _SHOWN)}")


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of a paragraph; a long word such as a record for the zone stays whole."""
    wrapped = textwrap.wrap(
        shown_text(text, 2000),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [piece for line in wrapped for piece in _cut(line)]


def _cut(line: str) -> list[str]:
    """At most 900 octets a line (RFC 5322 section 2.1.1: 998)."""
    return [line[at : at + 225] for at in range(0, len(line), 225)] if len(line) > 225 else [line]
