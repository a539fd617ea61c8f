from __future__ import annotations

import time

import pytest

RESOURCES = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "bank"
mode = "rehearse"
sender_domains = ["bank.example"]
[[organization.contoso.inbound_connector]]
name = "shop"
enabled = false
sender_domains = ["shop.example"]
[[organization.contoso.outbound_connector]]
name = "lab"
mode = "rehearse"
recipient_domains = ["lab.example"]
tls_settings = "encryption-only"
[[organization.contoso.outbound_connector]]
name = "forced"
recipient_domains = ["forced.example"]
tls_settings = "encryption-only"
[[organization.contoso.mail_flow_rule]]
name = "secret"
recipients = ["lab.example"]
require_tls = true
mode = "rehearse"
[organization.fabrikam]
[[organization.fabrikam.mail_flow_rule]]
name = "both"
require_tls = true
[organization.northwind]
[[organization.northwind.mail_flow_rule]]
name = "both"
require_tls = true
"""
NOW = time.time()
REFUSAL = {"would_refuse": "530 5.7.0 Must issue a STARTTLS command first", "would_refuse_connector": "bank"}
TRIAL = {"sources": ["connector:lab", "rule:secret"], "requirement": "encrypted"}
CLEAR = {"starttls_offered": False, "attempt": 1}


def received(message, **fields):
    usual = {"at": NOW - 60, "event": "RECEIVE", "message": message, "connector": "bank", "peer_address": "192.0.2.1"}
    return {**usual, "sender": "till@bank.example", **fields}


def sent(message, *, passed, **fields):
    shortfall = {} if passed else {"message": "NoTls", "result_type": "starttls-not-supported", "detail": "none"}
    return {
        "at": NOW - 60, "event": "SEND", "message": message, "connector": "lab", "direction": "originating",
        "sender": "ann@contoso.example", "recipient": "joe@lab.example", "peer_host": "mx.lab.example",
        "peer_address": "198.51.100.1:25", "requirement": "opportunistic", "achieved": "none/none",
        "detail": CLEAR | {"rehearsal": TRIAL | {"passed": passed} | shortfall}, **fields,
    }  # fmt: skip


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(RESOURCES))
    return home


def rehearsal(home, *words, code):
    return home.call("connector", "rehearsal", *words, code=code).stdout.splitlines()


def test_a_connector_that_would_refuse_is_not_ready(base):
    base.events(received("1", detail=REFUSAL), received("2"), received("3", detail=REFUSAL, peer_address="192.0.2.2"))
    first, counts, *rest, last = rehearsal(base, "bank", code=1)
    assert first.startswith("inbound connector 'bank' of contoso (mode rehearse), ")
    assert counts == "messages 3: would pass 1, would be refused 2, not judged 0"
    assert last == (
        "not ready to enforce: 2 of 3 messages would have been refused; see one with: gatepost trace show 1"
    )
    assert [line.split("\t")[:4] for line in rest if line.startswith("192.0.2.")][:2] == [
        ["192.0.2.1", "", "530 5.7.0", "1"], ["192.0.2.2", "", "530 5.7.0", "1"],
    ]  # fmt: skip
    found = base.json("connector", "rehearsal", "BANK", "--since", "1h", code=1)
    assert (found["answer"], found["messages"], found["passed"], found["failed"]) == (False, 3, 1, 2)
    assert found["peers"][0] == {"peer": "192.0.2.1", "passed": 1, "failed": 1, "unknown": 0, "last": NOW - 60}
    assert (found["groups"][0]["sample"], found["groups"][0]["judged"]) == ("1", "failed")
    assert [(day["passed"], day["failed"]) for day in found["days"]] == [(1, 2)]


def test_a_connector_that_lets_everything_pass_is_ready(base):
    base.events(received("1"), received("2", at=NOW - 40 * 86400, detail=REFUSAL))
    assert rehearsal(base, "bank", code=0)[-1] == "ready to enforce: the one message would not have been refused"
    assert base.json("connector", "rehearsal", "bank", "--since", "60d", code=1)["failed"] == 1


def test_without_mail_it_cannot_be_told(base):
    assert rehearsal(base, "bank", code=3)[-1] == "inconclusive: no matching mail in this time"
    hint = "inconclusive: no matching mail in this time; it is disabled: re-evaluate past mail to get a result"
    assert rehearsal(base, "shop", code=3)[-1] == hint
    base.events(
        {"at": NOW, "event": "DEFER", "recipient": "a@forced.example", "connector": "forced", "reply": "450 4.4.1 x"}
    )
    assert rehearsal(base, "forced", code=3)[-1] == "inconclusive: none of the messages could be evaluated"


def test_what_an_outbound_connector_and_a_rule_would_hold(base):
    base.events(sent("1", passed=False), sent("1", passed=False, at=NOW - 90, event="DEFER"), sent("2", passed=True))
    for words, label in (
        (("lab",), "outbound connector 'lab' of contoso"),
        (("secret", "--rule"), "mail flow rule 'secret' of contoso"),
    ):
        first, counts, *rest, last = rehearsal(base, *words, code=1)
        assert first.startswith(f"{label} (mode rehearse), ")
        assert counts == "messages 2: would be sent 1, would be held back 1, not judged 0"
        assert "NoTls (starttls-not-supported)" in "".join(rest)
        assert last.startswith("not ready to enforce: 1 of 2 messages would have been held")


def test_what_was_decided_before_it_was_what_it_is_says_nothing(base):
    """Sent while nothing was demanded: no reason to call the demand met."""
    freely = {"requirement_sources": ["connector:forced"], "configuration": 1}
    base.events(sent("1", passed=True, connector="forced", recipient="joe@forced.example", detail=freely))
    base.call("connector", "set", "forced", "tls_settings=certificate-validation", "mode=rehearse")
    lines = rehearsal(base, "forced", code=3)
    assert lines[1] == "messages 1: would be sent 0, would be held back 0, not judged 1"
    assert "was changed to its present form by version 2" in "".join(lines)
    assert lines[-1] == "inconclusive: none of the messages could be evaluated; re-evaluate them to get a result"
    found = base.json("connector", "rehearsal", "forced", code=3)
    assert (found["formed"], found["groups"][0]["reason"], found["rule"]) == (2, "decided before", False)
    base.call("connector", "set", "forced", "mode=enforce", "comment=x")
    assert rehearsal(base, "forced", code=0)[1] == "messages 1: sent 1, held back 0, not judged 0"
    base.call("connector", "set", "forced", "mode=rehearse", "comment=y")
    assert base.json("connector", "rehearsal", "forced", code=3)["formed"] == 2, "its demand is as old as before"


def test_how_far_back_its_form_is_looked_for(base):
    for number in range(12):
        base.call("connector", "set", "lab", f"comment={number}")
    assert base.json("connector", "rehearsal", "bank", code=3)["formed"] == 1
    assert base.json("connector", "rehearsal", "secret", "--rule", code=3)["formed"] == 1


def test_an_enforced_connector_tells_what_it_did(base):
    held = {"connector": "forced", "recipient": "joe@forced.example", "result_type": "starttls-not-supported"}
    detail = {"requirement_sources": ["connector:forced"], "detail": "Expected: TLS."}
    reply = "450 4.4.317 Cannot [Message=STARTTLS is required to send mail Expected: TLS.] [x]"
    base.events(
        sent("1", passed=True, **held, event="DEFER", reply=reply) | {"detail": detail, "at": NOW - 90},
        sent("1", passed=True, **held | {"result_type": ""}) | {"detail": detail},
        sent("2", passed=True, **held | {"result_type": ""}) | {"detail": detail},
    )
    lines = rehearsal(base, "forced", code=0)
    assert lines[1] == "messages 2: sent 2, held back 0, not judged 0"
    assert lines[2] == "of those sent, 1 waited first, because the requirement was not met"
    assert lines[-1] == "none of 2 messages were held back"
    base.events(sent("3", passed=True, **held, event="EXPIRE", reply=reply) | {"detail": detail})
    assert rehearsal(base, "forced", code=1)[-1] == (
        "1 of 3 messages was held back; see one with: gatepost trace show 3"
    )


def test_past_mail_is_decided_again_as_if_it_were_enforced(base):
    base.events(
        received("1", connector="", sender="x@shop.example"),
        received("2", connector="", sender="x@shop.example", tls={"version": "TLSv1.3"}),
        received("3", connector="", sender="x@elsewhere.example"),
        sent("4", passed=True, connector="", detail=CLEAR),
        sent("5", passed=True, connector="", event="DEFER", detail={"attempt": 1}),
    )
    lines = rehearsal(base, "shop", "--replay", code=1)
    assert lines[0].startswith("inbound connector 'shop' of contoso (replayed as if enforced, disabled), ")
    assert lines[1] == "messages 2: would pass 1, would be refused 1, inconclusive 0"
    lines = rehearsal(base, "lab", "--replay", code=1)
    assert lines[1] == "messages 2: would be sent 0, would be held back 1, inconclusive 1"
    assert "no connection of this attempt" in "".join(lines)


WRONG = [
    (("nobody",), "there is no connector 'nobody'; there are: 'bank', 'shop', 'lab', 'forced'\n"),
    (("nobody", "--rule"), "there is no mail flow rule 'nobody'; there are: 'secret', 'both'\n"),
    (
        ("both", "--rule"),
        "'both' could be each of: mail flow rule 'both' of fabrikam; mail flow rule 'both' of northw",
    ),
    (("secret", "--rule", "--replay"), "reports of rules cover outbound mail"),
    (("secret", "--rule", "--direction", "inbound"), "reports of rules cover outbound mail"),
    (("bank", "--since", "soon"), "neither an age like"),
    (("bank", "--organization", "x"), "there is no organization 'x'"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_use_says_what_to_do(base, words, said):
    result = base.call("connector", "rehearsal", *words, code=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_of_rules_of_one_name_the_organization_tells(base):
    assert rehearsal(base, "both", "--rule", "--organization", "northwind", code=3)[0].startswith(
        "mail flow rule 'both' of northwind (mode enforce), "
    )


def test_a_part_of_the_trace_that_cannot_be_read_is_said(base):
    base.events(received("1"))
    file = base.data / "trace" / f"{time.strftime('%Y-%m-%d', time.gmtime())}.9.db"
    file.write_bytes(b"no database, but long enough to be read as one " * 100)
    result = base.call("connector", "rehearsal", "bank", code=3)
    assert f"{file.name} of the trace cannot be read" in result.stderr
    assert "ready to enforce" in result.stdout
    assert base.json("connector", "rehearsal", "bank", code=3)["unreadable"] == [file.name]


def test_a_configuration_that_cannot_be_opened_is_not_known(home):
    home.data.mkdir()
    (home.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    home.call("connector", "rehearsal", "bank", code=3)
