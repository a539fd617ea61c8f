"""Two organizations on one gateway, whose names are no part of their domains, and what one may learn of the other."""

from __future__ import annotations

import json

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.explain_visibility import cut, is_concerned, seen_reasons
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.explain import explain
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

ALL = Principal("root", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
NOBODY = Principal("no", frozenset({Scope.READ}), frozenset())
HOUR = 3600.0
REFUSAL = Reply(550, "5.7.1", ("no",))

CONTOSO = {
    "accepted_domain": [{"name": "our.example"}],
    "mailbox": [
        {"address": "ann@our.example"},
        {"address": "bob@our.example", "forwarding_smtp_address": "fay@their.example"},
        {"address": "cat@our.example", "forwarding_smtp_address": "alias@their.example"},
        {"address": "dan@our.example", "forwarding_smtp_address": "x@any.test"},
    ],
    "inbound_connector": [{"name": "own-in", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]}],
    "outbound_connector": [{"name": "own-out", "recipient_domains": ["*"], "smart_hosts": ["a.test"]}],
}
SECRET = {
    "message_expiration": "1h",
    "protection_drop": "hold",
    "accepted_domain": [{"name": "their.example"}],
    "mailbox": [
        {"address": "fay@their.example", "forwarding_smtp_address": "ann@our.example"},
        {"address": "eve@their.example", "forwarding_smtp_address": "x@any.test"},
        {"address": "gus@their.example", "aliases": ["alias@their.example"]},
    ],
    "inbound_connector": [
        {"name": "veiled", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.2"]},
        {"name": "strict", "sender_domains": ["our.example"], "tls_sender_certificate_name": "a.test"},
        {"name": "trial", "mode": "rehearse", "sender_domains": ["any.test"], "require_tls": True},
    ],
    "outbound_connector": [{"name": "covert", "recipient_domains": ["*"], "smart_hosts": ["hidden.test"]}],
    "mail_flow_rule": [{"name": "covert-rule", "header_name": "X", "route_via_connector": "covert"}],
    "content_hook": [{"name": "scan", "type": "clamav", "address": "127.0.0.1:1"}],
}
TOLD = ("secret", "veiled", "strict", "trial", "covert", "hidden.test", "gus@", "1h", "scan")


@pytest.fixture(scope="module")
def both():
    return Directory(parse({"organization": {"contoso": CONTOSO, "secret": SECRET}}))


def path(text):
    return parse_path(f"<{text}>", smtputf8=False)


def asked(both, sender, recipient, ip="203.0.113.9", who=TENANT):
    return cut(both, who, explain(both, SessionFacts("", ip), path(sender), path(recipient)))


# who, sender, recipient -> may be asked
CONCERNED = [
    (ALL, "x@any.test", "y@any.test", True),
    (TENANT, "x@any.test", "ann@our.example", True),
    (TENANT, "ann@our.example", "x@any.test", True),
    (TENANT, "ann@our.example", "fay@their.example", True),
    (TENANT, "x@any.test", "y@any.test", False),
    (TENANT, "", "fay@their.example", False),
    (TENANT, "x@any.test", "postmaster", False),
    (NOBODY, "ann@our.example", "fay@their.example", False),
]


@pytest.mark.parametrize(("who", "sender", "recipient", "expected"), CONCERNED)
def test_whose_mail_it_is(both, who, sender, recipient, expected):
    assert is_concerned(both, who, path(sender), path(recipient)) is expected


# sender, recipient, address of the client -> what is others' altogether
WITHHELD = [
    ("x@any.test", "ann@our.example", "203.0.113.9", set()),
    ("ann@our.example", "x@any.test", "192.0.2.1", set()),
    ("ann@our.example", "x@any.test", "192.0.2.2", set()),
    ("ann@our.example", "gus@their.example", "192.0.2.1", {"inbound", "outbound"}),
    ("fay@their.example", "ann@our.example", "192.0.2.2", {"inbound"}),
    ("x@any.test", "dan@our.example", "203.0.113.9", set()),
    ("x@any.test", "bob@our.example", "203.0.113.9", {"outbound"}),
    ("x@any.test", "cat@our.example", "203.0.113.9", {"outbound"}),
    ("ann@our.example", "fay@their.example", "192.0.2.1", {"inbound", "outbound"}),
    ("ann@our.example", "eve@their.example", "192.0.2.1", {"inbound", "outbound"}),
]


@pytest.mark.parametrize(("sender", "recipient", "ip", "expected"), WITHHELD)
def test_what_others_decide(both, sender, recipient, ip, expected):
    shown, withheld = asked(both, sender, recipient, ip)
    assert withheld == expected
    assert (shown.outbound is None) is ("outbound" in expected)
    if "outbound" in expected:
        assert (shown.failures, shown.route, shown.signing, shown.held_below_memory) == ((), None, None, False)


@pytest.mark.parametrize("ip", ["203.0.113.9", "192.0.2.1", "192.0.2.2"])
@pytest.mark.parametrize("sender", ["", "x@any.test", "ann@our.example", "fay@their.example", "eve@their.example"])
@pytest.mark.parametrize("recipient", ["ann", "bob", "cat", "dan", "nobody"])
def test_nothing_of_another_organization_is_told(both, sender, recipient, ip):
    shown, withheld = asked(both, sender, f"{recipient}@our.example", ip)
    record = shown.record() | dict.fromkeys(withheld)
    text = json.dumps([record, shown.expiration]).replace(sender or "-", "-")
    assert [word for word in TOLD if word in text] == []


def test_where_mailboxes_of_others_send_mail_is_not_told(both):
    """That one of theirs forwards to one of ours, or which mailbox an alias of theirs is, is their affair."""
    shown, _ = asked(both, "x@any.test", "bob@our.example")
    assert shown.inbound.reasons[-1] == "the mailbox bob@our.example forwards to fay@their.example"
    shown, _ = asked(both, "x@any.test", "cat@our.example")
    assert shown.inbound.reasons[-1] == "the mailbox cat@our.example forwards to alias@their.example"
    whole = explain(both, SessionFacts("", "203.0.113.9"), path("x@any.test"), path("bob@our.example"))
    assert whole.inbound.reasons[-1] == "the mailbox fay@their.example forwards to ann@our.example"


@pytest.mark.parametrize("recipient", ["gus@their.example", "fay@their.example", "nobody@their.example"])
def test_how_long_they_keep_mail_and_whether_they_hold_it_is_not_told(both, recipient):
    whole = explain(both, SessionFacts("", "203.0.113.9"), path("ann@our.example"), path(recipient))
    assert whole.expiration == HOUR
    shown, _ = asked(both, "ann@our.example", recipient)
    assert (shown.expiration, shown.held_below_memory) == (None, False)


def test_what_is_ones_own_is_told(both):
    shown, withheld = asked(both, "ann@our.example", "x@any.test", "192.0.2.1")
    assert (withheld, shown.inbound.connector, shown.outbound.connector) == (frozenset(), "own-in", "own-out")
    assert shown.route is not None


# a reason -> whether the refusal that goes with it is told
@pytest.mark.parametrize(("reason", "told"), [("connector 'trial' of secret would refuse it", False), ("own", True)])
def test_a_refusal_that_another_would_give_is_not_told(both, reason, told):
    found = explain(both, SessionFacts("", "203.0.113.9"), path("x@any.test"), path("ann@our.example"))
    verdict = replace(found.inbound, reasons=(reason,), would_refuse=REFUSAL, would_refuse_connector="trial")
    shown, _ = cut(both, TENANT, replace(found, inbound=verdict))
    expected = (REFUSAL, "trial") if told else (None, "")
    assert (shown.inbound.would_refuse, shown.inbound.would_refuse_connector) == expected


# reasons, hidden -> those that are seen
REASONS = [
    (("connector 'a' of secret applies", "it is not encrypted"), {"secret"}, ("it is not encrypted",)),
    (("connector 'a' of secret-2 applies",), {"secret"}, ("connector 'a' of secret-2 applies",)),
    (("(secret)", "secret.", "'secret'", "a/secret,b"), {"secret"}, ()),
    (("contoso and secret",), {"secret", "other"}, ()),
    ((), {"secret"}, ()),
    (("all of it",), set(), ("all of it",)),
]


@pytest.mark.parametrize(("reasons", "hidden", "expected"), REASONS)
def test_sentences_that_name_others(reasons, hidden, expected):
    assert seen_reasons(reasons, frozenset(hidden)) == expected
