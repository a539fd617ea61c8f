from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.decisions.withheld import (
    OTHERS_CONNECTOR,
    Hidden,
    concerns_others,
    inbound_without_others,
    named_in,
    own_chains,
    public_reply,
    without_others,
)
from gatepost.protocols.smtp.replies import Reply

WAY = {"connector_organization": "zeta", "sender_demands": {"organization": "omega", "connector": "all"}}
HANDED = (
    "another organization accepts the recipient's domain and decides where its mail goes; "
    "the demands of your organization apply too"
)
BEFORE = "another organization accepts the recipient's domain"


def row(detail: dict[str, Any], **fields: Any) -> TraceEvent:
    named = {"message": "1", "organization": "omega", "direction": "", "session": "", "sender": "", "recipient": ""}
    return TraceEvent(1.0, "SEND", **(named | fields), detail=detail)


def test_of_an_attempt_by_another_organizations_way_only_a_list_of_what_may_be_is_left() -> None:
    detail = WAY | {
        "configuration": 3,
        "requirement_sources": [
            "connector:hq of zeta",
            "rule:r of Zeta",
            "connector:all",
            "dane",
            "connector:in of zeta",
        ],
        "reasons": ["zeta accepts x.example"],
        "passed_over": [{"connector": "connector 'b' of zeta", "why": "x"}],
        "reply": "550 5.1.1 inside.example",
        "detail": "inside.example",
        "tries": [{"host": "inside.example"}],
        "attempt": 1,
        "something new": "inside.example",
    }
    tls = {"version": "TLSv1.3", "chain": "trusted", "certificate": {"subject": "CN=inside"}, "server_name": "inside"}
    fields = {"connector": "hq", "peer_host": "inside", "peer_address": "10.0.0.1:25", "tls": tls}
    shown = without_others(row(detail, requirement="authenticated(inside.example)", **fields))
    assert (shown["connector"], shown["peer_host"], shown["peer_address"]) == ("", "", "")
    assert (shown["requirement"], shown["tls"]) == ("authenticated", {"version": "TLSv1.3", "chain": "trusted"})
    assert shown["detail"].pop("reasons") == [HANDED]
    assert shown["detail"] == {
        "configuration": 3,
        "sender_demands": WAY["sender_demands"],
        "attempt": 1,
        "requirement_sources": [OTHERS_CONNECTOR, "another organization's mail flow rule", "connector:all", "dane"],
        "withheld": OTHERS_CONNECTOR,
    }


def test_a_mailbox_of_another_organization_is_named_no_more_than_its_connector() -> None:
    shown = without_others(row({"domain_organization": "zeta", "mailbox": "box7@zeta.example", "file": "x"}))
    assert set(shown["detail"]) == {"reasons", "withheld"}


RECEIVED = {
    "recipient_organization": "zeta",
    "own_reasons": 1,
    "basis": "address",
    "reasons": ["known by its address", "would_refuse: by connector 'p'"],
    "would_refuse": "530",
    "would_refuse_connector": "p",
    "passed_over": [
        {"connector": "connector 'a' of omega", "why": "it is less specific"},
        {"connector": "connector 'b' of omega", "why": "connector 'x' of zeta goes first"},
        {"connector": "connector 'c' of zeta", "why": "it is less specific"},
    ],
    "content_hooks": [{"hook": "a", "organization": "omega"}, {"hook": "b", "organization": "zeta"}],
    "why": "zeta's",
}
LEFT = {
    "basis": "address",
    "reasons": ["known by its address", BEFORE],
    "passed_over": RECEIVED["passed_over"][:1],
    "content_hooks": RECEIVED["content_hooks"][:1],
}


def test_of_how_a_message_came_the_recipients_organization_says_nothing() -> None:
    assert without_others(row(RECEIVED)) == {"detail": LEFT}
    shown = without_others(row(RECEIVED | {"connector_of_recipient": True}, requirement="authenticated(x)"))
    limited = row(RECEIVED | {"connector_of_recipient": True}, requirement="encrypted with groups P-256")
    assert without_others(limited)["requirement"] == "encrypted"
    assert (shown["connector"], shown["requirement"], shown["detail"]) == ("", "authenticated", LEFT)


