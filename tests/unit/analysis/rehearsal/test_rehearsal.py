from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.analysis.conftest import NOON, hop_row, session_row, stored

from gatepost.analysis.rehearsal import rehearsal
from gatepost.analysis.rehearsal.recorded import Decision, Effect
from gatepost.analysis.rehearsal.rehearsal import (
    COLUMNS,
    Judged,
    Report,
    Seen,
    Subject,
    inbound_report,
    outbound_report,
    replayed_report,
)
from gatepost.mail.model.trace_event import TraceEvent


def ours(organization: str, recipient: str) -> bool:
    return organization == "contoso" or recipient.endswith("@contoso.example")


BANK = Subject("contoso", "bank", rule=False, ours=ours)
LAB = Subject("contoso", "lab", rule=False, ours=ours)
RULE = Subject("contoso", "secret", rule=True, ours=ours)
REFUSAL = "550 5.7.51 A partner connector binds this sender's domain"
WOULD = {
    "would_refuse": REFUSAL,
    "would_refuse_connector": "bank",
    "reasons": [f"would_refuse: {REFUSAL}: no certificate; not applied, as the connector is in rehearsal"],
}
STOOD_BACK = {
    "passed_over": [{"connector": "connector 'bank' of contoso", "why": "would go first, but is in rehearsal"}]
}


def rows(events: Sequence[TraceEvent]) -> list[tuple[Any, ...]]:
    return [stored(COLUMNS, event) for event in events]


def received(**fields: Any) -> TraceEvent:
    return session_row(**{"connector": "bank", **fields})


# rows, newest first -> passed, failed, and (peer, reason, why) of those that failed
INBOUND: dict[str, tuple[list[TraceEvent], int, int, set[tuple[str, str, str]]]] = {
    "nothing": ([], 0, 0, set()),
    "one passed": ([received()], 1, 0, set()),
    "one failed": ([received(detail=WOULD)], 0, 1, {("192.0.2.1", "550 5.7.51", "no certificate")}),
    "recipients of one message": (
        [received(detail=WOULD), received(recipient="b@contoso.example"), received(recipient="c@contoso.example")],
        0, 1, {("192.0.2.1", "550 5.7.51", "no certificate")},
    ),
    "the other recipient failed": ([received(), received(detail=WOULD)], 0, 1,
                                   {("192.0.2.1", "550 5.7.51", "no certificate")}),
    "two messages": ([received(), received(message="1b")], 2, 0, set()),
    "refused": (
        [received(event="REFUSE", message="", reply="530 5.7.0 Must [mx 1]", detail={"reasons": ["a", "in clear"]})],
        0, 1, {("192.0.2.1", "530 5.7.0", "in clear")},
    ),
    "refused recipients have no message": (
        [received(event="REFUSE", message="", reply=REFUSAL)] * 2, 0, 2, {("192.0.2.1", "550 5.7.51", REFUSAL)},
    ),
    "refused for another reason": (
        [received(event="REFUSE", message="", reply="550 5.1.1 no such mailbox")], 0, 0, set(),
    ),
    "another connector": ([received(connector="other")], 0, 0, set()),
    "a connector of that name elsewhere": (
        [received(organization="fabrikam", recipient="a@fabrikam.example")], 0, 0, set(),
    ),
    "another organization's connector of that name": ([received(organization="fabrikam")], 0, 0, set()),
    "enforced behind it": (
        [received(connector="other", detail=WOULD)], 0, 1, {("192.0.2.1", "550 5.7.51", "no certificate")},
    ),
    "enforced behind it, passed": ([received(connector="other", detail=STOOD_BACK)], 1, 0, set()),
    "passed over for another reason": (
        [received(connector="other", detail={"passed_over": [{"connector": "connector 'bank' of contoso", "why": "x"},
                                                             {"connector": "z", "why": "would go first"}]})],
        0, 0, set(),
    ),
    "passed over, not named": (
        [received(connector="other", detail={"passed_over": [{"connector": "z", "why": "would go first"}]})],
        0, 0, set(),
    ),
    "another one in rehearsal": (
        [received(detail=WOULD | {"would_refuse_connector": "other"})], 1, 0, set(),
    ),
    "refused by another": (
        [received(connector="other", event="REFUSE", message="", reply=REFUSAL, detail=WOULD)], 0, 0, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "passed", "failed", "groups"), INBOUND.values(), ids=INBOUND)
