from __future__ import annotations

import pytest

from gatepost.protocols.message.submission import submitted

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
ID = b"Message-ID: <0a1b@mx.gate.example>\r\n"
GIVEN = b"Date: now\r\nMessage-ID: <1@x>\r\n"


@pytest.mark.parametrize(
    ("section", "completed"),
    [
        (GIVEN, GIVEN),
        (b"date\t:x\r\nMESSAGE-id :y\r\n", b"date\t:x\r\nMESSAGE-id :y\r\n"),
        (b"Subject: x\r\n", DATE + ID + b"Subject: x\r\n"),
        (b"Date: x\r\n", ID + b"Date: x\r\n"),
        (b"Message-ID: x\r\n", DATE + b"Message-ID: x\r\n"),
        (b"Resent-Date: x\r\nX-Message-ID: y\r\n", DATE + ID + b"Resent-Date: x\r\nX-Message-ID: y\r\n"),
        (b"Subject: x\r\n date: y\r\n", DATE + ID + b"Subject: x\r\n date: y\r\n"),
        (GIVEN + b"Bcc: a@b.example\r\n", GIVEN),
        (GIVEN + b"BCC : a@b.example,\r\n c@d.example\r\n\te@f.example\r\nTo: g\r\n h\r\n", GIVEN + b"To: g\r\n h\r\n"),
        (b"bcc:\r\n" + GIVEN + b"Resent-Bcc: a@b.example\r\nBcc: c@d.example\r\n", GIVEN),
        (GIVEN + b"X-Bcc: kept\r\nSubject: Bcc: kept\r\n", GIVEN + b"X-Bcc: kept\r\nSubject: Bcc: kept\r\n"),
        (b"", DATE + ID),
        (GIVEN + b"Bcc: a@b.example", GIVEN.removesuffix(b"\r\n")),
        (GIVEN + b"Subject: x", GIVEN + b"Subject: x"),
    ],
)
def test_what_is_added_and_removed(section: bytes, completed: bytes) -> None:
    assert submitted(section, queue_id="0a1b", hostname="mx.gate.example", now=0) == completed
