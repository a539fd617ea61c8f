from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.mail_flow import Content, MailFlow, RuleSet, unmet
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.records import Organization

CONNECTORS = [
    {"name": "Hub", "smart_hosts": ["hub.example"], "is_transport_rule_scoped": True},
    {"name": "off", "smart_hosts": ["off.example"], "enabled": False},
]
SECRET = Content({"subject": ("Hello", "A SECRET thing"), "x-empty": ("",), "x-straße": ("GROSSE STRASSE",)})


def rule(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "require_tls": True, **fields}


def organization(*rules: dict[str, Any]) -> Organization:
    return Organization.model_validate({"name": "o", "outbound_connector": CONNECTORS, "mail_flow_rule": rules})


def flow(found: Organization, sender: str, to: str, content: Content) -> MailFlow:
    return RuleSet(found).flow(sender, to, content)


def ask(*rules: dict[str, Any], sender: str = "ann@o.example", to: str = "bob@p.example", **header: str) -> MailFlow:
    content = Content({name.replace("_", "-"): (value,) for name, value in header.items()})
    return flow(organization(*rules), sender, to, content)


@pytest.mark.parametrize(
    ("fields", "sender", "recipient", "missing"),
    [
        ({}, "ann@o.example", "bob@p.example", ""),
        ({}, "", "bob@p.example", ""),
        ({"senders": ["ann@o.example"]}, "Ann@O.EXAMPLE", "bob@p.example", ""),
        ({"senders": ["ann@o.example"]}, "anna@o.example", "bob@p.example", "senders"),
        ({"senders": ["zoe@o.example", "o.example"]}, "ann@o.example", "bob@p.example", ""),
        ({"senders": ["o.example"]}, "ann@eu.o.example", "bob@p.example", "senders"),
        ({"senders": ["*.o.example"]}, "ann@eu.o.example", "bob@p.example", ""),
        ({"senders": ["*.o.example"]}, "ann@o.example", "bob@p.example", ""),
        ({"senders": ["*.o.example"]}, "ann@no.example", "bob@p.example", "senders"),
        ({"senders": ["*"]}, "ann@o.example", "bob@p.example", ""),
        # the null reverse-path: only "*" takes it in
        ({"senders": ["*"]}, "", "bob@p.example", ""),
        ({"senders": ["*.example"]}, "", "bob@p.example", "senders"),
        ({"except_senders": ["*"]}, "", "bob@p.example", "except_senders"),
        ({"except_senders": ["o.example"]}, "ann@o.example", "bob@p.example", "except_senders"),
        ({"recipients": ["p.example"]}, "ann@o.example", "BOB@P.example", ""),
        ({"recipients": ["q.example"]}, "ann@o.example", "bob@p.example", "recipients"),
        (
            {"recipients": ["p.example"], "except_recipients": ["bob@p.example"]},
            "ann@o.example",
            "bob@p.example",
            "except_recipients",
        ),
        ({"senders": ["o.example"], "recipients": ["q.example"]}, "ann@o.example", "bob@p.example", "recipients"),
        # other spellings of an address
        ({"recipients": ["bob@p.example"]}, "", '"bob"@p.example', ""),
        ({"recipients": ['"b ob"@p.example']}, "", '"b ob"@p.example', ""),
        ({"recipients": ["xn--bcher-kva.example"]}, "", "bob@bücher.example", ""),
        ({"recipients": ["*"]}, "", "postmaster", ""),
        ({"recipients": ["*.example"]}, "", "postmaster", "recipients"),
        ({"recipients": ["*"]}, "", "ä@@", ""),
        ({"recipients": ["*.example"]}, "", "ä@@", "recipients"),
        ({"recipients": ["*"]}, "", "x@[192.0.2.1]", ""),
        ({"recipients": ["example"]}, "", "x@[192.0.2.1]", "recipients"),
    ],
)
def test_whether_the_envelope_meets_the_conditions(
    fields: dict[str, Any], sender: str, recipient: str, missing: str
) -> None:
    made = MailFlowRule.model_validate(rule(**fields))
    assert unmet(made, sender, recipient, Content()) == missing
    assert bool(flow(organization(rule(**fields)), sender, recipient, Content()).require_tls) is not bool(missing)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"header_name": "Subject"}, ""),
        ({"header_name": "SUBJECT", "header_contains": ["nothing", "secret"]}, ""),
        ({"header_name": "subject", "header_contains": ["Secret Thing"]}, ""),
        ({"header_name": "subject", "header_contains": ["secrecy"]}, "header_contains"),
        ({"header_name": "X-Empty"}, ""),
        ({"header_name": "X-Empty", "header_contains": ["x"]}, "header_contains"),
        ({"header_name": "X-Confidential"}, "header_name"),
    ],
)
def test_whether_the_header_meets_the_conditions(fields: dict[str, Any], missing: str) -> None:
    made = MailFlowRule.model_validate(rule(**fields))
    assert unmet(made, "ann@o.example", "bob@p.example", SECRET) == missing


