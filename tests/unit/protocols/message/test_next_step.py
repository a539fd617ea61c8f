from __future__ import annotations

import pytest

from gatepost.protocols.message.next_step import (
    MustAct,
    NextStep,
    failed_step,
    first_of,
    is_of_the_gateway,
    required_step,
    waiting_step,
)

DOMAIN = "partner.example"
WAITS = "; this message waits until then."


def deferral(word: str, status: str = "4.7.320", host: str = "mx1.partner.example") -> str:
    """The reply of a deferral, as `policy.decisions.outbound` writes it."""
    title = f"Certificate validation failed [Message={word} Expected Subject: mx.partner.example.]"
    return f"450 {status} {title} [LastAttemptedServerName={host}] [LastAttemptedIP=192.0.2.1:25]"


# reply: who must act, words of the sentence
KNOWN: dict[str, tuple[MustAct, str]] = {
    deferral("SubjectMismatch"): (MustAct.REMOTE, "present a certificate with the expected name, or an administrator"),
    deferral("SubjectMismatch", "4.7.325"): (MustAct.REMOTE, "present a certificate with the expected name; this"),
    deferral("UntrustedRoot"): (MustAct.REMOTE, "to trust_anchors of the connector (LMTP: of [tls])"),
    deferral("ChainIncomplete"): (MustAct.REMOTE, "add their authority, if it is a private one, to trust_anchors"),
    deferral("CertificateExpired"): (MustAct.REMOTE, "must renew the certificate"),
    deferral("STARTTLS is required to send mail", "4.4.317"): (MustAct.REMOTE, "must switch on STARTTLS"),
    deferral("TlsaLookupFailed", "4.4.312"): (MustAct.GATEWAY, "nameservers in [dns] answer"),
    deferral("ProtectionDrop", "4.4.317"): (MustAct.GATEWAY, "must accept the lower protection"),
    "450 4.3.5 System incorrectly configured": (MustAct.GATEWAY, "must correct the file or certificate"),
    "450 4.4.312 DNS query failed (192.0.2.53 timed out)": (MustAct.GATEWAY, "nameservers in [dns] answer"),
    "450 4.4.312 DNS query failed: the next hop has no address [LastAttemptedServerName=dovecto.contoso.example]": (
        MustAct.GATEWAY,
        "correct the name dovecto.contoso.example in smart_hosts of the connector or delivery of the mailbox",
    ),
    "450 4.4.5 The MTA-STS policy cannot be fetched now": (MustAct.GATEWAY, "policy hosts over HTTPS"),
    "450 4.4.315 Connection timed out [LastAttemptedServerName=mx1.partner.example]": (
        MustAct.GATEWAY,
        "this machine may connect to it",
    ),
    "450 4.4.317 Cannot connect to remote server [LastAttemptedServerName=192.0.2.1] [LastAttemptedIP=192.0.2.1:25]": (
        MustAct.GATEWAY,
        "make sure that this machine has a route to it",
    ),
    "450 4.4.317 Cannot establish session with remote server [Message=TlsHandshakeFailed] while waiting for MAIL": (
        MustAct.REMOTE,
        "find out from the log of their mail server why TLS fails",
    ),
    "450 4.4.316 Connection refused [LastAttemptedServerName=mx1.partner.example]": (
        MustAct.REMOTE,
        "The administrators of mx1.partner.example must start their mail server",
    ),
    "450 4.4.316 Connection refused [LastAttemptedServerName=127.0.0.1] [LastAttemptedIP=127.0.0.1:24]": (
        MustAct.GATEWAY,
        "must start the mail server at 127.0.0.1, on this machine",
    ),
    **{
        f"450 {said} [LastAttemptedServerName=/run/dovecot/lmtp] [LastAttemptedIP=unix:/run/dovecot/lmtp]": (
            MustAct.GATEWAY,
            "must start the LMTP server at /run/dovecot/lmtp, let the gateway's account open that socket, or correct",
        )
        for said in ("4.4.316 Connection refused", "4.4.317 Cannot connect to remote server")
    },
    "450 4.7.8 Cannot log in to the next hop: 535 5.7.8 no": (MustAct.GATEWAY, "must correct the log-in"),
    "450 4.7.5 Encryption needed (S/MIME), no usable certificate of the recipient": (
        MustAct.GATEWAY,
        "must add a valid S/MIME certificate",
    ),
    "450 4.7.5 Signature needed (S/MIME), no usable certificate for the author": (
        MustAct.GATEWAY,
        "must add a valid S/MIME certificate",
    ),
}


@pytest.mark.parametrize("reply", KNOWN)
def test_our_own_words_name_who_must_act(reply: str) -> None:
    must_act, words = KNOWN[reply]
    step = waiting_step("deferred", DOMAIN, reply)
    assert step.must_act is must_act
    assert words in step.text
    assert step.text.endswith(WAITS)
    assert is_of_the_gateway(reply) is (must_act is MustAct.GATEWAY)
    failed = failed_step(DOMAIN, reply.replace("450 4.", "550 5."))
    assert failed.must_act is must_act
    assert failed.text == step.text.replace(WAITS, "; this message failed, and its sender can send it again then.")


