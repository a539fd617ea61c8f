from __future__ import annotations

import pytest

from gatepost.protocols.message.dsn_advice import NO_CERTIFICATE, RETURNED
from gatepost.protocols.message.dsn_report import Advice, DsnAction, DsnActor, DsnHop, RedactedNotice
from gatepost.protocols.message.dsn_text import human_text, redacted_text, subject_of
from gatepost.protocols.message.fields import HeaderFacts
from gatepost.protocols.message.next_step import failed_step, waiting_step

FACTS = HeaderFacts("<1@a.example>", "Figures", 1, (), tls_required_no=False, bytes=100)
NO_FACTS = HeaderFacts("", "", 0, (), tls_required_no=False, bytes=0)
MONDAY = "Mon, 23 Nov 2026 16:00:00 +0000"
TUESDAY = "Tue, 24 Nov 2026 15:43:20 +0000"

FAILURE = f"""\
This is the mail service at mx1.a.example.

Your message could not be delivered to this recipient. It will not be
tried again.

  To:       b@b.example
  Subject:  Figures
  Sent:     {MONDAY}

CAUSE
  There is no mailbox with this address.

WHO MUST ACT
  [x] the sender   [ ] this mail service   [ ] the recipient's side

HOW TO FIX IT
  Check the address for spelling mistakes and send the message again, or
  ask the recipient for it.

FOR E-MAIL ADMINISTRATORS: DIAGNOSTIC INFORMATION
  Generating server:     mx1.a.example
  Rejected recipient:    b@b.example
  Remote server:         mx.b.example
  Enhanced status code:  5.1.1
  SMTP response:         550 5.1.1 User unknown
  Next step:             The sender must act before this message is sent
                         again, because there is no mailbox with this
                         address.
  Last attempt:          {TUESDAY}
  Queue id:              7f3a9c01

FOR E-MAIL ADMINISTRATORS: MESSAGE HOPS
   1  {MONDAY}  mx1.a.example  received from
      mail.a.example
   2  {TUESDAY}  mx1.a.example  550 5.1.1

ORIGINAL MESSAGE
  It is attached.
"""

HOPS = (
    DsnHop(1795449600.0, "mx1.a.example", "received from mail.a.example"),
    DsnHop(1795535000.0, "mx1.a.example", "550 5.1.1"),
)


def lines(text: str) -> list[str]:
    assert text.endswith("\r\n")
    assert text.count("\r") == text.count("\n") == text.count("\r\n")
    return text.split("\r\n")[:-1]


def test_the_whole_text_of_a_failure(report) -> None:
    assert lines(human_text(report(hops=HOPS), FACTS, "It is attached.")) == FAILURE.splitlines()


def test_a_requirement_that_was_not_met_is_shown_with_what_was_expected(report, recipient) -> None:
    detail = "expected *.b.example, presented CN=Server01, thumbprint 0123456789abcdef"
    about = recipient(status="5.7.320", remote_mta="", diagnostic="550 5.7.320 SubjectMismatch", detail=detail)
    text = " ".join(human_text(report(about), FACTS, "x").split())
    assert f"Details: {detail}" in text
    assert "Reason: 550 5.7.320 SubjectMismatch" in text
    assert "Remote server" not in text
    assert "[ ] the sender [ ] this mail service [x] the recipient's side" in text


@pytest.mark.parametrize("until", [0.0, 1795535000.0])
def test_a_delay_says_that_nothing_need_be_done(report, recipient, until: float) -> None:
    about = recipient(action=DsnAction.DELAYED, status="4.4.1", retry_until=until)
    text = " ".join(human_text(report(about), FACTS, "x").split())
    assert "Your message has not yet been delivered to this recipient." in text
    wanted = f"delivery is tried again until {TUESDAY}. If" if until else "delivery is tried again. If"
    assert wanted in text
    assert "Delayed recipient: b@b.example" in text
    said = waiting_step("deferred", "b.example", about.diagnostic).text
    assert f"Next step: {said}" in text, "as the pages of the gateway begin"


def test_a_fault_of_our_own_asks_our_own_administrators(report, recipient) -> None:
    said = "450 4.3.5 System incorrectly configured"
    about = recipient(action=DsnAction.DELAYED, status="4.3.5", remote_mta="", diagnostic=said)
    text = " ".join(human_text(report(about), FACTS, "x").split())
    assert "[ ] the sender [x] this mail service [ ] the recipient's side" in text
    assert "This mail service is not set up correctly for mail to this recipient." in text
    assert "The receiving mail system" not in text


@pytest.mark.parametrize(
    ("action", "opening"),
    [(DsnAction.DELIVERED, "Your message was delivered to"), (DsnAction.RELAYED, "Your message was handed on for")],
)
def test_a_success_asks_nobody_to_act(report, recipient, action: DsnAction, opening: str) -> None:
    text = human_text(report(recipient(action=action, status="2.1.5")), FACTS, "x")
    assert opening in text
    assert "  Recipient:             b@b.example" in text
    assert "CAUSE" not in text
    assert "WHO MUST ACT" not in text


