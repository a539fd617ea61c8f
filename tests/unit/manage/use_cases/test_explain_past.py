"""What the trace says was decided, asked again by who may see it; the rows are written as a gateway writes them."""

from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.explain import ExplainRequest, explain
from gatepost.manage.use_cases.explain_past import DecisionDifference, differences, past_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.sqlite.trace import write_events

OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset({Scope.READ}), frozenset({"contoso"}))
FABRIKAM = Principal("fab", frozenset({Scope.READ}), frozenset({"fabrikam"}))
AT = 1_795_528_800.0
MESSAGE = "000000000000001a"
ANN, BOB, FAY = "ann@contoso.example", "bob@contoso.example", "fay@fabrikam.example"
BANK = "x@bank.example"
TLS = {
    "version": "TLSv1.3",
    "suite": "TLS_AES_256_GCM_SHA384",
    "group": "X25519MLKEM768",
    "chain": "trusted",
    "certificate": {"subject": "CN=bank.example", "names": ["bank.example"], "sha256": "aa" * 32},
}
RESOURCES = {
    "organization": {
        "contoso": {
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [{"address": ANN}],
            "inbound_connector": [{"name": "bank-in", "sender_domains": ["bank.example"], "require_tls": True}],
            "outbound_connector": [{"name": "bank-out", "recipient_domains": ["bank.example"]}],
        },
        "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
    }
}


def row(place, event="RECEIVE", recipient=ANN, organization="contoso", **more):
    given = {"message": MESSAGE, "direction": "incoming", "session": "5e55", "sender": BANK} | more
    return TraceEvent(AT + place, event, recipient=recipient, organization=organization, **given)


@pytest.fixture
def kept(gateway):
    with gateway.config() as store:
        store.apply(RESOURCES, author="root")

    def keep(*rows):
        write_events(gateway.data / "trace", "0", rows)
        return gateway

    return keep


@pytest.mark.parametrize(
    ("who", "identity", "recipient"),
    [
        (OWNER, "nothing", ""),
        (OWNER, MESSAGE, "eve@contoso.example"),
        (OWNER, "", ""),
        (CONTOSO, MESSAGE, FAY),
        (CONTOSO, "<far@fabrikam.example>", ""),
        (OWNER, "000000000000001b", ""),
    ],
)
def test_what_is_not_there_for_whoever_asks(kept, who, identity, recipient):
    gateway = kept(
        row(0),
        row(1, recipient=FAY, organization="fabrikam", message_id="<far@fabrikam.example>"),
        row(2, "HOLD", message="000000000000001b"),
    )
    with pytest.raises(Refusal) as refused:
        past_of(gateway, who, identity, recipient)
    assert refused.value.kind is RefusalKind.MISSING


# who -> recipients of the message that they are told of
@pytest.mark.parametrize(("who", "expected"), [(OWNER, (ANN, FAY)), (CONTOSO, (ANN,)), (FABRIKAM, (FAY,))])
def test_recipients_of_others_are_not_there(kept, who, expected):
    gateway = kept(row(0), row(1, recipient=FAY, organization="fabrikam"), row(2, "SEND", organization="contoso"))
    past = past_of(gateway, who, MESSAGE)
    assert (past.recipients, past.recipient, past.sender) == (expected, expected[0], BANK)


def test_the_newest_attempt_counts_and_each_recipient_has_its_own(kept):
    gateway = kept(
        row(0),
        row(1, recipient=BOB),
        row(2, "DEFER", reply="450 4.7.320 first"),
        row(3, "DEFER", BOB, reply="450 bob's"),
        row(4, "DEFER", reply="450 4.7.320 second"),
        row(5, "HOLD"),
    )
    past = past_of(gateway, OWNER, MESSAGE)
    assert (past.inbound.at, past.outbound.reply) == (AT, "450 4.7.320 second")
    assert past_of(gateway, OWNER, MESSAGE, BOB).outbound.reply == "450 bob's"


def test_a_row_of_how_it_came_may_be_gone(kept):
    past = past_of(kept(row(1, "SEND")), OWNER, MESSAGE)
    assert (past.inbound, past.sender, past.question) == (None, BANK, ExplainRequest(BANK, ANN))


