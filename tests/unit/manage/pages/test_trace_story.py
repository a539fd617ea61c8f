from __future__ import annotations

import pytest

from gatepost.language import in_language
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.pages.trace_story import STEPS, _tls_facts, protection, recipients_of, story

AT = 1_795_528_800.0


def row(event="SEND", place=0.0, recipient="ann@a.example", **other):
    given = {"message": "000000000000001a", "direction": "originating", "session": "5e55", "sender": "bob@b.example"}
    return TraceEvent(AT + place, event, organization="contoso", recipient=recipient, **(given | other))


def facts(step):
    return dict(step.facts)


def test_a_deferral_says_who_asked_what_was_achieved_and_why_not_otherwise():
    (step,) = story(
        [
            row(
                "DEFER",
                peer_host="mx.a.example",
                peer_address="192.0.2.1:25",
                connector="a",
                requirement="authenticated(mx.a.example)",
                achieved="dnssec/encrypted",
                reply="450 4.7.320 Certificate validation failed",
                result_type="certificate-host-mismatch",
                tls={
                    "version": "TLSv1.3",
                    "suite": "TLS_AES_256_GCM_SHA384",
                    "group": "X25519MLKEM768",
                    "resumed": True,
                    "chain": "trusted",
                    "chain_detail": "it leads to a root",
                    "certificate": {
                        "subject": "CN=x",
                        "names": ["x", "y"],
                        "issuer": "CN=i",
                        "not_after": AT,
                        "sha256": "ab",
                    },
                },
                detail={
                    "requirement_sources": ["connector:a", "dane"],
                    "reasons": ["first", "second"],
                    "passed_over": [{"connector": "b", "why": "is disabled"}],
                    "tries": [{"host": "mx1", "address": "192.0.2.1", "reply": "450", "detail": ""}],
                    "transcript": ["> EHLO", "< 250"],
                    "detail": "Expected Subject",
                    "attempt": 2,
                    "seconds": 1.5,
                    "next_attempt": AT + 60,
                    "configuration": 7,
                    "dane": {"status": "insecure"},
                },
            )
        ]
    )
    assert (step.title, step.level, step.protection) == ("Deferred, attempt 2", "waiting", "encrypted")
    assert facts(step) == {
        "Remote server": "mx.a.example [192.0.2.1:25]",
        "Connector": "a",
        "Required": "TLS with a verified certificate for mx.a.example, required by connector a, DANE",
        "Achieved": "dnssec/encrypted",
        "TLS": "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768, resumed",
        "Certificate": "CN=x for x, y",
        "Issuer": "CN=i",
        "Expires": 1795528800.0,
        "SHA-256": "ab",
        "Chain": "trusted: it leads to a root",
        "TLS failure": "Certificate name mismatch <code>certificate-host-mismatch</code>",
        "Detail": "Expected Subject",
        "Duration": "1.500 s",
        "Next attempt": 1795528860.0,
        "Configuration": "revision 7",
    }
    assert (step.reasons, step.passed_over) == (["first", "second"], [("b", "is disabled")])
    assert step.tries[0]["host"] == "mx1"
    assert step.transcript == "> EHLO\n< 250"
    assert ("dane", "status: insecure") in step.more
    assert '"event": "DEFER"' in step.raw


def test_a_reason_is_shown_once():
    """A refusal has the last of its reasons apart, too, for log lines."""
    (step,) = story([row("REFUSE", reply="550 5.7.64 no", detail={"reasons": ["first", "second"], "why": "second"})])
    assert (step.reasons, facts(step).get("Detail"), step.more) == (["first", "second"], None, [])


def test_a_rehearsal_is_told_with_what_it_would_have_said():
    verdict = {"requirement": "authenticated(mx.a.example)", "passed": False, "message": "UntrustedRoot"}
    (step,) = story([row("SEND", detail={"rehearsal": verdict})])
    assert facts(step)["Rehearsal"] == "does not meet TLS with a verified certificate for mx.a.example: UntrustedRoot"
    (step,) = story([row("SEND", detail={"rehearsal": verdict | {"passed": True}})])
    assert facts(step)["Rehearsal"] == "meets TLS with a verified certificate for mx.a.example"


def test_tls_of_which_not_all_is_known_is_told_as_far_as_it_is():
    facts = dict(_tls_facts({"version": "TLSv1.3", "suite": None, "group": "X25519"}))
    assert facts["TLS"] == "TLSv1.3 X25519"


