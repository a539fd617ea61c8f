from __future__ import annotations

import json

import pytest

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.policy.connectors.match import Attribution
from gatepost.policy.connectors.records import InboundConnector
from gatepost.policy.connectors.values import AuthenticationResults, HookType, RecipientValidation
from gatepost.policy.decisions.content import ContentDemand, Demand
from gatepost.policy.decisions.decision import InboundVerdict, OutboundDecision, passed_over_record
from gatepost.policy.decisions.parties import SenderPart
from gatepost.policy.decisions.recipient_validation import RecipientQuestion
from gatepost.policy.decisions.requirement import Encrypted, Opportunistic, Source
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

NOBODY = Attribution("none", None, None, "none", ())
OK = Reply(250, "2.1.5", ("Recipient ok",))
LOCKED = Reply(550, "5.7.51", ("no",))


def test_what_was_passed_over_is_bounded_unless_all_is_asked_for() -> None:
    many = [(f"connector '{one}' of o", "is disabled") for one in range(30)]
    assert passed_over_record(many)[0] == {"connector": "connector '0' of o", "why": "is disabled"}
    assert len(passed_over_record(many)) == 20
    assert len(passed_over_record(many, limit=None)) == 30


def test_an_inbound_decision_leaves_out_what_is_not_there() -> None:
    verdict = InboundVerdict(True, OK, "o", "incoming", "", "opportunistic", ("because",), NOBODY)
    assert verdict.detail() == {"configuration": 0, "basis": "none", "reasons": ["because"]}
    assert verdict.record() == {
        "accepted": True,
        "reply": "250 2.1.5 Recipient ok",
        "organization": "o",
        "direction": "incoming",
        "connector": "",
        "requirement": "opportunistic",
        "configuration": 0,
        "basis": "none",
        "reasons": ["because"],
    }


def test_an_inbound_decision_tells_who_is_asked_and_what_was_answered() -> None:
    hook = ContentHook(name="av", type=HookType.CLAMAV, address="127.0.0.1", timeout=90.0)
    verdict = InboundVerdict(
        True, OK, "o", "incoming", "", "opportunistic", (), NOBODY, hooks=(ApplicableHook("o", hook),)
    )
    assert "content_hooks" not in verdict.detail()
    assert verdict.record()["content_hooks"] == [
        {
            "hook": "av",
            "organization": "o",
            "type": "clamav",
            "address": "127.0.0.1:3310",
            "mode": "enforce",
            "timeout": "90s",
            "on_failure": "defer",
        }
    ]
    examined = replace(verdict, examined=({"hook": "av", "action": "no-action"},))
    assert examined.detail()["content_hooks"] == [{"hook": "av", "action": "no-action"}]


def test_a_question_is_part_of_the_decision_until_it_is_answered() -> None:
    domain = AcceptedDomain(name="o.example", recipient_validation=RecipientValidation.CALLOUT)
    question = RecipientQuestion("o", domain, parse_address("nobody@o.example"))
    verdict = InboundVerdict(True, OK, "o", "incoming", "", "opportunistic", ("because",), NOBODY, question=question)
    refused = verdict.answered(LOCKED, "it is unknown")
    assert (refused.accepted, refused.reply, refused.reasons) == (False, LOCKED, ("because", "it is unknown"))
    accepted = verdict.answered(None, "it exists")
    assert (accepted.accepted, accepted.reply, accepted.reasons) == (True, OK, ("because", "it exists"))
    assert refused.question is accepted.question is None
    foretold = verdict.foretold()
    assert "is asked at RCPT TO (callout)" in foretold.reasons[-1]
    assert foretold.supposes_recipient
    assert foretold.record()["supposes_recipient"] is True
    unasked = replace(verdict, question=replace(question, is_from_null=True)).foretold()
    assert not unasked.supposes_recipient, "nobody is asked, and it is accepted"
    assert "supposes_recipient" not in unasked.record()
    assert replace(verdict, accepted=False).foretold().question is question
    assert accepted.foretold() is accepted


def test_an_inbound_decision_tells_of_rehearsal_and_of_others() -> None:
    verdict = InboundVerdict(
        accepted=True,
        reply=OK,
        organization="o",
        direction="incoming",
        connector="x",
        requirement="opportunistic",
        rehearsed="encrypted",
        reasons=(),
        attribution=NOBODY,
        would_refuse=LOCKED,
        would_refuse_connector="trial",
        passed_over=(("connector 'y' of o", "is less specific"),),
        basis="sender",
        configuration=17,
    )
    detail = verdict.detail()
    assert detail == {
        "configuration": 17,
        "basis": "sender",
        "reasons": [],
        "passed_over": [{"connector": "connector 'y' of o", "why": "is less specific"}],
        "rehearsal": {"requirement": "encrypted"},
        "would_refuse": "550 5.7.51 no",
        "would_refuse_connector": "trial",
    }
    assert json.loads(json.dumps(verdict.record())) == verdict.record()


