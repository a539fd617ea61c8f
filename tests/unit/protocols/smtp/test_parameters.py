from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.parameters import (
    CommandError,
    MailParameters,
    RecipientParameters,
    is_number,
    parse_mail_parameters,
    parse_recipient_parameters,
)
from gatepost.values import replace

ALL = Extensions(size=1000, starttls=True, requiretls=True)
NONE = Extensions(size=0, starttls=False, smtputf8=False, chunking=False, binarymime=False, dsn=False)


def refusal(parse, text, extensions=ALL, **how):
    with pytest.raises(CommandError) as caught:
        parse(text, extensions, **how)
    return caught.value


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("SIZE=1000", {"size": 1000}),
        ("size=0", {"size": None}),
        ("BODY=7bit", {"body": "7BIT"}),
        ("BODY=8BITMIME", {"body": "8BITMIME"}),
        ("BODY=BINARYMIME", {"body": "BINARYMIME"}),
        ("SMTPUTF8", {"smtputf8": True}),
        ("RET=full", {"ret": "FULL"}),
        ("RET=HDRS", {"ret": "HDRS"}),
        ("ENVID=QQ314159+20", {"envid": "QQ314159+20"}),
        ("REQUIRETLS", {"require_tls": True}),
        ("AUTH=<>", {"auth": "<>"}),
        ("AUTH=a+40b", {"auth": "a+40b"}),
        ("  SIZE=5   BODY=8BITMIME SMTPUTF8 ", {"size": 5, "body": "8BITMIME", "smtputf8": True}),
    ],
)
def test_mail(text, fields):
    assert parse_mail_parameters(text, ALL, tls_active=True) == MailParameters(**fields)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SIZE", 501),
        ("SIZE=", 501),
        ("SIZE=-1", 501),
        ("SIZE=1x", 501),
        ("SIZE=٣", 501),
        ("SIZE=" + "9" * 21, 501),
        ("SIZE=1001", 552),
        ("SIZE=" + "9" * 20, 552),
        ("BODY", 501),
        ("BODY=9BIT", 501),
        ("SMTPUTF8=", 501),
        ("SMTPUTF8=yes", 501),
        ("REQUIRETLS=1", 501),
        ("RET=ALL", 501),
        ("ENVID", 501),
        ("ENVID=", 501),
        ("ENVID=" + "a" * 101, 501),
        ("ENVID=a+00", 501),
        ("ENVID=a=b", 501),
        ("ENVID=ä", 501),
        ("AUTH", 501),
        ("AUTH=a+0A", 501),
        ("SIZE=1 SIZE=1", 501),
        ("RET=FULL ret=FULL", 501),
        ("MT-PRIORITY=3", 555),
        ("=", 555),
        ("NOTIFY=NEVER", 555),
        ("SIZE\u00a0=1", 555),
    ],
)
def test_mail_refused(text, code):
    error = refusal(parse_mail_parameters, text, tls_active=True)
    assert error.reply.code == code
    assert error.reply.enhanced == ("5.3.4" if code == 552 else "5.5.4")


@pytest.mark.parametrize("text", ["SMTPUTF8", "RET=FULL", "ENVID=x", "REQUIRETLS", "BODY=BINARYMIME"])
def test_what_is_not_offered_is_not_known(text):
    assert refusal(parse_mail_parameters, text, NONE, tls_active=True).reply.code == 555


def test_without_an_announced_size_any_size_may_be_declared():
    assert parse_mail_parameters("SIZE=99999999999", NONE, tls_active=False).size == 99999999999


def test_where_mail_came_from_is_said_only_between_nodes_and_under_tls():
    among_nodes = replace(ALL, origin=True)
    text = "XGATEPOST=eyJvIjoiYyJ9_-"
    assert parse_mail_parameters(text, among_nodes, tls_active=True).origin == "eyJvIjoiYyJ9_-"
    assert refusal(parse_mail_parameters, text, ALL, tls_active=True).reply.code == 555
    assert refusal(parse_mail_parameters, text, among_nodes, tls_active=False).reply.code == 555
    for wrong in ("XGATEPOST", "XGATEPOST=", "XGATEPOST=a+b", "XGATEPOST=\u00e4"):
        assert refusal(parse_mail_parameters, wrong, among_nodes, tls_active=True).reply.code == 501


