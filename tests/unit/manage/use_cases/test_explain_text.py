from __future__ import annotations

import pytest

from gatepost.manage.use_cases.explain_text import (
    KINDS,
    RESULTS,
    demand_text,
    detail_lines,
    hook_text,
    reply_code_text,
    route_text,
)
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.policy.connectors.values import Mode
from gatepost.policy.decisions.decision import OutboundDecision, hook_record
from gatepost.policy.decisions.failures import outcomes
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Identity, Opportunistic, Source
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.limits import NO_LIMITS, limited
from gatepost.values import replace


def decision(way, *hops, reply=None):
    return OutboundDecision(1, "contoso", way, hops, "", None, None, (), (), reply)


# way, next hops -> words
WAYS = [
    ("mailbox", ("ann@a.example",), "to the mailbox ann@a.example"),
    ("lmtp", ("unix:/run/lmtp",), "over LMTP to unix:/run/lmtp"),
    ("internal", ("mx2",), "to the node mx2"),
    ("smart-hosts", ("a.test:25", "b.test:26"), "to the smart hosts a.test:25, b.test:26"),
    ("mx", ("b.example",), "to the MX hosts of b.example"),
]


@pytest.mark.parametrize(("way", "hops", "words"), WAYS)
def test_where_mail_goes(way, hops, words):
    assert route_text(decision(way, *hops).record()) == words


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(451, "4.4.1", ("no node",)), "no route, waits with 451 4.4.1 no node"),
        (Reply(550, "5.1.1", ("nobody",)), "no route, returned with 550 5.1.1 nobody"),
    ],
)
def test_what_goes_nowhere_waits_or_is_returned(reply, words):
    assert route_text(decision("nowhere", reply=reply).record()) == words


OUT = (Source("connector", "out"),)
LIMITS = limited(post_quantum=True, groups=["X25519MLKEM768"], suites=["TLS_AES_256_GCM_SHA384"])
PROVED = Authenticated(OUT, (Identity(("b.example",)),), requiretls=True, limits=LIMITS)


@pytest.mark.parametrize("requirement", [Opportunistic(OUT), Encrypted(OUT), PROVED])
def test_every_kind_of_failure_has_words_and_every_delivery(requirement):
    found = outcomes(requirement, None, "b.example")
    assert {one.kind for one in found} <= set(KINDS)
    assert {one.result for one in found} - {"waits", "fails"} <= set(RESULTS)
    if requirement is PROVED:
        assert {one.kind for one in found} == set(KINDS)


# fields of a hook -> words
HOOKS = [
    ({}, "scan of contoso: clamav at 127.0.0.1:3310 scans the message; if it does not answer within "),
    ({"mode": Mode.REHEARSE}, "scan of contoso (in rehearsal): clamav at 127.0.0.1:3310 scans the message; if it d"),
    (
        {"quarantine": ("reject",)},
        "scan of contoso: clamav at 127.0.0.1:3310 scans the message; if the result is reject, the gateway holds it ",
    ),
    (
        {"quarantine": ("reject", "add-header"), "mode": Mode.REHEARSE},
        (
            "scan of contoso (in rehearsal): clamav at 127.0.0.1:3310 scans the message; if the result is reject or "
            "add-header, the gateway would hold it in quarantine; if it does not answer within "
        ),
    ),
]


@pytest.mark.parametrize(("fields", "words"), HOOKS)
def test_who_is_asked_about_the_content(fields, words):
    hook = ContentHook(name="scan", type="clamav", address="127.0.0.1:3310", **fields)
    told = hook_text(hook_record(ApplicableHook("contoso", hook)))
    assert told.startswith(words)
    assert told.endswith(f": {hook.on_failure}")


# requirement -> words
DEMANDS = [
    (Opportunistic((Source("default", ""),)), "opportunistic  (default)"),
    (Encrypted(OUT), "encrypted  (required by connector:out)"),
    (
        Encrypted((*OUT, Source("organization", "contoso"))),
        "encrypted  (required by connector:out, organization:contoso)",
    ),
    (replace(PROVED, limits=NO_LIMITS), "authenticated(b.example) with requiretls  (required by connector:out)"),
]


@pytest.mark.parametrize(("requirement", "words"), DEMANDS)
def test_who_demands_it_is_named(requirement, words):
    assert demand_text(describe(requirement), map(str, requirement.sources)) == words


@pytest.mark.parametrize(
    ("reply", "words"),
    [("450 4.4.317 Cannot connect", "450 4.4.317"), ("550 5.1.1", "550 5.1.1"), ("", "")],
)
def test_a_reply_is_named_by_its_codes(reply, words):
    assert reply_code_text(reply) == words


@pytest.mark.parametrize(
    ("why", "lines"),
    [
        ("second", [("why", "first"), ("why", "second")]),
        ("another", [("why", "first"), ("why", "second"), ("why", "another")]),
    ],
)
def test_a_reason_is_shown_once(why, lines):
    """A refusal has the last of its reasons apart, too, for log lines."""
    assert list(detail_lines({"reasons": ["first", "second"], "why": why})) == lines