def test_an_outbound_decision() -> None:
    encrypted = Encrypted((Source("connector", "x"), Source("rule", "r")))
    mailbox = OutboundDecision(17, "o", "mailbox", ("a@o.example",), "", None, None, (), ())
    assert mailbox.record() == {
        "configuration": 17,
        "organization": "o",
        "way": "mailbox",
        "next_hops": ["a@o.example"],
        "connector": "",
        "reasons": [],
    }
    over = (("connector 'y' of o", "is less specific"),)
    sent = OutboundDecision(17, "o", "mx", ("b.test",), "x", Opportunistic(()), encrypted, ("because",), over)
    assert sent.record() == {
        "configuration": 17,
        "organization": "o",
        "way": "mx",
        "next_hops": ["b.test"],
        "connector": "x",
        "reasons": ["because"],
        "requirement": "opportunistic",
        "requirement_sources": [],
        "passed_over": [{"connector": "connector 'y' of o", "why": "is less specific"}],
        "rehearsal": {"requirement": "encrypted", "sources": ["connector:x", "rule:r"]},
    }
    nowhere = OutboundDecision(17, "o", "nowhere", (), "", None, None, (), (), LOCKED, "it is unknown")
    assert nowhere.record()["reply"] == "550 5.7.51 no"
    assert nowhere.record()["detail"] == "it is unknown"


def test_an_outbound_decision_says_what_is_asked_of_the_content() -> None:
    asked = ContentDemand(Demand.of("rule", ["r"]))
    sent = OutboundDecision(1, "o", "mx", ("b.test",), "", Opportunistic(()), None, (), (), content=asked)
    assert sent.record()["smime"] == {"encrypt": {"required_by": ["rule:r"]}}


def test_an_outbound_decision_says_whose_demands_were_joined() -> None:
    made = OutboundDecision(1, "o", "mx", ("b.example",), "", None, None, (), (), sender=SenderPart("p", None))
    assert made.record()["sender_demands"] == {"organization": "p", "connector": ""}


def test_a_decision_in_which_another_organization_had_its_say_tells_where_that_begins() -> None:
    mine = replace(NOBODY, reasons=("known",))
    verdict = InboundVerdict(True, OK, "o", "incoming", "", "opportunistic", ("known", "theirs"), mine)
    assert "recipient_organization" not in replace(verdict, recipient_organization="o").detail()
    told = replace(verdict, recipient_organization="p").detail()
    assert (told["recipient_organization"], told["own_reasons"]) == ("p", 1)
    assert "connector_of_recipient" not in told
    partner = InboundConnector(name="theirs", connector_type="partner", sender_domains=("*",))
    known = replace(mine, connector=partner)
    for attribution, connector, theirs in ((mine, "theirs", True), (known, "theirs", False), (known, "else", True)):
        one = replace(verdict, recipient_organization="p", connector=connector, attribution=attribution)
        assert ("connector_of_recipient" in one.detail()) is theirs


@pytest.mark.parametrize(("of_recipient", "whose"), [(False, "o"), (True, "p")])
def test_a_decision_says_whose_connector_would_have_refused(of_recipient: bool, whose: str) -> None:
    refused = {"would_refuse": LOCKED, "would_refuse_connector": "in", "would_refuse_of_recipient": of_recipient}
    verdict = InboundVerdict(True, OK, "o", "originating", "", "opportunistic", (), NOBODY, **refused)
    assert replace(verdict, recipient_organization="p").detail()["would_refuse_organization"] == whose
    assert "would_refuse_organization" not in verdict.detail()


def test_what_a_connector_of_the_recipients_organization_refused_counts_there_alone() -> None:
    verdict = InboundVerdict(False, LOCKED, "o", "originating", "", "opportunistic", (), NOBODY, refused_by="partner")
    assert replace(verdict, recipient_organization="p").detail()["refused_by_connector"] == "partner"
    assert "refused_by_connector" not in replace(verdict, recipient_organization="o").detail()


def test_the_reason_by_which_a_connector_applied_is_one_of_those_that_are_told() -> None:
    verdict = InboundVerdict(True, OK, "o", "incoming", "in", "opportunistic", ("its domain",), NOBODY)
    assert replace(verdict, applied_by="its domain").record()["applied_by"] == "its domain"
    assert "applied_by" not in replace(verdict, applied_by="another").record()


def test_who_authenticates_and_what_was_found() -> None:
    verdict = InboundVerdict(
        True, OK, "o", "incoming", "", "opportunistic", (), NOBODY, authentication=AuthenticationResults.GATEWAY
    )
    assert "authentication" not in verdict.detail()
    assert verdict.record()["authentication_results"] == "gateway"
    found = {"by": "gateway", "results": ["spf=pass"]}
    assert replace(verdict, authenticated=found).detail()["authentication"] == found
