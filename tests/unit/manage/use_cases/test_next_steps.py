from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.next_steps import trace_step

BOB = "bob@partner.example"
UNTRUSTED = (
    "450 4.7.320 Certificate validation failed [Message=UntrustedRoot x] [LastAttemptedServerName=mx.partner.example]"
)


def row(event, recipient=BOB, reply="", **fields):
    return TraceEvent(1.0, event, "1a", "contoso", "originating", "5e", "a@b.example", recipient, reply=reply, **fields)


# rows, oldest first: who must act, the beginning of the sentence
STORIES = {
    "accepted": ([row("RECEIVE")], "nobody", "Nobody has to act: the gateway accepted the message"),
    "sent": (
        [row("RECEIVE"), row("DEFER", reply=UNTRUSTED), row("SEND")],
        "nobody",
        "Nobody has to act: the message was",
    ),
    "mailbox": ([row("DELIVER")], "nobody", "Nobody has to act: the message was delivered to a mailbox"),
    "rehearsed": (
        [row("SEND", detail={"rehearsal": {"passed": False, "message": "UntrustedRoot"}})],
        "nobody",
        "Nobody has to act now: the message was delivered, as its connector is in rehearsal; enforced, it would have",
    ),
    "rehearsed and met": (
        [row("SEND", detail={"rehearsal": {"passed": True}})],
        "nobody",
        "Nobody has to act: the message",
    ),
    "waits": ([row("DEFER", reply=UNTRUSTED)], "remote", "The administrators of mx.partner.example must"),
    "one of two waits": (
        [row("SEND", "ann@a.example"), row("DEFER", reply="450 4.2.1 later"), row("DELIVER", "cat@c.example")],
        "nobody",
        "Nobody has to act yet: the mail system of partner.example",
    ),
    "held by hand": (
        [row("HOLD", detail={"author": "olga"})],
        "gateway",
        "An administrator of this gateway must release",
    ),
    "held by the guard": (
        [row("HOLD")],
        "gateway",
        "An administrator of this gateway must accept the lower protection",
    ),
    "released": ([row("HOLD"), row("RELEASE")], "nobody", "Nobody has to act: the message was released"),
    "failed": ([row("FAIL", reply="550 5.1.1 no")], "sender", "The sender must act before"),
    "expired": (
        [row("EXPIRE", reply=UNTRUSTED.replace("450 4", "550 5"))],
        "remote",
        "The administrators of mx.partner",
    ),
    "dropped": ([row("DROP")], "nobody", "Nobody has to act: the message was dropped"),
    "returned": ([row("RETURN")], "nobody", "Nobody has to act: an administrator had the message returned"),
    "quarantined": ([row("QUARANTINE")], "gateway", "An administrator of this gateway must review"),
    "refused for now": ([row("REFUSE", reply="451 4.7.1 later")], "nobody", "Nobody has to act yet: the gateway asked"),
    "refused": (
        [row("REFUSE", "", "530 5.7.0 no", peer_host="client.example")],
        "sender",
        "The administrators of client.example must correct",
    ),
    "refused a stranger": ([row("REFUSE", "", "530 5.7.0 no")], "sender", "The administrators of the sending server"),
    "a client without TLS 1.2": (
        [row("TLSFAIL", "", "unsupported protocol", peer_host="client.example")],
        "sender",
        "The administrators of client.example must enable TLS 1.2",
    ),
    "a client that refuses the certificate": (
        [row("TLSFAIL", "", "tlsv1 alert unknown ca", peer_address="192.0.2.1")],
        "sender",
        "The administrators of 192.0.2.1 must find out why their server does not accept",
    ),
    "a client with hundreds of certificates": (
        [row("TLSFAIL", "", "the peer sent 140 certificates, at most 32 are taken", peer_host="client.example")],
        "sender",
        "The administrators of client.example must let their server send its own chain",
    ),
    "a client that fails otherwise": (
        [row("TLSFAIL", "", "unexpected message", peer_host="client.example")],
        "nobody",
        "Nobody has to act, unless mail should come from there: then the administrators of client.example",
    ),
    "session and recipient": (
        [row("REFUSE", "", "530 5.7.0 no"), row("SEND")],
        "nobody",
        "Nobody has to act: the message",
    ),
    "of a later version": ([row("UNHEARD")], "nobody", "Nobody has to act: the last event is UNHEARD"),
    "a drill": ([row("DRILL", "")], "nobody", "Nobody has to act: this is a drill"),
    "nothing": ([], "nobody", "Nobody has to act: there is no mail"),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_last_row_of_each_recipient_counts(name):
    rows, must_act, begin = STORIES[name]
    step = trace_step(rows)
    assert step.must_act == must_act
    assert step.text.startswith(begin)
    assert step.text.endswith(".")
    assert ". " not in step.text, "it is one sentence"
