from __future__ import annotations

from email import message_from_string
from email.message import Message
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.protocols.message.dsn_report import DsnAction
from gatepost.protocols.message.dsn_status import MAX_ADDRESS, MAX_TEXT, delivery_status, status_of

TUESDAY, MONDAY = "Tue, 24 Nov 2026 15:43:20 +0000", "Mon, 23 Nov 2026 16:00:00 +0000"


def groups(text: str) -> list[dict[str, str]]:
    """The fields of each group, unfolded."""
    assert text.endswith("\r\n")
    assert text.count("\r") == text.count("\n") == text.count("\r\n")
    found = []
    for group in text.removesuffix("\r\n").split("\r\n\r\n"):
        assert all(0 < len(line.encode()) <= 998 and line.strip() for line in group.split("\r\n"))
        message: Message = message_from_string(group + "\r\n\r\n")
        assert message.get_payload() == ""
        assert len(set(message.keys())) == len(message.keys())
        found.append({name: str(value).replace("\r\n", "") for name, value in message.items()})
    return found


def test_every_field_of_a_failure(report, recipient) -> None:
    about = recipient(orcpt="rfc822;b+2Bold@b.example", retry_until=1795999999.0)
    text = delivery_status(report(about, envid="QQ+3D1"), utf8=False)
    assert groups(text) == [
        {"Original-Envelope-Id": "QQ=1", "Reporting-MTA": "dns; mx1.a.example", "Arrival-Date": MONDAY},
        {
            "Original-Recipient": "rfc822; b+old@b.example",
            "Final-Recipient": "rfc822; b@b.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.b.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
            "Last-Attempt-Date": TUESDAY,
            "Final-Log-ID": "7f3a9c01",
        },
    ]


def test_every_field_of_a_delay(report, recipient) -> None:
    about = recipient(
        action=DsnAction.DELAYED,
        status="4.4.1",
        remote_mta="",
        diagnostic="450 4.4.1 No answer",
        retry_until=1795535000.0,
    )
    assert groups(delivery_status(report(about), utf8=False)) == [
        {"Reporting-MTA": "dns; mx1.a.example", "Arrival-Date": MONDAY},
        {
            "Final-Recipient": "rfc822; b@b.example",
            "Action": "delayed",
            "Status": "4.4.1",
            "Diagnostic-Code": "x-gatepost; 450 4.4.1 No answer",
            "Last-Attempt-Date": TUESDAY,
            "Final-Log-ID": "7f3a9c01",
            "Will-Retry-Until": TUESDAY,
        },
    ]


def test_what_is_not_known_is_left_out(report, recipient) -> None:
    about = recipient(action=DsnAction.RELAYED, status="", remote_mta="", diagnostic="", last_attempt=0.0)
    assert groups(delivery_status(report(about, arrival=0.0, queue_id=""), utf8=False)) == [
        {"Reporting-MTA": "dns; mx1.a.example"},
        {"Final-Recipient": "rfc822; b@b.example", "Action": "relayed", "Status": "2.0.0"},
    ]


def test_one_group_for_each_recipient(report, recipient) -> None:
    addresses = [f"b{number}@b.example" for number in range(1000)]
    found = groups(delivery_status(report(*(recipient(address=each) for each in addresses)), utf8=False))
    assert [group["Final-Recipient"] for group in found[1:]] == [f"rfc822; {each}" for each in addresses]


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        (DsnAction.FAILED, "5.7.320", "5.7.320"),
        (DsnAction.FAILED, "4.4.7", "4.4.7"),
        (DsnAction.FAILED, "2.0.0", "5.0.0"),
        (DsnAction.FAILED, "", "5.0.0"),
        (DsnAction.FAILED, "5.1", "5.0.0"),
        (DsnAction.FAILED, "5.1.1\r\nX: y", "5.0.0"),
        (DsnAction.FAILED, "5.1.1234", "5.0.0"),
        (DsnAction.FAILED, "6.1.1", "5.0.0"),
        (DsnAction.DELAYED, "4.4.1", "4.4.1"),
        (DsnAction.DELAYED, "5.4.1", "4.0.0"),
        (DsnAction.DELIVERED, "2.1.5", "2.1.5"),
        (DsnAction.RELAYED, "4.1.5", "2.0.0"),
    ],
)
def test_status(recipient, action: DsnAction, status: str, expected: str) -> None:
    assert status_of(recipient(action=action, status=status)) == expected