def test_what_was_found_of_a_certificate_is_in_the_language_of_the_page():
    tls = {
        "chain": "trusted",
        "chain_detail": "the chain leads to the trust anchor CN=root",
        "revocation": "not-published: CN=mx names neither a CRL nor an OCSP responder",
    }
    with in_language("sv"):
        told = dict(_tls_facts(tls))
    assert told["Kedja"] == "trusted: kedjan leder till förtroendeankaret CN=root"
    assert told["Återkallning"] == "not-published: CN=mx namnger varken en CRL eller en OCSP-server"


def test_recipients_of_one_transaction_are_one_step():
    rows = [row("RECEIVE", recipient=f"{number}@a.example") for number in range(3)]
    rows += [
        row("SEND", 1, recipient="0@a.example", reply="250 a"),
        row("SEND", 1, recipient="1@a.example", reply="250 b"),
    ]
    assert [(step.event, step.count) for step in story(rows)] == [("RECEIVE", 3), ("SEND", 1), ("SEND", 1)]
    assert story(rows)[0].recipients == ["0@a.example", "1@a.example", "2@a.example"]


def test_a_very_long_story_is_told_from_both_ends():
    told = story([row("DEFER", number * 10) for number in range(STEPS + 40)])
    assert len(told) == STEPS + 1
    assert [one for one in told if isinstance(one, int)] == [40]
    assert (told[0].when, told[-1].when) == (AT, AT + (STEPS + 39) * 10)


@pytest.mark.parametrize(
    ("event", "detail", "title"),
    [
        ("HOLD", {"author": "olga"}, "Held by olga"),
        ("RETURN", {"author": "olga", "text": "Closed"}, "Return to the sender requested by olga"),
        ("FAIL", {"returned": "olga"}, "Returned to the sender by an administrator"),
        ("FAIL", {}, "Failed permanently"),
        ("DEFER", {"attempt": 2}, "Deferred, attempt 2"),
        ("DEFER", {"attempt": 1, "suspended": True}, "Deferred without an attempt: other mail had just failed there"),
        ("NOVEL", {}, "NOVEL"),
    ],
)
def test_titles(event, detail, title):
    (step,) = story([row(event, detail=detail)])
    assert step.title == title
    assert step.text == detail.get("text", "")


def test_each_recipient_has_what_happened_last():
    rows = [row("RECEIVE"), row("RECEIVE", recipient="joe@a.example"), row("SEND", 5, achieved="none/authenticated")]
    states = [(one.address, one.event, one.protection) for one in recipients_of(rows)]
    assert states == [("ann@a.example", "SEND", "verified"), ("joe@a.example", "RECEIVE", "")]


@pytest.mark.parametrize(
    ("achieved", "event", "shown"),
    [
        ("none", "RECEIVE", "cleartext"),
        ("none/none", "SEND", "cleartext"),
        ("encrypted", "RECEIVE", "encrypted"),
        ("dnssec/authenticated", "SEND", "verified"),
        ("", "DELIVER", ""),
        ("none/none", "HOLD", ""),
        *(("none/none", event, "") for event in ("DEFER", "FAIL", "EXPIRE", "REFUSE")),
        ("none/encrypted", "DEFER", "encrypted"),
    ],
)
def test_protection(achieved, event, shown):
    assert protection(row(event, achieved=achieved)) == shown


def test_rows_are_cut():
    (step,) = story([row(detail={"long": "x" * 10_000})])
    assert len(step.raw) < 4200


def test_a_delivery_is_not_told_as_a_journal_copy_of_the_same_moment():
    reply = "250 2.0.0 Delivered to the mailbox"
    copy = row("DELIVER", recipient="journal@a.example", reply=reply, detail={"journal": {"form": "report"}})
    first, second = story([copy, row("DELIVER", reply=reply)])
    assert (first.title, first.recipients) == ("Journal report: delivered to a mailbox", ["journal@a.example"])
    assert (second.title, second.recipients) == ("Delivered to a mailbox", ["ann@a.example"])


def test_recipients_whom_others_hold_are_told_apart():
    holds = [[{"by": "content hook 'av'"}], [{"by": "mail flow rule 'r'"}]]
    rows = [row("QUARANTINE", detail={"quarantine": "contoso", "holds": each, "until": AT}) for each in holds]
    assert [facts(step)["Held by"] for step in story(rows)] == ["content hook 'av'", "mail flow rule 'r'"]
    assert len(story([rows[0], rows[0]])) == 1
