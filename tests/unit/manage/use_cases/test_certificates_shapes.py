"""Shapes hold what there is, bound what comes in, and survive JSON whatever a stranger wrote."""

from __future__ import annotations

import msgspec
import pytest

from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.decoding import from_json
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases.certificate_import import add_certificate
from gatepost.manage.use_cases.certificate_removal import remove_certificate
from gatepost.manage.use_cases.certificates import (
    CertificateDetail,
    CertificateGates,
    CertificateSummary,
    GateSummary,
    certificate_detail,
    certificate_gates,
    certificate_of,
    gates_of_report,
)
from gatepost.manage.use_cases.changeover_steps import (
    notify_partners,
    roll_back_last_switch,
    stage_certificate,
    switch_certificate,
    withdraw_certificate,
)
from gatepost.manage.use_cases.request_values import WrongFields, body_value, query_value
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.values import replace

NOW = 1_795_521_600.0
WORDS = '<b>"\x1b\u202e\N{PILE OF POO}'


def through_json(kind, value):
    """The same once it went to another machine."""
    assert type(value) is kind
    return from_json(msgspec.json.encode(value), kind)


@pytest.fixture
def odd(entry):
    """One that has something in every field, as a stranger would fill it in."""
    one = entry("odd", WORDS, purpose=Purpose.CLIENT, organization="contoso", label=WORDS, state=State.CURRENT)
    times = dict.fromkeys(("added", "since", "current_from", "current_until", "switch_at"), NOW)
    told = {
        "told": (WORDS,),
        "replaces": ("x",),
        "forced": WORDS,
        "held": WORDS,
        "key_file": WORDS,
        "chain_file": WORDS,
    }
    return replace(one, must_staple=True, **times, **told)


@pytest.mark.parametrize("state", list(State))
def test_a_certificate(entry, state):
    shape = through_json(CertificateSummary, certificate_of(entry("a", state=state), NOW))
    assert shape.state == state
    assert (shape.added, shape.since, shape.current_from, shape.current_until, shape.switch_at) == (None,) * 5


def test_a_certificate_with_everything(odd):
    shape = through_json(CertificateSummary, certificate_of(odd, NOW))
    assert (shape.label, shape.told, shape.forced, shape.held, shape.key_file) == (WORDS, [WORDS], WORDS, WORDS, WORDS)
    assert (shape.switch_at, shape.days_left > 0) == (NOW, True)


def test_one_that_ended_long_ago_or_lasts_very_long(entry):
    one = entry("a")
    for end, days in ((0.0, int(-NOW // 86400)), (253402300799.0, int((253402300799 - NOW) // 86400))):
        ended = replace(one, leaf=replace(one.leaf, not_after=end))
        assert certificate_of(ended, NOW).days_left == days


def test_a_certificate_in_detail(odd, root):
    chain, _ = root.issue(["mx.gate.example"])
    shape = through_json(CertificateDetail, certificate_detail(odd, chain + root.certificate_pem, NOW))
    assert len(shape.chain) == 2
    assert certificate_detail(odd, b"", NOW).chain == []


def test_gates(odd):
    findings = [GateFinding(GateCheck.TLSA, mark, WORDS * 500, WORDS * 500, WORDS, 0.0) for mark in Mark]
    findings.append(GateFinding(GateCheck.CHAIN, Mark.FAIL, "waits", until=NOW + 60))
    report = GateReport(odd, NOW, tuple(findings), 0.5)
    shape = through_json(GateSummary, gates_of_report(report))
    assert (shape.light, shape.fails, shape.warnings, shape.unknown, shape.green_at) == ("red", 2, 1, 1, None)
    assert {one.verdict for one in shape.findings} == set(Mark)
    assert shape.reasons == report.reasons
    look = through_json(CertificateGates, certificate_gates(report))
    assert (look.certificate.label, look.reasons) == (WORDS, report.reasons)
    assert gates_of_report(GateReport(odd, NOW, ())).findings == []


# what comes in


def body_of(case):
    return RestEndpoint(case).body


BOUNDS = [
    (add_certificate, {"chain": "x" * 200_000}, {"chain": "x" * 200_001}, "chain"),
    (add_certificate, {"chain": "", "key": "x"}, {"chain": "", "key": "x" * 200_001}, "key"),
    (add_certificate, {"chain": "", "password": "p"}, {"chain": "", "password": "p" * 1001}, "password"),
    (add_certificate, {"chain": "", "encoding": "base64"}, {"chain": "", "encoding": "der"}, "encoding"),
    (add_certificate, {"chain": "", "client": True}, {"chain": "", "client": "true"}, "client"),
    (add_certificate, {"chain": "", "label": "l" * 100}, {"chain": "", "label": "l" * 101}, "label"),
    (add_certificate, {"chain": ""}, {}, "chain"),
    (stage_certificate, {"replaces": ["a"] * 50}, {"replaces": ["a"] * 51}, "replaces"),
    (stage_certificate, {"replaces": []}, {"replaces": [1]}, "replaces[0]"),
    (switch_certificate, {"at": "2h"}, {"at": "2" * 65}, "at"),
    (switch_certificate, {"force": "f" * 1000}, {"force": "f" * 1001}, "force"),
    (switch_certificate, {}, {"when": "now"}, "when"),
    (roll_back_last_switch, {"note": "n"}, {"note": None}, "note"),
    (withdraw_certificate, {"force": "f"}, {"force": 1}, "force"),
    (notify_partners, {"partners": ["p" * 255] * 1000}, {"partners": ["p" * 256]}, "partners[0]"),
    (notify_partners, {"everybody": True}, {"partners": ["p"] * 1001}, "partners"),
    (notify_partners, {"waive": True}, {"waive": 1}, "waive"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "right", "wrong", "path"), BOUNDS)
def test_what_comes_in_is_bounded_and_of_its_type(case, right, wrong, path):
    body_value(body_of(case), right)
    with pytest.raises(WrongFields) as caught:
        body_value(body_of(case), wrong)
    assert [error.path for error in caught.value.errors] == [path]
    assert not [error for error in caught.value.errors if "x" * 100 in error.message], "a key is not repeated"


def test_why_something_is_removed():
    kind = RestEndpoint(remove_certificate).query
    assert query_value(kind, [("force", "stolen")]) == kind(force="stolen", note="")
    with pytest.raises(WrongFields):
        query_value(kind, [("note", "n" * 1001)])
