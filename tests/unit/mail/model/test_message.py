from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient, sent_as
from gatepost.values import replace


def message(**fields):
    return Message(7, "contoso", 1000.0, "ann@contoso.example", **fields)


@pytest.mark.parametrize(
    ("inbound", "direction", "expected"),
    [
        ({}, "incoming", (False, False, False, False, False)),
        ({}, "originating", (False, False, True, False, False)),
        ({"user": "ann"}, "originating", (False, False, False, False, False)),
        ({"notice_about": "1a"}, "originating", (True, False, False, False, False)),
        ({"notice_about": "", "tls_report": "b.example"}, "originating", (True, True, False, False, False)),
        ({"internal": True}, "incoming", (False, False, False, True, False)),
        ({"headers": {"renamed": 2}}, "incoming", (False, False, False, False, True)),
        ({"headers": {"removed": 2}}, "incoming", (False, False, False, False, False)),
    ],
)
def test_what_the_session_says_of_a_message(inbound, direction, expected):
    one = message(inbound=inbound, direction=direction)
    said = (one.is_notice, one.is_tls_report, one.from_on_premises, one.is_internal, one.has_organization_headers)
    assert said == expected


def test_a_delivery_is_of_the_organization_before_the_slash():
    delivery = Delivery(1, message(), "fabrikam/b.example", [Recipient("bob@b.example")])
    assert delivery.organization == "fabrikam"


def journal_delivery(message: Message, **fields: Any) -> Message:
    return sent_as(message, [Recipient("keep@far.example", journal=Journal(**{"form": "report"} | fields))], "o")


def test_a_journal_report_is_a_message_of_our_own() -> None:
    message = Message(
        1, "p", 5.0, "a@p.example", ret="FULL", envid="x", tls_required_no=True, inbound={"user": "a"}, smtputf8=True
    )
    report = journal_delivery(message)
    assert (report.organization, report.reverse_path, report.direction) == ("o", "", "originating")
    assert (report.body_type, report.smtputf8, report.tls_required_no) == ("8BITMIME", False, False)
    assert (report.ret, report.envid, report.id) == ("", "", 1)
    assert report.is_journal
    assert report.is_journal_report
    assert not report.from_on_premises
    assert message.reverse_path == "a@p.example"


def test_a_journal_copy_is_the_message_of_whoever_sent_it() -> None:
    message = Message(1, "o", 5.0, "a@o.example", direction="originating", smtputf8=True, inbound={"internal": True})
    copy = journal_delivery(message, form="copy")
    assert (copy.direction, copy.smtputf8, copy.reverse_path) == ("originating", True, "")
    assert copy.inbound == {"internal": True, "journal": "copy"}
    assert copy.is_journal
    assert not copy.is_journal_report
    assert not copy.from_on_premises
    assert journal_delivery(replace(message, organization="p"), form="copy").direction == "incoming"


def test_other_messages_are_sent_as_they_are() -> None:
    message = Message(1, "o", 5.0, "a@o.example")
    assert sent_as(message, [Recipient("b@o.example")], "o") is message
    assert sent_as(message, [], "o") is message
    assert journal_delivery(message, made=True) is message
    assert not message.is_journal
    assert Delivery(1, message, "o/x", []).journal is None


def test_a_journal_says_of_itself_what_the_trace_has() -> None:
    assert Journal("copy").record() == {"form": "copy"}
    assert Journal("report", rules=("r",)).record() == {"form": "report", "rules": ["r"]}