# fields of the row -> headers of the question, whether REQUIRETLS
HEADERS = [
    ({}, (), False),
    ({"subject": "Your invoice"}, ("Subject: Your invoice",), False),
    ({"subject": "a", "detail": {"tls_required": "No"}}, ("Subject: a", "TLS-Required: No"), False),
    ({"detail": {"tls_required": "Yes"}}, (), False),
    ({"detail": {"requiretls": True}}, (), True),
    ({"subject": "<script>alert(1)</script>: x"}, ("Subject: <script>alert(1)</script>: x",), False),
]


@pytest.mark.parametrize(("fields", "headers", "require_tls"), HEADERS)
def test_the_same_message_is_asked_about(kept, fields, headers, require_tls):
    gateway = kept(row(0, peer_address="192.0.2.7", peer_host="mail.bank.example", tls=TLS, **fields))
    question = past_of(gateway, OWNER, MESSAGE).question
    assert (question.sender, question.recipient) == (BANK, ANN)
    assert (question.headers, question.require_tls, question.live) == (headers, require_tls, False)
    assert (question.session.peer_ip, question.session.tls.version) == ("192.0.2.7", "TLSv1.3")
    explain(gateway, OWNER, question)  # whatever a stranger wrote, it is a question that can be asked


# the rows -> what is decided otherwise today
TODAY = [
    ((row(0, tls=TLS, connector="bank-in", requirement="encrypted"),), []),
    (
        (row(0, "REFUSE", message="", tls=TLS, connector="bank-in", requirement="encrypted"),),
        [("inbound", "refused", "accepted")],
    ),
    (
        (row(0, requirement="opportunistic"),),
        [
            ("inbound", "accepted", "refused"),
            ("inbound connector", "", "bank-in"),
            ("inbound requirement", "opportunistic", "encrypted"),
        ],
    ),
]


@pytest.mark.parametrize(("rows", "expected"), TODAY, ids=["the same", "accepted now", "refused now"])
def test_what_is_decided_otherwise_today(kept, rows, expected):
    gateway = kept(*rows)
    past = past_of(gateway, OWNER, "5e55")
    assert differences(past, explain(gateway, OWNER, past.question)) == [DecisionDifference(*one) for one in expected]


# detail of the attempt, its connector and requirement -> what is decided otherwise today
OUTWARD = [
    ({}, "bank-out", "opportunistic", []),
    ({}, "old", "opportunistic", [("outbound connector", "old", "bank-out")]),
    ({}, "bank-out", "encrypted", [("outbound requirement", "encrypted", "opportunistic")]),
    ({"requirement_sources": ["connector:bank-out"]}, "bank-out", "encrypted", None),
    ({"requirement_sources": ["dane:bank.example"]}, "bank-out", "authenticated(dane)", []),
    ({"requirement_sources": ["mta-sts:bank.example", "connector:bank-out"]}, "bank-out", "authenticated(a)", []),
]


@pytest.mark.parametrize(("detail", "connector", "requirement", "expected"), OUTWARD)
def test_what_was_published_then_is_no_difference(kept, detail, connector, requirement, expected):
    given = {"sender": ANN, "recipient": BANK, "direction": "originating"}
    given |= {"connector": connector, "requirement": requirement, "detail": detail}
    gateway = kept(row(1, "SEND", **given))
    past = past_of(gateway, OWNER, MESSAGE)
    found = differences(past, explain(gateway, OWNER, past.question))
    if expected is None:
        expected = [("outbound requirement", requirement, "opportunistic")]
    assert found == [DecisionDifference(*one) for one in expected]


def test_what_another_organization_decides_today_is_no_difference_to_be_told(kept):
    """A row of theirs from when the domain was theirs; today another organization has it."""
    gateway = kept(
        row(0, recipient=FAY, sender=ANN, connector="gone"), row(1, "SEND", FAY, sender=ANN, connector="gone")
    )
    past = past_of(gateway, CONTOSO, MESSAGE)
    answer = explain(gateway, CONTOSO, past.question)
    assert answer.withheld == {"inbound", "outbound"}
    assert differences(past, answer) == []
