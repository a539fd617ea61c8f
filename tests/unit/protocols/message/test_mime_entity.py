from __future__ import annotations

import base64
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.mime_entity import (
    MimeMessage,
    base64_lines,
    body_type,
    clear_signable,
    fields_of,
    multipart_signed,
    opaque,
    seven_bit,
    split,
    without_fields,
)

ENVELOPED = "application/pkcs7-mime; smime-type=enveloped-data"


@pytest.mark.parametrize(
    ("message", "header", "mime", "body"),
    [
        (
            b"A: b\r\nContent-Type: a/b;\r\n\tcharset=x\r\nSubject: y\r\n z\r\nMIME-VERSION : 1.0\r\n\r\nbody\r\n",
            b"A: b\r\nSubject: y\r\n z\r\n",
            b"Content-Type: a/b;\r\n\tcharset=x\r\nMIME-VERSION : 1.0\r\n",
            b"body\r\n",
        ),
        (b"no field\r\nA: b", b"no field\r\nA: b\r\n", b"", b""),
        (b"", b"", b"", b""),
        (b"\r\nbody", b"", b"", b"body"),
        (b"A: b\r\n\r\n", b"A: b\r\n", b"", b""),
        (b"A: b\rc\r\nD: e\nf\r\n\r\n\r\n", b"A: b\rc\r\nD: e\nf\r\n", b"", b"\r\n"),
        (b" \r\nContent-X: y\r\n\r\n", b" \r\n", b"Content-X: y\r\n", b""),
    ],
)
def test_a_message_is_taken_apart(message: bytes, header: bytes, mime: bytes, body: bytes) -> None:
    assert split(message) == MimeMessage(header, mime, body)


_PIECES = [b"\r\n", b"\r", b"\n", b" ", b":", b"Content-Type:", b"a", b"\0", b"\xff", b"MIME-Version: 1.0\r\n"]
_OCTETS = st.lists(st.sampled_from(_PIECES)).map(b"".join)


@given(_OCTETS)
def test_no_octet_gets_lost(message: bytes) -> None:
    found = split(message)
    whole = found.header + found.mime + found.body
    assert set(whole.split(b"\r\n")) - {b""} == set(message.split(b"\r\n")) - {b""}
    assert message.endswith(found.body)


@pytest.mark.parametrize(
    ("message", "entity"),
    [
        (b"A: b\r\n\r\nx\r\n", b"Content-Type: text/plain; charset=us-ascii\r\n\r\nx\r\n"),
        (b"A: b\r\n\r\n\xff", b"Content-Type: text/plain\r\n\r\n\xff"),
        (
            b"MIME-Version: 1.0\r\nContent-ID: <x>\r\n\r\nx",
            b"Content-Type: text/plain; charset=us-ascii\r\nContent-ID: <x>\r\n\r\nx",
        ),
        (b"content-type: a/b\r\nMIME-Version: 1.0\r\nC: d\r\n\r\nx", b"content-type: a/b\r\n\r\nx"),
    ],
)
def test_the_entity(message: bytes, entity: bytes) -> None:
    assert split(message).entity == entity


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "found"),
    [
        (ENVELOPED, "base64", b"AQI\r\n D\t\r\n", b"\1\2\3"),
        ('APPLICATION/X-PKCS7-MIME;\r\n smime-type="authEnveloped-data"', "BASE64", b"AQID", b"\1\2\3"),
        ("application/pkcs7-mime", "base64", b"AQID", b"\1\2\3"),
        (ENVELOPED, "binary", b"\1\2", b"\1\2"),
        (ENVELOPED, "base64", b"?", b""),
        (ENVELOPED, "7bit", b"AQID", b""),
        ("application/pkcs7-mime; smime-type=signed-data", "base64", b"AQID", b""),
        ("text/plain; name=pkcs7-mime", "base64", b"AQID", b""),
    ],
)
def test_what_says_of_itself_that_it_is_encrypted(kind: str, encoding: str, body: bytes, found: bytes) -> None:
    header = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    assert split(header.encode() + body).enveloped == found


def test_without_any_type_nothing_is_encrypted() -> None:
    assert split(b"A: b\r\n\r\nAQID").enveloped == b""


def test_fields_by_name() -> None:
    section = b"A: 1\r\nB: 2\r\n x\r\na : 3\r\nAB: 4\r\n"
    assert fields_of(section, b"a") == b"A: 1\r\na : 3\r\n"
    assert fields_of(section, b"c") == b""
    assert without_fields(section, {b"a", b"c"}) == b"B: 2\r\n x\r\nAB: 4\r\n"


@pytest.mark.parametrize(
    ("entity", "clear", "seven"),
    [
        (b"a\r\nb\r\n", True, True),
        (b"a\nb\r\n", False, True),
        (b"a\rb\r\n", False, True),
        (b"\xff\r\n", True, False),
        (b"\0\r\n", True, False),
        (b"x" * 998 + b"\r\n", True, True),
        (b"x" * 999 + b"\r\n", True, False),
        (b"", True, True),
    ],
)
def test_what_travels_unchanged(entity: bytes, clear: bool, seven: bool) -> None:
    assert (clear_signable(entity), seven_bit(entity)) == (clear, seven)


def test_opaque_content_reads_back() -> None:
    octets = bytes(range(256)) * 10
    fields, body = opaque(octets, "enveloped-data")
    whole = MimeMessage(b"Subject: x\r\n", fields, body).with_content(fields, body)
    assert split(whole).enveloped == octets
    read = message_from_bytes(whole, policy=policy.SMTP)
    assert (read.get_content_type(), read.get_param("smime-type")) == ("application/pkcs7-mime", "enveloped-data")
    assert read.get_filename() == "smime.p7m"
    assert read["MIME-Version"] == "1.0"


@pytest.mark.parametrize("entity", [b"Content-Type: text/plain\r\n\r\nx", b"Content-Type: text/plain\r\n\r\nx\r\n\r\n"])
def test_a_signed_entity_is_found_as_it_is(entity: bytes) -> None:
    fields, body = multipart_signed(entity, b"\1\2\3", "=_b")
    read = message_from_bytes(fields + b"\r\n" + body)
    assert (read.get_content_type(), read.get_param("micalg")) == ("multipart/signed", "sha-256")
    first, second = read.get_payload()
    assert body.partition(b"--=_b\r\n")[2].partition(b"\r\n--=_b")[0] == entity
    assert first.get_content_type() == "text/plain"
    assert second.get_payload(decode=True) == b"\1\2\3"


@given(st.binary(max_size=500))
def test_base64_has_short_lines(octets: bytes) -> None:
    lines = base64_lines(octets).split(b"\r\n")
    assert lines.pop() == b""
    assert max(map(len, lines), default=0) <= 76
    assert base64.b64decode(b"".join(lines)) == octets


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"A: b\r\n\r\nc\r\n", "7BIT"),
        ("A: b\r\n\r\n\u00fc\r\n".encode(), "8BITMIME"),
        (b"A: b\n.\r\n\r\nc\r\n", "BINARYMIME"),
        (b"A: b\r\n\r\nc\r", "BINARYMIME"),
        (b"A: b\r\n\r\n\0\r\n", "BINARYMIME"),
    ],
)
def test_the_body_type_of_a_message(message: bytes, kind: str) -> None:
    assert body_type(message) == kind
