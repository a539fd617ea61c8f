from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.commands import (
    FOREIGN_VERBS,
    UNIMPLEMENTED_VERBS,
    Verb,
    decode_line,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_nothing,
    parse_recipient,
    parse_verify,
    parse_xclient,
)
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.parameters import CommandError, MailParameters, RecipientParameters

ALL = Extensions(size=1000, starttls=True)


def refusal(parse, *args, **how):
    with pytest.raises(CommandError) as caught:
        parse(*args, **how)
    return caught.value.reply.code, caught.value.reply.enhanced


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", ""),
        (b"NOOP", "NOOP"),
        (b"NOOP \t ", "NOOP"),
        (b"MAIL FROM:<a@b> ", "MAIL FROM:<a@b>"),
        ("MAIL FROM:<jörg@b>".encode(), "MAIL FROM:<jörg@b>"),
        ("rcpt TO:<a\u200db@c>".encode(), "rcpt TO:<a\u200db@c>"),
    ],
)
def test_lines(line, text):
    assert decode_line(line) == text


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP\0",
        b"NO\0OP",
        b"NOOP\tx",
        b"NOOP \x1b[2J",
        b"NOOP \x7f",
        b"MAIL FROM:<\xff@b>",
        b"MAIL \xc2\x85",
        b"\0",
        "NOOP ü".encode(),
        "EHLO bücher.example".encode(),
        "MAILÜ x".encode(),
        "RCPT TO:<\u202eab@c>".encode(),
    ],
)
def test_lines_refused(line):
    assert refusal(decode_line, line) == (500, "5.5.2")


def test_no_arguments():
    parse_nothing("")
    assert refusal(parse_nothing, "x") == (501, "5.5.4")


def test_hello():
    assert parse_hello("c.example") == "c.example"
    for arguments in ("", "two words", "x" * 256):
        assert refusal(parse_hello, arguments) == (501, "5.5.4")


def test_verify():
    assert parse_verify("somebody") == "somebody"
    assert refusal(parse_verify, "") == (501, "5.5.4")


@pytest.mark.parametrize(
    ("arguments", "chunk"),
    [("0", (0, False)), ("86 LAST", (86, True)), ("86 last", (86, True)), ("9" * 20, (10**20 - 1, False))],
)
def test_bdat(arguments, chunk):
    assert parse_bdat(arguments) == chunk


@pytest.mark.parametrize("arguments", ["", "x", "-1", "+1", "1.0", "1 FIRST", "1  LAST", "LAST", "9" * 21, "1 LAST x"])
def test_bdat_refused(arguments):
    assert refusal(parse_bdat, arguments) == (501, "5.5.4")


@pytest.mark.parametrize(
    ("arguments", "text", "parameters"),
    [
        ("FROM:<>", "", MailParameters()),
        ("from:<a@b.example>", "a@b.example", MailParameters()),
        ("FROM: <a@b.example> SIZE=9", "a@b.example", MailParameters(size=9)),
        ('FROM:<"a>b"@b.example> RET=FULL', '"a>b"@b.example', MailParameters(ret="FULL")),
        (r'FROM:<"a\">b"@b.example>', r'"a\">b"@b.example', MailParameters()),
        ("FROM:<jörg@b.example> SMTPUTF8", "jörg@b.example", MailParameters(smtputf8=True)),
    ],
)
def test_mail(arguments, text, parameters):
    path, given_parameters = parse_mail(arguments, ALL, tls_active=False)
    assert (path.text, given_parameters) == (text, parameters)


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ("", (501, "5.5.4")),
        ("FROM", (501, "5.5.4")),
        ("TO:<a@b>", (501, "5.5.4")),
        ("FROM:a@b.example", (501, "5.5.4")),
        ("FROM:<a@b.example", (501, "5.5.4")),
        ('FROM:<"a@b.example>', (501, "5.5.4")),
        ("FROM:<a@b.example>SIZE=9", (501, "5.5.4")),
        ("FROM:x<a@b.example>", (501, "5.1.7")),
        ("FROM:<a b@c.example>", (501, "5.1.7")),
        ("FROM:<postmaster>", (501, "5.1.7")),
        ("FROM:<@x:a@b.example>", (553, "5.1.7")),
        ("FROM:<jörg@b.example>", (553, "5.6.7")),
        ("FROM:<a@b.example> X=1", (555, "5.5.4")),
        ("FROM:<a@b.example> SIZE=1001", (552, "5.3.4")),
    ],
)
def test_mail_refused(arguments, refused):
    assert refusal(parse_mail, arguments, ALL, tls_active=False) == refused


