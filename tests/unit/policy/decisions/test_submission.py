from __future__ import annotations

import pytest

from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.policy.decisions.submission import as_submitted, decide_submission, refused_login
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

TEXT = """
[organization.o]
subaddress_separator = "+"
accepted_domain = [{ name = "o.example" }]
mailbox = [{ address = "Ann@o.example", aliases = ["info@o.example"] }, { address = "joe@o.example" }]
[organization.f]
accepted_domain = [{ name = "f.example" }]
[[organization.f.inbound_connector]]
name = "locked"
sender_domains = ["o.example"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.o.example"
"""
OURS = ("submission", "encrypted", "login")


@pytest.fixture
def ann(session, tls):
    return replace(session(tls=tls), user="Ann@o.example", mechanism="PLAIN")


@pytest.mark.parametrize(
    ("sender", "reply", "reason"),
    [
        ("ann@o.example", "250 2.1.0", "Ann@o.example logged in by PLAIN and sends as itself"),
        ("ANN@O.example", "250 2.1.0", "Ann@o.example logged in by PLAIN and sends as itself"),
        ("info@o.example", "250 2.1.0", "Ann@o.example logged in by PLAIN and sends as itself"),
        ("ann+list@o.example", "250 2.1.0", "Ann@o.example logged in by PLAIN and sends as itself"),
        ("", "250 2.1.0", "Ann@o.example logged in by PLAIN and sends a notice with the null reverse-path"),
        (
            "joe@o.example",
            "550 5.7.60",
            "Ann@o.example logged in by PLAIN, and joe@o.example is none of its addresses",
        ),
        (
            "ann@else.example",
            "550 5.7.60",
            "Ann@o.example logged in by PLAIN, and ann@else.example is none of its addresses",
        ),
    ],
)
def test_who_may_send_as_whom(directory, path, ann, sender, reply, reason):
    verdict = decide_submission(directory(TEXT), ann, path(sender))
    assert verdict.reply.text.startswith(reply)
    assert verdict.reasons == (reason,)
    assert (verdict.organization, verdict.direction, verdict.connector) == ("o", "originating", "submission")
    assert (verdict.requirement, verdict.basis) == ("encrypted", "login")


@pytest.mark.parametrize("user", ["eve@o.example", "ann@gone.example"])
def test_a_mailbox_that_is_no_more(directory, path, ann, user):
    verdict = decide_submission(directory(TEXT), replace(ann, user=user), path(user))
    assert verdict.reply.text.startswith("530 5.7.0")
    assert (verdict.organization, verdict.direction) == ("", "none")


@pytest.mark.parametrize(
    ("recipient", "reply", "decided"),
    [
        ("bob@partner.example", "250 2.1.5", OURS),
        ("joe@o.example", "250 2.1.5", OURS),
        ("nobody@o.example", "550 5.1.1", OURS),
        ("liz@f.example", "550 5.7.51", ("locked", "authenticated(mail.o.example)", "sender")),
    ],
)
def test_recipients(directory, path, ann, recipient, reply, decided):
    known, sender = directory(TEXT), path("ann@o.example")
    mail = decide_submission(known, ann, sender)
    verdict = decide_recipient(known, ann, sender, path(recipient), mail.attribution)
    assert as_submitted(verdict) == verdict
    assert verdict.reply.text.startswith(reply)
    assert (verdict.organization, verdict.connector, verdict.requirement, verdict.basis) == ("o", *decided)


def test_a_refused_login(directory):
    reply = Reply(535, "5.7.8", ("No",))
    verdict = refused_login(directory(TEXT), reply, "AUTH PLAIN as somebody: why")
    assert (verdict.accepted, verdict.reply, verdict.organization) == (False, reply, "")
    assert verdict.reasons == ("AUTH PLAIN as somebody: why",)
