"""Whether every name is covered that partners look for."""

from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates import Expected, expected_names, names_findings, our_hosts
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.protocols.mtasts.policy import StsMode
from gatepost.protocols.mtasts.publish import publish

HOST = "mx.a.example"


def policy(mode=StsMode.ENFORCE, mx=(HOST,), domain="a.example"):
    return publish(domain, mode, mx, 604800)


def found(entries, hosts=None, policies=(), *, served=False):
    """By verdict, texts of what is more than a pass. entries: the next one first."""
    hosts = {} if hosts is None else hosts
    expected = expected_names(HOST, hosts, policies, served=served)
    all_ = {one.id: one for one in entries}
    return [
        (one.verdict, one.text)
        for one in names_findings(entries[0], all_, expected, hosts, policies)
        if one.verdict is not Mark.PASS
    ]


def test_names_are_expected_once_with_the_first_reason():
    names = expected_names(HOST, {"a.example": (HOST, "mx2.a.example"), "b.example": "no answer"}, (), served=False)
    assert names == (
        Expected(HOST, "the gateway's own name (server.hostname)", ours=True),
        Expected("mx2.a.example", "MX host of a.example"),
    )
    policies = [policy(mx=("mx3.a.example", "*.a.example")), policy(StsMode.NONE, (), "c.example")]
    assert [one.name for one in expected_names(HOST, {}, policies, served=True)] == [
        HOST,
        "mx3.a.example",
        "mta-sts.a.example",
        "mta-sts.c.example",
    ]


def test_hosts_of_ours(entry):
    hosts = {"a.example": (HOST, "mx9.elsewhere.example"), "b.example": "no answer"}
    own = entry("new", HOST, "mta-sts.a.example", "*.c.example")
    assert our_hosts(own, "gate.c.example", hosts) == {"gate.c.example": True, HOST: True, "mta-sts.a.example": False}


def test_all_is_covered(entry):
    new, old = entry("new", HOST, "b.example"), entry("old", HOST, state=State.CURRENT)
    assert found([new, old], {"a.example": (HOST,)}, [policy()]) == []


CASES = {
    "a name is lost": (
        (HOST,),
        (HOST, "b.example"),
        {},
        [(Mark.FAIL, "it lacks names of the current certificate: b.example")],
    ),
    "our own name is not there": (
        ("b.example",),
        ("b.example",),
        {},
        [(Mark.FAIL, f"{HOST} is not covered (the gateway's own name (server.hostname))")],
    ),
    "an MX host that was covered": (
        (HOST,),
        (HOST, "*.a.example"),
        {"a.example": ("mx2.a.example",)},
        [
            (Mark.FAIL, "it lacks names of the current certificate: *.a.example"),
            (Mark.FAIL, "mx2.a.example would no longer be covered (MX host of a.example)"),
        ],
    ),
    "an MX host that never was": (
        (HOST,),
        (HOST,),
        {"a.example": ("mx.other.example",)},
        [(Mark.WARN, "mx.other.example is not covered, neither before nor after the switch (MX host of a.example)")],
    ),
}


@pytest.mark.parametrize(("new", "old", "hosts", "wanted"), CASES.values(), ids=CASES)
def test_what_falls_short(entry, new, old, hosts, wanted):
    assert found([entry("new", *new), entry("old", *old, state=State.CURRENT)], hosts) == wanted


def test_another_current_one_covers_the_rest(entry):
    new, old = entry("new", HOST), entry("old", HOST, "b.example", state=State.CURRENT)
    other = entry("other", "b.example", key="RSA-2048", state=State.CURRENT)
    assert found([new, old, other]) == []


def test_mx_hosts_that_are_not_known(entry):
    hosts = {"a.example": "no answer"}
    new, old = entry("new", HOST), entry("old", HOST, state=State.CURRENT)
    assert [verdict for verdict, _ in found([new, old], hosts)] == [Mark.WARN]
    assert [verdict for verdict, _ in found([new], hosts)] == [Mark.UNKNOWN]
    losing = entry("old", HOST, "b.example", state=State.CURRENT)
    assert [verdict for verdict, _ in found([new, losing], hosts)] == [Mark.FAIL, Mark.UNKNOWN]


@pytest.mark.parametrize(
    ("mode", "hosts", "wanted"),
    [
        (StsMode.ENFORCE, ("mx7.a.example",), [Mark.WARN, Mark.FAIL]),
        (StsMode.TESTING, ("mx7.a.example",), [Mark.WARN, Mark.WARN]),
        (StsMode.ENFORCE, ("mx7.a.example", HOST), [Mark.WARN]),
        (StsMode.ENFORCE, "no answer", [Mark.WARN]),
        (StsMode.NONE, ("mx7.a.example",), [Mark.WARN]),
    ],
)
def test_what_a_policy_promises(entry, mode, hosts, wanted):
    new, old = entry("new", HOST), entry("old", HOST, state=State.CURRENT)
    made = policy(mode, () if mode is StsMode.NONE else ("*.a.example",))
    assert [verdict for verdict, _ in found([new, old], {"a.example": hosts}, [made])] == wanted


def test_a_client_certificate_covers_no_names(entry):
    client = entry("c", purpose=Purpose.CLIENT, label="bank")
    assert found([client]) == [(Mark.INFO, "a client certificate, for bank")]