def test_what_an_inbound_connector_did(
    events: list[TraceEvent], passed: int, failed: int, groups: set[tuple[str, str, str]]
) -> None:
    found = inbound_report(rows(events), BANK)
    assert found.counts == {Judged.PASSED: passed, Judged.FAILED: failed, Judged.UNKNOWN: 0}
    assert {(one.peer, one.reason, one.why) for one in found.failed()} == groups
    assert found.answer is (False if failed else True if passed else None)


def test_what_an_earlier_form_of_a_connector_did_is_not_judged() -> None:
    events = [received(message=str(n), detail=WOULD | {"configuration": n} if n else WOULD) for n in (0, 3, 4, 5)]
    refused = received(event="REFUSE", message="", reply=REFUSAL, detail={"configuration": 3})
    other = received(event="REFUSE", message="", reply="550 5.1.1 x", detail={"configuration": 3})
    found = inbound_report(rows([*events, refused, other]), BANK._replace(formed=4))
    assert found.counts == {Judged.PASSED: 0, Judged.FAILED: 3, Judged.UNKNOWN: 2}
    (group,) = found.unknown()
    assert (group.reason, group.peer) == ("decided before", "192.0.2.1")
    assert group.why == (
        "decided by configuration version 3, before the connector was changed to its present form by version 4"
    )


def test_nor_what_an_earlier_form_of_a_rule_did() -> None:
    events = [tried(message=str(n), detail=PASSED | {"configuration": n}) for n in (3, 4)]
    found = outbound_report(rows(events), RULE._replace(formed=4))
    assert found.counts == {Judged.PASSED: 1, Judged.FAILED: 0, Judged.UNKNOWN: 1}
    assert "before the rule was changed" in found.unknown()[0].why


def test_an_enforced_connector_refused_nothing_while_it_was_in_rehearsal() -> None:
    refused = received(event="REFUSE", message="", reply=REFUSAL)
    inbound = [refused, received(message="1", detail=WOULD), received(message="2", connector="other", detail=WOULD)]
    found = inbound_report(rows(inbound), BANK._replace(enforced=True))
    assert found.counts == {Judged.PASSED: 2, Judged.FAILED: 1, Judged.UNKNOWN: 0}
    outbound = [tried(message=str(each), **fields) for each, fields in enumerate((HELD, SENT, {"detail": FAILED}))]
    lost = tried(message="3", event="DEFER", detail=FAILED, reply="450 4.4.316 Connection refused [x]")
    found = outbound_report(rows([*outbound, lost]), LAB._replace(enforced=True))
    assert found.counts == {Judged.PASSED: 2, Judged.FAILED: 1, Judged.UNKNOWN: 1}


TRIED = {"sources": ["connector:lab", "rule:secret"], "requirement": "encrypted"}
SHORTFALL = {"message": "UntrustedRoot", "result_type": "certificate-not-trusted", "detail": "why"}
FAILED = {"rehearsal": TRIED | {"passed": False} | SHORTFALL}
PASSED = {"rehearsal": TRIED | {"passed": True}}
FOREIGN = {
    "connector_organization": "contoso",
    "rehearsal": TRIED | {"sources": ["connector:lab of contoso"], "passed": True},
}
HELD = {
    "event": "DEFER", "result_type": "certificate-host-mismatch",
    "reply": "450 4.7.320 Certificate validation failed [Message=SubjectMismatch Expected Subject: x.] [LastAttempted",
    "detail": {"requirement_sources": ["connector:lab"], "detail": "Expected Subject: x."},
}  # fmt: skip
SENT = {"detail": {"requirement_sources": ["connector:lab", "rule:secret"]}}
LOST = {"event": "DEFER", "reply": "450 4.4.316 Connection refused [x]", "detail": {"detail": "refused"}}


def tried(**fields: Any) -> TraceEvent:
    return hop_row(**{"connector": "lab", **fields})