@pytest.mark.parametrize(
    ("arguments", "text", "parameters"),
    [
        ("TO:<d@e.example>", "d@e.example", RecipientParameters()),
        ("to: <Postmaster> NOTIFY=NEVER", "Postmaster", RecipientParameters(notify="NEVER")),
    ],
)
def test_recipient(arguments, text, parameters):
    path, given_parameters = parse_recipient(arguments, ALL, smtputf8=False)
    assert (path.text, given_parameters) == (text, parameters)


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ("FROM:<a@b>", (501, "5.5.4")),
        ("TO:d@e.example", (501, "5.5.4")),
        ("TO:<>", (501, "5.1.3")),
        ("TO:<d>", (501, "5.1.3")),
        ("TO:<@x:d@e.example>", (553, "5.1.3")),
        ("TO:<jörg@e.example>", (553, "5.6.7")),
        ("TO:<d@e.example> SIZE=1", (555, "5.5.4")),
    ],
)
def test_recipient_refused(arguments, refused):
    assert refusal(parse_recipient, arguments, ALL, smtputf8=False) == refused


def test_a_recipient_is_internationalised_where_mail_said_so():
    path, _ = parse_recipient("TO:<jörg@bücher.example>", ALL, smtputf8=True)
    assert (path.local_part, path.domain) == ("jörg", "xn--bcher-kva.example")


@given(st.binary(max_size=60))
def test_any_line_is_parsed_or_refused(line):
    codes = set()
    for candidate in (line, b"MAIL FROM:" + line, b"MAIL FROM:<" + line, b"RCPT TO:<" + line + b"> NOTIFY=NEVER"):
        try:
            verb, _, arguments = decode_line(candidate).partition(" ")
            if verb == "MAIL":
                parse_mail(arguments, ALL, tls_active=False)
            else:
                parse_recipient(arguments, ALL, smtputf8=True)
        except CommandError as error:
            codes.add(error.reply.code)
    assert codes <= {500, 501, 552, 553, 555}


def test_a_word_has_one_meaning():
    verbs = frozenset(verb.value for verb in Verb)
    assert not verbs & UNIMPLEMENTED_VERBS
    assert not verbs & FOREIGN_VERBS
    assert not UNIMPLEMENTED_VERBS & FOREIGN_VERBS


@pytest.mark.parametrize(
    ("arguments", "client"),
    [
        ("ADDR=192.0.2.7", ("192.0.2.7", 0)),
        (
            "name=pc.example addr=192.0.2.7 PORT=4711 HELO=x PROTO=ESMTP DESTADDR=192.0.2.1 DESTPORT=25",
            ("192.0.2.7", 4711),
        ),
        ("ADDR=IPV6:2001:db8::7", ("2001:db8::7", 0)),
        ("ADDR=ipv6:::ffff:192.0.2.7", ("192.0.2.7", 0)),
        ("ADDR=192.0.2.7 PORT=[UNAVAILABLE]", ("192.0.2.7", 0)),
        ("ADDR=192.0.2.7 PORT=65536", ("192.0.2.7", 0)),
        ("ADDR=192.0.2.7 PORT=" + "1" * 20, ("192.0.2.7", 0)),
    ],
)
def test_xclient_names_a_client(arguments, client):
    assert parse_xclient(arguments) == client


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("", "is not an address"),
        ("ADDR=", "is not an address"),
        ("ADDR=[UNAVAILABLE]", "is not an address"),
        ("ADDR=mx.example", "is not an address"),
        ("ADDR=IPV6:fe80::1%lo", "has a zone"),
        ("ADDR=192.0.2.7 LOGIN=ann", "LOGIN is not offered"),
        ("ADDR=192.0.2.7 ADDR=192.0.2.8", "twice"),
        ("ADDR=192.0.2.7 NAME=+0A", "control"),
        ("192.0.2.7", "is not offered"),
    ],
)
def test_xclient_that_names_nobody_or_too_much_is_refused(arguments, why):
    with pytest.raises(CommandError, match=why) as error:
        parse_xclient(arguments)
    assert error.value.reply.code == 501