def test_a_word_is_found_whatever_its_case_in_other_scripts_too() -> None:
    found = ask(rule(header_name="X-Street", header_contains=["große"]), x_street="GROSSE STRASSE")
    assert found.require_tls == ("r",)


def test_a_header_that_is_not_known_meets_nothing() -> None:
    assert ask(rule(header_name="Subject")) == MailFlow()


def test_rules_add_up_in_the_order_of_priority_and_name() -> None:
    found = ask(
        rule(name="d", route_via_connector="off"),
        rule(name="c", require_tls=False, route_via_connector="HUB"),
        rule(name="a", priority=200),
        rule(name="b", enabled=False),
    )
    assert found.connector is not None
    assert (found.connector.name, found.routed_by) == ("Hub", "c")
    assert found.require_tls == ("d", "a")
    assert [reason.partition("matches ")[2] for reason in found.reasons] == [
        "every message: sends it by connector 'Hub'",
        "every message: names connector 'off', but rule 'c' chose first, requires TLS",
        "every message: requires TLS",
    ]
    assert found.reasons[0].startswith("mail flow rule 'c' of o matches")


def test_a_disabled_connector_is_still_the_one_that_the_rule_names() -> None:
    found = ask(rule(route_via_connector="off"))
    assert found.connector is not None
    assert not found.connector.enabled


def test_stop_rule_processing_ends_the_rules_behind_one_that_holds() -> None:
    found = ask(
        rule(name="a", senders=["nobody@o.example"], stop_rule_processing=True),
        rule(name="b", stop_rule_processing=True),
        rule(name="c", route_via_connector="hub"),
    )
    assert (found.connector, found.require_tls) == (None, ("b",))
    assert found.reasons == ("mail flow rule 'b' of o matches every message: requires TLS, ends the rules",)


def test_a_rule_in_rehearsal_does_nothing_and_stops_nothing_but_says_what_it_would_do() -> None:
    trial = {"mode": "rehearse", "route_via_connector": "off", "senders": ["o.example"]}
    found = ask(
        rule(name="a", stop_rule_processing=True, **trial),
        rule(name="b", require_tls=False, route_via_connector="hub"),
    )
    assert (found.routed_by, found.require_tls, found.rehearsed_tls) == ("b", (), ("a",))
    assert [reason.removeprefix("mail flow rule ") for reason in found.reasons] == [
        "'a' of o (in rehearsal) matches the sender: would send it by connector 'off', would require TLS",
        "'b' of o matches every message: sends it by connector 'Hub'",
    ]
    alone = ask(rule(mode="rehearse", route_via_connector="off", require_tls=False))
    assert (alone.connector, alone.routed_by) == (None, "")
    assert alone.reasons == (
        "mail flow rule 'r' of o (in rehearsal) matches every message: would send it by connector 'off'",
    )


def test_reasons_name_what_a_rule_asks_for_and_nothing_of_the_message() -> None:
    asking = rule(senders=["o.example"], except_recipients=["q.example"], header_name="Subject")
    found = ask(asking, subject="private")
    assert found.reasons == (
        "mail flow rule 'r' of o matches the sender and the recipient and the field Subject: requires TLS",
    )
    assert ask(asking, sender="eve@o.example", subject="other") == found