# rows, newest first -> passed, failed, unknown, waited, and (peer, reason, result type) of those that did not pass
OUTBOUND: dict[str, tuple[list[TraceEvent], tuple[int, int, int, int], set[tuple[str, str, str]]]] = {
    "nothing": ([], (0, 0, 0, 0), set()),
    "rehearsed, passed": ([tried(detail=PASSED)], (1, 0, 0, 0), set()),
    "rehearsed, failed": (
        [tried(detail=FAILED)], (0, 1, 0, 0), {("mx.lab.example", "UntrustedRoot", "certificate-not-trusted")},
    ),
    "twenty retries": ([tried(event="DEFER", detail=FAILED, at=NOON - n) for n in range(20)], (0, 1, 0, 0),
                       {("mx.lab.example", "UntrustedRoot", "certificate-not-trusted")}),
    "enforced, sent": ([tried(**SENT)], (1, 0, 0, 0), set()),
    "enforced, held": (
        [tried(**HELD)], (0, 1, 0, 0), {("mx.lab.example", "SubjectMismatch", "certificate-host-mismatch")},
    ),
    "enforced, held and then sent": ([tried(**SENT), tried(**HELD, at=NOON - 9), tried(**HELD, at=NOON - 19)],
                                     (1, 0, 0, 1), set()),
    "enforced, sent and then held": (  # another recipient
        [tried(**HELD), tried(**SENT, at=NOON - 9)], (0, 1, 0, 0),
        {("mx.lab.example", "SubjectMismatch", "certificate-host-mismatch")},
    ),
    "one attempt, two recipients": ([tried(**SENT), tried(**HELD)], (0, 1, 0, 0),
                                    {("mx.lab.example", "SubjectMismatch", "certificate-host-mismatch")}),
    "no connection": ([tried(**LOST, peer_host="")], (0, 0, 1, 0), {("lab.example", "450 4.4.316", "")}),
    "no connection at last": ([tried(**LOST), tried(detail=PASSED, at=NOON - 9)], (1, 0, 0, 0), set()),
    "no connection, twice": (
        [tried(**LOST), tried(**LOST, at=NOON - 9)], (0, 0, 1, 0), {("mx.lab.example", "450 4.4.316", "")},
    ),
    "held by what others ask for": (
        [tried(**HELD | {"detail": {"requirement_sources": ["default"]}})], (0, 0, 1, 0),
        {("mx.lab.example", "450 4.7.320", "certificate-host-mismatch")},
    ),
    "another connector": ([tried(connector="x", detail=FAILED)], (0, 0, 0, 0), set()),
    "another organization": ([tried(organization="x", detail=FAILED)], (0, 0, 0, 0), set()),
    "the recipient's organization": (
        [tried(organization="x", recipient="a@contoso.example", detail=FOREIGN)], (1, 0, 0, 0), set(),
    ),
    "a connector of that name, by which another organization sends": (
        [tried(organization="x", recipient="a@contoso.example", detail=PASSED)], (0, 0, 0, 0), set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "counts", "groups"), OUTBOUND.values(), ids=OUTBOUND)
def test_what_an_outbound_connector_did(
    events: list[TraceEvent], counts: tuple[int, int, int, int], groups: set[tuple[str, str, str]]
) -> None:
    found = outbound_report(rows(events), LAB)
    assert (*(found.counts[one] for one in Judged), found.waited) == counts
    assert {(one.peer, one.reason, one.result_type) for one in (*found.failed(), *found.unknown())} == groups
    assert found.messages == sum(counts[:3])


def test_what_a_mail_flow_rule_did() -> None:
    events = [
        tried(detail=FAILED, connector="x"),
        tried(message="2", **SENT),
        tried(message="3", detail={"rehearsal": TRIED | {"sources": ["connector:lab"], "passed": False}}),
        tried(message="4", detail={"requirement_sources": ["connector:lab"]}),
    ]
    found = outbound_report(rows(events), RULE)
    assert found.counts == {Judged.PASSED: 1, Judged.FAILED: 1, Judged.UNKNOWN: 0}


@pytest.mark.parametrize(
    ("reply", "detail", "word"),
    [
        (
            "550 5.7.320 Message expired, Failed [Message=STARTTLS is required to send mail Expected: TLS. x] [Last",
            "Expected: TLS. x",
            "STARTTLS is required to send mail",
        ),
        ("450 4.7.320 Failed [Message=UntrustedRoot something] [Last", "not in it", "UntrustedRoot something"),
        ("450 4.7.320 Failed [Message=UntrustedRoot] [Last", "", "UntrustedRoot"),
        ("450 4.4.317 no message", "", ""),
    ],
)  # fmt: skip
def test_the_word_of_a_deferral(reply: str, detail: str, word: str) -> None:
    event = tried(**HELD | {"reply": reply, "detail": {"requirement_sources": ["connector:lab"], "detail": detail}})
    (group,) = outbound_report(rows([event]), LAB).failed()
    assert group.reason == word


