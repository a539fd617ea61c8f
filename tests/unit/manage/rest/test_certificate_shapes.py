"""Shapes hold what administration says, no more and no less, and bound what comes in."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from gatepost.analysis.checks.gates import Gate, GateFinding, GateReport, gates_record
from gatepost.analysis.checks.gates_partners import Partner
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.rest import certificate_shapes as shapes
from gatepost.manage.use_cases.certificates import certificate_record, entry_record
from gatepost.manage.use_cases.changeover import Notice as NoticeText
from gatepost.manage.use_cases.changeover import notice_record
from gatepost.manage.use_cases.changeover_steps import Switched as SwitchDone
from gatepost.manage.use_cases.changeover_steps import switch_record
from gatepost.manage.use_cases.request_values import WrongFields, body_value, query_value
from gatepost.pki.certificates.entry import Purpose, State

from .conftest import ROOT

NOW = 1_795_521_600.0
WORDS = '<b>"\x1b\u202e\N{PILE OF POO}'


def strict(kind, value):
    """The value as a shape, once it went through JSON; whatever a shape does not know is a mistake."""
    found = json.loads(json.dumps(value))
    assert set(found) == {field.encode_name for field in msgspec.structs.fields(kind)}
    return msgspec.convert(found, kind)


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
    shape = strict(shapes.Certificate, entry_record(entry("a", state=state), NOW))
    assert shape.state == state
    assert (shape.added, shape.since, shape.current_from, shape.current_until, shape.switch_at) == (None,) * 5


def test_a_certificate_with_everything(odd):
    shape = strict(shapes.Certificate, entry_record(odd, NOW))
    assert (shape.label, shape.told, shape.forced, shape.held, shape.key_file) == (WORDS, [WORDS], WORDS, WORDS, WORDS)
    assert (shape.switch_at, shape.days_left > 0) == (NOW, True)


def test_one_that_ended_long_ago_or_lasts_very_long(entry):
    one = entry("a")
    for end, days in ((0.0, int(-NOW // 86400)), (253402300799.0, int((253402300799 - NOW) // 86400))):
        ended = replace(one, leaf=replace(one.leaf, not_after=end))
        assert strict(shapes.Certificate, entry_record(ended, NOW)).days_left == days


def test_a_certificate_in_detail(odd):
    chain, _ = ROOT.issue(["mx.gate.example"])
    shape = strict(shapes.CertificateDetail, certificate_record(odd, chain + ROOT.certificate_pem, NOW))
    assert len(shape.chain) == 2
    strict(shapes.CertificateLink, certificate_record(odd, chain, NOW)["chain"][0])
    assert strict(shapes.CertificateDetail, certificate_record(odd, b"", NOW)).chain == []


def test_gates(odd):
    findings = [GateFinding(Gate.TLSA, mark, WORDS * 500, WORDS * 500, WORDS, 0.0) for mark in Mark]
    findings.append(GateFinding(Gate.CHAIN, Mark.FAIL, "waits", until=NOW + 60))
    record = gates_record(GateReport(odd, NOW, tuple(findings), 0.5))
    shape = strict(shapes.Gates, record)
    assert (shape.light, shape.fails, shape.warnings, shape.unknown, shape.green_at) == ("red", 2, 1, 1, None)
    assert {one.verdict for one in shape.findings} == set(Mark)
    for one in record["findings"]:
        strict(shapes.GateFinding, one)
    strict(shapes.GatesLook, record | {"certificate": entry_record(odd, NOW)})
    assert strict(shapes.Gates, gates_record(GateReport(odd, NOW, ()))).findings == []


def test_steps(odd):
    report = GateReport(odd, NOW, ())
    done = switch_record(SwitchDone(odd, (odd,), report)) | {"certificates": [entry_record(odd, NOW)]}
    assert strict(shapes.Switched, done).replaced == [odd.id]
    partners = (Partner(WORDS, (WORDS,), told=True), Partner("b.example", ()))
    record = notice_record(NoticeText(odd, WORDS, partners)) | {"certificate": entry_record(odd, NOW)}
    assert [one.told for one in strict(shapes.Notice, record).partners] == [True, False]


# what comes in

EMPTY = [
    (shapes.StageBody, {}, shapes.StageBody()),
    (shapes.SwitchBody, {}, shapes.SwitchBody(at="", force="")),
    (shapes.ReasonBody, {}, shapes.ReasonBody(note="")),
    (shapes.ForceBody, {}, shapes.ForceBody(force="")),
    (shapes.ToldBody, {}, shapes.ToldBody(partners=[], everybody=False, waive=False, note="")),
    (shapes.NewCertificateBody, {"chain": ""}, shapes.NewCertificateBody(chain="", encoding="pem")),
]


@pytest.mark.parametrize(("kind", "given", "value"), EMPTY)
def test_what_is_left_out_is_nothing(kind, given, value):
    assert body_value(kind, given) == value


BOUNDS = [
    (shapes.NewCertificateBody, {"chain": "x" * 200_000}, {"chain": "x" * 200_001}, "chain"),
    (shapes.NewCertificateBody, {"chain": "", "key": "x"}, {"chain": "", "key": "x" * 200_001}, "key"),
    (shapes.NewCertificateBody, {"chain": "", "password": "p"}, {"chain": "", "password": "p" * 1001}, "password"),
    (shapes.NewCertificateBody, {"chain": "", "encoding": "base64"}, {"chain": "", "encoding": "der"}, "encoding"),
    (shapes.NewCertificateBody, {"chain": "", "client": True}, {"chain": "", "client": "true"}, "client"),
    (shapes.NewCertificateBody, {"chain": "", "label": "l" * 100}, {"chain": "", "label": "l" * 101}, "label"),
    (shapes.NewCertificateBody, {"chain": ""}, {}, "chain"),
    (shapes.StageBody, {"replaces": ["a"] * 50}, {"replaces": ["a"] * 51}, "replaces"),
    (shapes.StageBody, {"replaces": []}, {"replaces": [1]}, "replaces[0]"),
    (shapes.SwitchBody, {"at": "2h"}, {"at": "2" * 65}, "at"),
    (shapes.SwitchBody, {"force": "f" * 1000}, {"force": "f" * 1001}, "force"),
    (shapes.SwitchBody, {}, {"when": "now"}, "when"),
    (shapes.ReasonBody, {"note": "n"}, {"note": None}, "note"),
    (shapes.ForceBody, {"force": "f"}, {"force": 1}, "force"),
    (shapes.ToldBody, {"partners": ["p" * 255] * 1000}, {"partners": ["p" * 256]}, "partners[0]"),
    (shapes.ToldBody, {"everybody": True}, {"partners": ["p"] * 1001}, "partners"),
    (shapes.ToldBody, {"waive": True}, {"waive": 1}, "waive"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "right", "wrong", "path"), BOUNDS)
def test_what_comes_in_is_bounded_and_of_its_type(kind, right, wrong, path):
    body_value(kind, right)
    with pytest.raises(WrongFields) as caught:
        body_value(kind, wrong)
    assert [error.path for error in caught.value.errors] == [path]
    assert not [error for error in caught.value.errors if "x" * 100 in error.message], "a key is not repeated"


def test_why_something_is_removed():
    assert query_value(shapes.RemovalQuery, [("force", "stolen")]) == shapes.RemovalQuery(force="stolen", note="")
    with pytest.raises(WrongFields):
        query_value(shapes.RemovalQuery, [("note", "n" * 1001)])