def test_advice_of_the_report_comes_first(report, recipient) -> None:
    advice = Advice("The connector is wrong.", DsnActor.SERVICE, "Correct tls_domain of 'bank-out'.")
    text = human_text(report(recipient(advice=advice)), FACTS, "x")
    assert "  The connector is wrong.\r\n" in text
    assert "[ ] the sender   [x] this mail service" in text
    assert "  Correct tls_domain of 'bank-out'.\r\n" in text
    assert "no mailbox" not in text


def test_recipients_with_the_same_outcome_share_its_account(report, recipient) -> None:
    same = [recipient(address=f"b{number}@b.example") for number in range(25)]
    other = recipient(address="c@b.example", action=DsnAction.DELAYED, status="4.2.2")
    text = human_text(report(other, *same), FACTS, "x")
    assert text.count("CAUSE") == 2
    assert text.index("could not be delivered to these 25 recipients") < text.index("not yet been delivered to this")
    assert "b19@b.example" in text
    assert "b20@b.example" not in text
    assert "            and 5 more\r\n" in text
    assert "Rejected recipient:    b0@b.example and 24 more" in text


def test_mail_that_needs_a_certificate_has_the_next_step_of_the_pages(report, recipient) -> None:
    said = "550 5.7.5 Encryption needed (S/MIME), no usable certificate of the recipient"
    about = recipient(advice=NO_CERTIFICATE, status="5.7.5", diagnostic=said)
    text = " ".join(human_text(report(about), FACTS, "x").split())
    assert f"Next step: {failed_step('b.example', said).text}" in text
    returned = human_text(report(recipient(advice=RETURNED, status="5.7.5", diagnostic=said)), FACTS, "x")
    assert "Next step" not in returned, "an administrator has acted"


def test_different_advice_is_a_different_outcome(report, recipient) -> None:
    text = human_text(report(recipient(), recipient(advice=Advice("a", DsnActor.SENDER, "b"))), FACTS, "x")
    assert text.count("CAUSE") == 2


def test_many_outcomes_and_hops_are_cut(report, recipient) -> None:
    many = [recipient(diagnostic=f"550 5.1.1 no {number}") for number in range(1000)]
    text = human_text(report(*many, hops=HOPS * 100), FACTS, "x")
    assert text.count("CAUSE") == 20
    assert "980 more outcomes are in the machine-readable part of this report." in text
    assert "\r\n  50  " in text
    assert "\r\n  51  " not in text


def test_what_is_not_known_is_left_out(report, recipient) -> None:
    about = recipient(remote_mta="", diagnostic="", last_attempt=0.0)
    text = human_text(report(about, arrival=0.0, queue_id=""), NO_FACTS, "x")
    for label in ("Subject:", "Sent:", "Remote server:", "Reason:", "Details:", "Last attempt:", "Queue id:", "HOPS"):
        assert label not in text


@pytest.mark.parametrize(
    ("actions", "subject"),
    [
        ([DsnAction.DELIVERED, DsnAction.FAILED], "Undeliverable: Figures"),
        ([DsnAction.RELAYED, DsnAction.DELAYED], "Delivery delayed: Figures"),
        ([DsnAction.RELAYED, DsnAction.DELIVERED], "Delivered: Figures"),
        ([DsnAction.RELAYED], "Relayed: Figures"),
    ],
)
def test_the_subject_names_the_gravest(report, recipient, actions: list[DsnAction], subject: str) -> None:
    about = report(*(recipient(action=action) for action in actions))
    assert subject_of(about, FACTS) == subject
    assert subject_of(about, NO_FACTS) == subject.partition(":")[0]


@pytest.mark.parametrize(
    "text", ["a\r\n\r\nCAUSE\r\n", "a\0b\x1b[2J", "\u202eabc", "\ud800", "x" * 9999, "\u6587" * 9999]
)
def test_hostile_text_stays_in_its_line(report, recipient, text: str) -> None:
    about = recipient(
        address=text,
        remote_mta=text,
        diagnostic=text,
        detail=text,
        status=text,
        advice=Advice(text, DsnActor.SENDER, text),
    )
    facts = HeaderFacts("", "\u6587" * 256, 0, (), tls_required_no=False, bytes=0)
    made = human_text(report(about, reporting_mta=text, queue_id=text, hops=(DsnHop(0.0, text, text),)), facts, "x")
    assert lines(made).count("CAUSE") == 1
    assert all(line.isprintable() and len(line.encode()) <= 998 for line in lines(made))


REDACTED = """\
This is the mail service at mx1.a.example.

A message from your domain asks to be sent over protected connections
only (REQUIRETLS, RFC 8689). It could not be delivered, or its sender
asked to be told of it. The notification for its sender could not be
sent protected in the same way, so it was not sent at all. This is all
that may be said of it here:

  Message-ID: <1@a.example>
  Failure:    5.7.10 The message is to be sent over protected
              connections only, and no such one could be made.

Let the mail servers of your domain offer TLS with a certificate that
proves their name, and REQUIRETLS, so that senders who require protected
connections can be told what becomes of their messages.
"""


def test_what_a_postmaster_is_told_of_a_notice_that_was_not_sent() -> None:
    notice = RedactedNotice("a.example", "mx1.a.example", "p@mx1.a.example", 0.0, "2@mx1.a.example", "", "5.7.10")
    assert redacted_text(notice, "<1@a.example>").replace("\r\n", "\n") == REDACTED
    assert "  Message-ID: (none)\r\n" in redacted_text(notice, "")