def test_requiretls_is_offered_only_under_tls():
    assert refusal(parse_mail_parameters, "REQUIRETLS", tls_active=False).reply.code == 555


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("NOTIFY=never", {"notify": "NEVER"}),
        ("NOTIFY=SUCCESS", {"notify": "SUCCESS"}),
        ("NOTIFY=delay,SUCCESS,Failure,DELAY", {"notify": "SUCCESS,FAILURE,DELAY"}),
        ("ORCPT=rfc822;Bob@b.example", {"orcpt": "rfc822;Bob@b.example"}),
        ("ORCPT=rfc822;a+2Bb@b.example NOTIFY=FAILURE", {"orcpt": "rfc822;a+2Bb@b.example", "notify": "FAILURE"}),
        ("ORCPT=utf-8;j\\x{F6}rg@b.example", {"orcpt": "utf-8;j\\x{F6}rg@b.example"}),
        ("ORCPT=UTF-8;jörg@b.example", {"orcpt": "UTF-8;jörg@b.example"}),
        ("ORCPT=x400;" + "a" * 490, {"orcpt": "x400;" + "a" * 490}),
    ],
)
def test_recipient(text, fields):
    assert parse_recipient_parameters(text, ALL, smtputf8=True) == RecipientParameters(**fields)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("NOTIFY", 501),
        ("NOTIFY=", 501),
        ("NOTIFY=NEVER,DELAY", 501),
        ("NOTIFY=SUCCESS,", 501),
        ("NOTIFY=ALWAYS", 501),
        ("ORCPT", 501),
        ("ORCPT=bob@b.example", 501),
        ("ORCPT=;bob@b.example", 501),
        ("ORCPT=rfc822;", 501),
        ("ORCPT=rfc822;a+00b", 501),
        ("ORCPT=rfc822;jörg@b.example", 501),
        ("ORCPT=utf-8;a\\x{0}b", 501),
        ("ORCPT=utf-8;a\\x{FFFFFF}b", 501),
        ("ORCPT=x400;" + "a" * 500, 501),
        ("SIZE=1", 555),
    ],
)
def test_recipient_refused(text, code):
    assert refusal(parse_recipient_parameters, text, smtputf8=True).reply.code == code


def test_an_internationalised_orcpt_needs_smtputf8():
    reply = refusal(parse_recipient_parameters, "ORCPT=utf-8;jörg@b.example", smtputf8=False).reply
    assert (reply.code, reply.enhanced) == (553, "5.6.7")


def test_recipients_have_no_parameters_without_dsn():
    extensions = replace(ALL, dsn=False)
    assert refusal(parse_recipient_parameters, "NOTIFY=NEVER", extensions, smtputf8=True).reply.code == 555


def test_what_we_know_stays_with_us():
    error = refusal(parse_mail_parameters, "SECRET=1", tls_active=False)
    assert error.why == "SECRET"
    assert "SECRET" not in error.reply.text
    assert str(CommandError(error.reply)) == error.reply.text


@pytest.mark.parametrize(
    ("text", "answer"), [("0", True), ("9" * 20, True), ("", False), ("9" * 21, False), ("-1", False), ("²", False)]
)
def test_numbers(text, answer):
    assert is_number(text) is answer


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    codes = set()
    for parse, how in (
        (parse_mail_parameters, {"tls_active": True}),
        (parse_recipient_parameters, {"smtputf8": False}),
    ):
        for candidate in (text, f"ENVID={text}", f"ORCPT=utf-8;{text}", f"NOTIFY={text}", f"SIZE={text}"):
            try:
                parse(candidate, ALL, **how)
            except CommandError as error:
                codes.add(error.reply.code)
    assert codes <= {501, 552, 553, 555}