ACCEPTED = Decision(Effect.ACCEPTED, "contoso", "bank")
REFUSED = Decision(Effect.REFUSED, "contoso", "bank", reply=REFUSAL, why="no certificate")
UNKNOWN = Decision(Effect.UNKNOWN, why="who knows", others=(("contoso", "bank"), ("contoso", "")))
HELD_AGAIN = Decision(Effect.HELD, "contoso", "bank", reply="UntrustedRoot", result_type="x")
REPLAYED = [
    ([], (0, 0, 0)),
    ([(session_row(), ACCEPTED)], (1, 0, 0)),
    ([(session_row(), REFUSED)], (0, 1, 0)),
    ([(session_row(), ACCEPTED), (session_row(), REFUSED)], (0, 1, 0)),
    ([(session_row(event="REFUSE", message=""), REFUSED)] * 2, (0, 2, 0)),
    ([(session_row(), UNKNOWN)], (0, 0, 1)),
    ([(session_row(), Decision(Effect.UNKNOWN, why="x"))], (0, 0, 0)),
    ([(session_row(), Decision(Effect.ACCEPTED, "contoso", "other"))], (0, 0, 0)),
    ([(session_row(), Decision(Effect.ACCEPTED, "fabrikam", "bank"))], (0, 0, 0)),
    ([(session_row(), Decision(Effect.REFUSED, "contoso", "bank", reply="550 5.1.1 no mailbox"))], (0, 0, 0)),
    ([(hop_row(), Decision(Effect.DELIVERED, "contoso", "bank"))], (1, 0, 0)),
    ([(hop_row(), HELD_AGAIN), (hop_row(at=NOON - 9), HELD_AGAIN)], (0, 1, 0)),
    ([(hop_row(peer_host=""), HELD_AGAIN)], (0, 1, 0)),
]


@pytest.mark.parametrize(("decided", "counts"), REPLAYED)
def test_what_a_connector_would_have_done(
    decided: list[tuple[TraceEvent, Decision]], counts: tuple[int, int, int]
) -> None:
    found = replayed_report(((stored(COLUMNS, event), decision) for event, decision in decided), "contoso", "bank")
    assert tuple(found.counts[one] for one in Judged) == counts


def test_what_mail_of_a_hidden_organization_demands_is_not_told() -> None:
    """The reader is the connector's owner, whose way another organization's mail took."""
    held = {"detail": "Cleartext is ruled out by rule 'secret'", "requirement_sources": ["connector:lab of contoso"]}
    fields = {"event": "DEFER", "result_type": "starttls-not-supported", "reply": "450 4.4.317 x", "connector": "lab"}
    theirs = hop_row(
        organization="x", recipient="a@contoso.example", detail={"connector_organization": "contoso"} | held, **fields
    )
    own = hop_row(
        message="3c", peer_host="mx2.lab.example", detail=held | {"requirement_sources": ["connector:lab"]}, **fields
    )
    events, hidden = [theirs, own], LAB._replace(hidden={"x"})
    assert {one.why for one in outbound_report(rows(events), LAB).failed()} == {held["detail"]}
    assert {one.why.partition(" of ")[0] for one in outbound_report(rows(events), hidden).failed()} == {
        "mail", "Cleartext is ruled out by rule 'secret'",
    }  # fmt: skip
    again = Decision(Effect.HELD, "contoso", "lab", reply="no STARTTLS", why=str(held["detail"]))
    decided = [(stored(COLUMNS, theirs), again)]
    (group,) = replayed_report(decided, "contoso", "lab", {"x"}).failed()
    assert (group.reason, "secret" in group.why, "of another organization" in group.why) == ("no STARTTLS", False, True)


seen = st.builds(
    Seen,
    st.floats(NOON, NOON + 3 * 86400),
    st.sampled_from(Judged),
    st.sampled_from("abcdef"),
    st.just("host"),
    st.text(max_size=3),
    st.sampled_from(["", "x", "y"]),
)


@given(st.lists(seen))
def test_every_total_is_the_same_however_it_is_divided(found: list[Seen]) -> None:
    report = Report()
    for one in found:
        report.add(one)
    assert report.messages == len(found) == sum(group.messages for group in report.groups.values())
    for judged in Judged:
        count = sum(one.judged is judged for one in found)
        assert report.counts[judged] == count
        assert sum(day[judged] for day in report.days.values()) == count
        assert sum(counts[judged] for _, counts, _ in report.peers()) == count
    for group in report.groups.values():
        assert group.first <= group.last
        assert group.sample in {one.sample for one in found if one.at == group.last}


def test_peers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_GROUPS", 3)
    report = Report()
    for number in range(9):
        report.add(Seen(NOON, Judged.FAILED, f"192.0.2.{number}", "h", "s", "r"))
    assert next((one.peer, one.messages) for one in report.failed()) == ("(others)", 6)
    assert len(report.groups) == 4