def test_what_a_row_does_not_have_is_not_shown() -> None:
    assert without_others(row({"recipient_organization": "zeta"})) == {"detail": {"reasons": [BEFORE]}}


def test_an_organizations_own_row_keeps_all_but_sentences_that_name_hidden_ones() -> None:
    detail = {
        "reasons": ["own", "connector 'x' of zeta holds the address"],
        "why": "zeta has it",
        "kept": 1,
        "passed_over": [{"connector": "connector 'x' of zeta", "why": "y"}],
    }
    assert without_others(row(detail), ["zeta"])["detail"] == {"reasons": ["own"], "kept": 1, "passed_over": []}
    assert without_others(row(detail | {"why": "own"}), ["else"])["detail"]["why"] == "own"
    # Of mail of nobody nothing is anybody's own.
    assert without_others(row(detail, organization=""), [])["detail"]["passed_over"] == detail["passed_over"]
    assert without_others(row({}), ["zeta"]) == {"detail": {}}
    # A name is no reason to withhold what an organization says of itself.
    assert without_others(row({"reasons": ["omega may relay"]}), ["omega"])["detail"]["reasons"] == ["omega may relay"]


CHAINS = {"chains": {"/zeta.pem": {}, "/own.pem": {}}, "version": "TLSv1.3"}


def test_the_queue_keeps_the_session_and_says_nothing_of_others() -> None:
    hidden = Hidden(frozenset({"zeta"}), frozenset({"/own.pem"}))
    kept = {"hello": "client", "peer": "192.0.2.1", "connector": "p", "tls": CHAINS, "else": "zeta"}
    shown = inbound_without_others(kept | RECEIVED | {"connector_of_recipient": True}, "omega", hidden)
    own = {"chains": {"/own.pem": {}}, "version": "TLSv1.3"}
    assert shown == {"hello": "client", "peer": "192.0.2.1", "connector": "", "tls": own} | LEFT
    assert inbound_without_others({"hello": "client"}, "omega", hidden) == {"hello": "client"}


def test_a_chain_is_shown_by_ones_own_trust_anchors() -> None:
    assert own_chains({"version": "x"}, Hidden()) == {"version": "x"}
    assert own_chains(CHAINS, Hidden()) == {"chains": {}, "version": "TLSv1.3"}


def test_who_is_named() -> None:
    assert named_in(WAY | {"recipient_organization": "beta", "domain_organization": ""}) == {"zeta", "beta"}
    assert concerns_others(WAY)
    assert not concerns_others({"recipient_organization": "zeta"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Reply(250, "2.0.0", ("Queued by inside.example",)), "250 2.0.0 Taken over for the recipient's organization"),
        (Reply(450, "4.7.320", ("inside.example",)), "450 4.7.320 Certificate validation failed"),
        (Reply(550, "5.7.320", ("inside.example",)), "550 5.7.320 Certificate validation failed"),
        (
            Reply(451, "4.3.2", ("inside.example",)),
            "451 4.3.2 The mail cannot be handed over to the recipient's organization now",
        ),
        (
            Reply(550, "", ("inside.example",)),
            "550 The recipient's organization, or its server, did not take the mail",
        ),
    ],
)
def test_a_reply_keeps_its_code_and_status(given: Reply, said: str) -> None:
    assert public_reply(given).text == said


@pytest.mark.parametrize("detail", [{}, {"reasons": ["known by address"], "configuration": 3}, {"passed_over": []}])
def test_a_row_that_tells_of_nobody_else_is_as_it_was(detail: dict[str, Any]) -> None:
    assert without_others(row(detail)) == {}
    assert without_others(row(detail), {"zeta"}) == {"detail": detail}
