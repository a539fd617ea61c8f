from __future__ import annotations

import re
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.received import received_field, with_protocol
from gatepost.protocols.tls.facts import TlsFacts

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "", resumed=False, server_name="")
PLAIN: dict[str, Any] = {
    "hello": "mail.a.example",
    "peer_ip": "192.0.2.7",
    "by": "mx1.b.example",
    "greeted_with": "EHLO",
    "smtputf8": False,
    "tls": None,
    "queue_id": "7f3a9c01",
    "recipient": "b@b.example",
    "now": 1795536000.25,
}
DATE = "Tue, 24 Nov 2026 16:00:00 +0000"

# name: (what differs from PLAIN, the lines of the field)
FIELDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plain": (
        {},
        ["from mail.a.example ([192.0.2.7])", "by mx1.b.example with ESMTP id 7f3a9c01", f"for <b@b.example>; {DATE}"],
    ),
    "TLS": (
        {"tls": TLS},
        [
            "from mail.a.example ([192.0.2.7])",
            "by mx1.b.example with ESMTPS (version=TLSv1.3, cipher=TLS_AES_256_GCM_SHA384,",
            "group=X25519MLKEM768) id 7f3a9c01",
            f"for <b@b.example>; {DATE}",
        ],
    ),
    "TLS without a group": (
        {"tls": TlsFacts("TLSv1.2", "X", "", "", resumed=False, server_name="")},
        [
            "from mail.a.example ([192.0.2.7])",
            "by mx1.b.example with ESMTPS (version=TLSv1.2, cipher=X) id 7f3a9c01",
            f"for <b@b.example>; {DATE}",
        ],
    ),
    "several recipients": (
        {"recipient": ""},
        ["from mail.a.example ([192.0.2.7])", "by mx1.b.example with ESMTP id 7f3a9c01;", DATE],
    ),
    "no queue id": (
        {"queue_id": "", "recipient": ""},
        ["from mail.a.example ([192.0.2.7])", "by mx1.b.example with ESMTP;", DATE],
    ),
    "IPv6 and an address literal": (
        {"hello": "[IPv6:2001:db8::1]", "peer_ip": "2001:db8::1", "greeted_with": "HELO"},
        [
            "from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])",
            "by mx1.b.example with SMTP id 7f3a9c01",
            f"for <b@b.example>; {DATE}",
        ],
    ),
    "SMTPUTF8": (
        {"smtputf8": True, "recipient": "\u0436@b.example"},
        [
            "from mail.a.example ([192.0.2.7])",
            "by mx1.b.example with UTF8SMTP id 7f3a9c01",
            f"for <\u0436@b.example>; {DATE}",
        ],
    ),
    "long names are folded": (
        {"hello": "h" * 60, "by": "b" * 70},
        [
            f"from {'h' * 60}",
            "([192.0.2.7])",
            f"by {'b' * 70}",
            "with ESMTP id 7f3a9c01",
            f"for <b@b.example>; {DATE}",
        ],
    ),
}

# hello, peer and by that try to end the field or the line
HOSTILE = [
    "",
    "a\r\nX-Evil: yes",
    "a\n\nbody",
    "a\0b",
    "a (comment",
    "a) by evil",
    "gr\u00fcn",
    "\ud800",
    "x" * 5000,
    ";",
    "<>",
]


@pytest.mark.parametrize("name", FIELDS)
def test_field(name: str) -> None:
    changes, lines = FIELDS[name]
    field = received_field(**{**PLAIN, **changes})
    assert field.decode() == "Received: " + "\r\n\t".join(lines) + "\r\n"
    assert all(len(line.decode()) <= 78 for line in field.split(b"\r\n"))


@pytest.mark.parametrize(
    ("greeted_with", "tls", "smtputf8", "protocol"),
    [
        ("HELO", False, False, "SMTP"),
        ("HELO", True, True, "SMTP"),
        ("", False, False, "SMTP"),
        ("EHLO", False, False, "ESMTP"),
        ("EHLO", True, False, "ESMTPS"),
        ("EHLO", False, True, "UTF8SMTP"),
        ("EHLO", True, True, "UTF8SMTPS"),
        ("LHLO", False, False, "LMTP"),
        ("LHLO", True, False, "LMTPS"),
        ("LHLO", False, True, "UTF8LMTP"),
        ("LHLO", True, True, "UTF8LMTPS"),
    ],
)
def test_protocols_are_the_registered_ones(greeted_with: str, tls: bool, smtputf8: bool, protocol: str) -> None:
    assert with_protocol(greeted_with, tls=tls, smtputf8=smtputf8) == protocol


@pytest.mark.parametrize(
    "recipient",
    [
        "b@b.example\r\nX: y",
        "b\0@b.example",
        "<b@b.example>",
        '"a b"@b.example',
        "\u0436@b.example",
        "a(b@c",
        "x" * 513,
        "\ud800@b",
    ],
)
def test_a_path_that_cannot_stand_there_is_left_out(recipient: str) -> None:
    assert b"for <" not in received_field(**{**PLAIN, "recipient": recipient})


def check(field: bytes) -> None:
    assert field.endswith(b"\r\n")
    assert field.count(b"\r") == field.count(b"\n") == field.count(b"\r\n")
    lines = field.decode().removesuffix("\r\n").split("\r\n")
    assert all(line.startswith("\t") for line in lines[1:])
    assert all(0 < len(line.encode()) <= 998 and line.removeprefix("\t").isprintable() for line in lines)
    message = message_from_bytes(field + b"Subject: after\r\n\r\nbody")
    assert message.keys() == ["Received", "Subject"]
    assert message.get_payload() == "body"
    stamp = str(message["Received"]).rpartition(";")[2]
    assert parsedate_to_datetime(stamp.strip()).timestamp() == int(PLAIN["now"])


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("argument", ["hello", "peer_ip", "by", "greeted_with", "queue_id", "recipient"])
def test_hostile_text_stays_within_its_clause(argument: str, text: str) -> None:
    check(received_field(**{**PLAIN, argument: text}))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_tls_facts(text: str) -> None:
    field = received_field(**{**PLAIN, "tls": TlsFacts(text, text, text, text, resumed=False, server_name=text)})
    check(field)
    assert len(re.findall(rb"[()]", field)) == 4


@given(st.text(), st.text(), st.text(), st.text(), st.booleans())
def test_any_text(hello: str, by: str, queue_id: str, recipient: str, smtputf8: bool) -> None:
    changes = {"hello": hello, "by": by, "queue_id": queue_id, "recipient": recipient, "smtputf8": smtputf8}
    field = received_field(**{**PLAIN, **changes})
    check(field)
    assert smtputf8 or field.isascii()