def test_the_fields_that_enabled_rules_ask_for() -> None:
    found = organization(
        rule(name="a", header_name="X-Confidential"),
        rule(name="b", header_name="subject"),
        rule(name="c", header_name="X-Off", enabled=False),
        rule(name="d"),
    )
    assert RuleSet(found).header_names == {"x-confidential", "subject"}
    assert RuleSet(organization()).header_names == frozenset()


@pytest.mark.parametrize(("rules", "any_rule"), [((), False), ((rule(enabled=False),), False), ((rule(),), True)])
def test_whether_there_is_any_rule(rules: tuple[dict[str, Any], ...], any_rule: bool) -> None:
    assert bool(RuleSet(organization(*rules))) is any_rule
    assert bool(flow(organization(*rules), "", "x@p.example", Content()).reasons) is any_rule


def test_rules_demand_protection_of_the_content() -> None:
    """Of any rule that holds; a rehearsing one only says so."""
    asked = ask(
        {"name": "a", "encrypt": "smime"},
        {"name": "b", "sign": "smime", "encrypt": "smime"},
        {"name": "c", "sign": "smime", "encrypt": "smime", "mode": "rehearse"},
        {"name": "d", "require_tls": True},
    )
    assert asked.encrypt == (("a", "b"), ("c",))
    assert asked.sign == (("b",), ("c",))
    assert asked.require_tls == ("d",)
    assert [reason.partition("every message: ")[2] for reason in asked.reasons] == [
        "encrypts it (S/MIME)",
        "encrypts it (S/MIME), signs it (S/MIME)",
        "would encrypt it (S/MIME), would sign it (S/MIME)",
        "requires TLS",
    ]


def test_rules_that_journal_are_found_until_one_ends_the_rules() -> None:
    rules = [
        rule(name="a", journal_to="keep@o.example", priority=1),
        rule(name="trial", journal_to="keep@o.example", mode="rehearse", priority=2),
        rule(name="plain", priority=3),
        rule(name="other", senders=["zoe@o.example"], journal_to="keep@o.example", priority=4),
        rule(name="end", journal_to="keep@o.example", stop_rule_processing=True, priority=5),
        rule(name="late", journal_to="keep@o.example", priority=6),
    ]
    found = RuleSet(organization(*rules)).journaling("ann@o.example", "bob@p.example", Content())
    assert [each.name for each in found] == ["a", "end"]


def test_a_rule_that_journals_says_so_without_the_address() -> None:
    rules = (rule(journal_to="keep@o.example"), rule(name="trial", journal_to="keep@o.example", mode="rehearse"))
    said = ask(*rules).reasons
    assert "requires TLS, journals it" in said[0]
    assert "would journal it" in said[1]
    assert not any("keep@" in reason for reason in said)


def test_rules_that_hold_a_message_are_named() -> None:
    made = ask({"name": "h", "quarantine": True}, {"name": "t", "quarantine": True, "mode": "rehearse"})
    assert made.quarantine == (("h",), ("t",))
    assert made.reasons[0].endswith("holds it in quarantine when it arrives")
    assert made.reasons[1].endswith("would hold it in quarantine when it arrives")


class Looked(str):
    """A header field's value that counts how often it is looked through."""

    __slots__ = ("times",)

    def casefold(self) -> str:
        self.times = getattr(self, "times", 0) + 1
        return super().casefold()


def test_the_header_of_a_message_is_looked_through_once_for_all_of_its_recipients_and_rules():
    names = ({"name": f"r{n}", "header_name": "Subject", "header_contains": [f"no {n}", "secret"]} for n in range(3))
    rules = RuleSet(organization(*(rule(**fields) for fields in names)))
    subject, other = Looked("A Secret"), Looked("Nothing")
    message = Content({"subject": (subject,)})
    found = [rules.flow("ann@o.example", f"bob{n}@p.example", message).require_tls for n in range(4)]
    assert all(found)
    assert subject.times == 1
    assert not rules.flow("ann@o.example", "bob@p.example", Content({"subject": (other,)})).require_tls
    assert other.times == 1
    assert rules.flow("ann@o.example", "bob@p.example", message).require_tls