@pytest.mark.parametrize(
    ("host", "domain", "who"),
    [
        ("mx1.partner.example", DOMAIN, "mx1.partner.example"),
        ("192.0.2.1", DOMAIN, "the smart host 192.0.2.1"),
        ("2001:db8::1", DOMAIN, "the smart host 2001:db8::1"),
        ("192.0.2.1", "", "the smart host 192.0.2.1"),
        ("fed.cafe", DOMAIN, "fed.cafe"),
    ],
)
def test_the_host_of_the_last_attempt_is_named(host: str, domain: str, who: str) -> None:
    step = waiting_step("deferred", domain, deferral("NoCertificate", host=host))
    assert step.text == f"The administrators of {who} must present a certificate{WAITS}"


def test_without_a_host_and_a_domain_somebody_is_remote() -> None:
    assert waiting_step("deferred", "", "450 4.4.316 Connection refused").text.startswith(
        "The administrators of the remote server must"
    )


# state, reply, held by an administrator: who must act, the beginning of the sentence
STATES: list[tuple[str, str, bool, MustAct, str]] = [
    ("active", "", False, MustAct.NOBODY, "Nobody has to act: the gateway is delivering"),
    ("deferred", "", False, MustAct.NOBODY, "Nobody has to act: this message waits for its first attempt"),
    ("deferred", "450 4.2.1 later", False, MustAct.NOBODY, "Nobody has to act yet: the mail system of partner.example"),
    ("deferred", "451 [Message=Unheard of]", False, MustAct.NOBODY, "Nobody has to act yet"),
    ("deferred", "451 4.3.5 our server is broken", False, MustAct.NOBODY, "Nobody has to act yet"),
    ("held", "", True, MustAct.GATEWAY, "An administrator of this gateway must release or return this message"),
    (
        "held",
        "",
        False,
        MustAct.GATEWAY,
        "An administrator of this gateway must accept the lower protection of partner",
    ),
]


@pytest.mark.parametrize(("state", "reply", "by_administrator", "must_act", "begin"), STATES)
def test_a_delivery_says_its_state(
    state: str, reply: str, by_administrator: bool, must_act: MustAct, begin: str
) -> None:
    step = waiting_step(state, DOMAIN, reply, by_administrator=by_administrator)
    assert step.must_act is must_act
    assert step.text.startswith(begin)
    assert step.text.endswith(".")
    assert step.text.count(". ") == 0, "it is one sentence"


@pytest.mark.parametrize(
    ("reply", "must_act", "text"),
    [
        ("550 5.1.1 no such user", MustAct.SENDER, "The sender must act"),
        ("552 5.2.2 full", MustAct.REMOTE, "The administrators of partner.example must act"),
        ("550 5.4.6 loop", MustAct.GATEWAY, "An administrator of this gateway must act"),
        ("550 no", MustAct.REMOTE, "The administrators of partner.example must act"),
    ],
)
def test_what_failed_at_the_other_side_is_told_by_its_status(reply: str, must_act: MustAct, text: str) -> None:
    step = failed_step(DOMAIN, reply)
    assert step.must_act is must_act
    assert step.text.startswith(f"{text} before this message is sent again, because ")


def test_the_words_of_others_make_no_second_line() -> None:
    step = waiting_step("deferred", "a\nb\u202e", deferral("NoCertificate", host="x\ty"))
    assert step.text.isprintable()


def test_what_the_gateway_must_do_comes_first() -> None:
    steps = [NextStep(MustAct(value), value) for value in ("nobody", "sender", "gateway", "remote")]
    found = first_of(steps)
    assert found is not None
    assert found.text == "gateway"
    assert first_of([]) is None


def test_what_waits_comes_before_what_is_delivered() -> None:
    waits = waiting_step("deferred", DOMAIN, "450 4.2.1 later")
    assert first_of([NextStep(MustAct.NOBODY, "Nobody has to act: it was delivered."), waits]) == waits


def test_no_text_of_a_peer_is_in_a_sentence() -> None:
    said = "450 4.7.320 call 555 [Message=UntrustedRoot call 555] [LastAttemptedServerName=<b>call 555</b>] call 555"
    for step in (waiting_step("deferred", DOMAIN, said), failed_step(DOMAIN, said)):
        assert "555" not in step.text
        assert step.text.startswith("The administrators of partner.example must present a certificate")


def test_a_step_without_its_end_is_for_alarms() -> None:
    step = required_step("b.example", "450 4.4.316 Connection refused [LastAttemptedServerName=mx.b.example]")
    assert step is not None
    assert step.text == "The administrators of mx.b.example must start their mail server, or let this gateway in"
    assert required_step("b.example", "451 4.3.0 try later") is None


def test_a_full_mailbox_is_named_while_the_mail_waits() -> None:
    step = waiting_step("deferred", DOMAIN, "452 4.2.2 <ann@partner.example> Quota exceeded (mailbox for user is full)")
    assert step.must_act is MustAct.NOBODY
    assert step.text == "Nobody has to act yet: the mailbox of the recipient is full, and the gateway tries again."