# address, ORCPT: the fields without SMTPUTF8, with it
ADDRESSES: list[tuple[str, str, str, str, str, str]] = [
    (
        "\u0436@b.example",
        "",
        "utf-8; \\x{436}@b.example",
        "",
        "utf-8; \u0436@b.example",
        "",
    ),
    (
        "b=x+y\\z \u0436@b.example",
        "",
        "utf-8; b\\x{3D}x\\x{2B}y\\x{5C}z\\x{20}\\x{436}@b.example",
        "",
        "utf-8; b=x+y\\z \u0436@b.example",
        "",
    ),
    (
        "b@b.example",
        "utf-8;\\x{436}@b.example",
        "rfc822; b@b.example",
        "utf-8; \\x{436}@b.example",
        "rfc822; b@b.example",
        "utf-8; \\x{436}@b.example",
    ),
    (
        "b@b.example",
        "utf-8;\u0436@b.example",
        "rfc822; b@b.example",
        "utf-8; \\x{436}@b.example",
        "rfc822; b@b.example",
        "utf-8; \u0436@b.example",
    ),
]


@pytest.mark.parametrize("case", ADDRESSES)
def test_addresses_beyond_ascii(report, recipient, case: tuple[str, ...]) -> None:
    address, orcpt, *expected = case
    about = report(recipient(address=address, orcpt=orcpt))
    for utf8, (final, original) in ((False, expected[:2]), (True, expected[2:])):
        text = delivery_status(about, utf8=utf8)
        fields = dict(line.split(": ", 1) for line in text.split("\r\n") if line and not line.startswith(" "))
        assert fields["Final-Recipient"] == final
        assert fields.get("Original-Recipient", "") == original
        assert utf8 or text.isascii()


@pytest.mark.parametrize(
    "orcpt",
    [
        "",
        "rfc822",
        "rfc822;",
        ";b@b.example",
        "rfc 822;b@b.example",
        "rfc822;b+0D+0Ax@b.example",
        "rfc822;b+zz",
        "rfc822;b=x",
        "\u00fc;b",
    ],
)
def test_a_malformed_orcpt_is_left_out(report, recipient, orcpt: str) -> None:
    assert "Original-Recipient" not in groups(delivery_status(report(recipient(orcpt=orcpt)), utf8=False))[1]


def test_a_malformed_envelope_id_is_left_out(report) -> None:
    assert "Original-Envelope-Id" not in groups(delivery_status(report(envid="x+0Ay"), utf8=False))[0]


def test_long_texts_are_cut_and_folded(report, recipient) -> None:
    about = recipient(address="x" * 5000, diagnostic="550 " + "word " * 5000, remote_mta="m" * 5000)
    fields = groups(delivery_status(report(about, reporting_mta="r" * 5000, queue_id="q" * 500), utf8=False))[1]
    assert len(fields["Final-Recipient"]) == MAX_ADDRESS + len("rfc822; ")
    assert MAX_TEXT < len(fields["Diagnostic-Code"]) <= MAX_TEXT + 200
    assert len(fields["Remote-MTA"]) == 255 + len("dns; ")
    assert len(fields["Final-Log-ID"]) == 64


HOSTILE = [
    "a\r\nX-Evil: yes",
    "a\n\nb",
    "\r\n\r\nAction: delivered",
    "a\0b",
    "gr\u00fcn",
    "\u202eabc",
    "\ud800",
    "x" * 9999,
    " ",
    "",
]


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_field(report, recipient, text: str, utf8: bool) -> None:
    about = recipient(address=text, status=text, orcpt=f"rfc822;{text}", remote_mta=text, diagnostic=text, detail=text)
    found = groups(delivery_status(report(about, reporting_mta=text, envid=text, queue_id=text), utf8=utf8))
    assert len(found) == 2
    assert found[0].keys() <= {"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"}
    assert found[1].keys() <= {
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
        "Final-Log-ID",
    }
    assert (found[1]["Action"], found[1]["Status"]) == ("failed", "5.0.0")


@given(st.text(), st.text(), st.text(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text(report: Any, recipient: Any, address: str, diagnostic: str, orcpt: str, utf8: bool) -> None:
    about = recipient(address=address, diagnostic=diagnostic, orcpt=f"utf-8;{orcpt}")
    text = delivery_status(report(about), utf8=utf8)
    assert len(groups(text)) == 2
    assert utf8 or text.isascii()
