"""What findings at gates mean together, and how those of a chain become some."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gatepost.analysis.checks.chain_report import ChainFinding, Part
from gatepost.analysis.checks.gates import (
    GateCheck,
    GateFinding,
    GateReport,
    Light,
    chain_findings,
    gates_record,
    in_order,
    key_finding,
    staple_finding,
)
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose
from gatepost.values import replace

PASS, INFO, WARN, FAIL, UNKNOWN = (
    GateFinding(GateCheck.NAMES, mark, f"it is {mark}")
    for mark in (Mark.PASS, Mark.INFO, Mark.WARN, Mark.FAIL, Mark.UNKNOWN)
)
WAIT = replace(FAIL, gate=GateCheck.TLSA, text="wait", until=100.0)
LONGER = replace(WAIT, text="wait longer", until=200.0)


@dataclass
class Checked:
    """Of a chain check, what gates read."""

    findings: tuple[ChainFinding, ...]


@pytest.mark.parametrize(
    ("findings", "light", "stopping", "waiting"),
    [
        ([], Light.GREEN, "", 0.0),
        ([PASS, INFO, WARN], Light.GREEN, "", 0.0),
        ([PASS, UNKNOWN], Light.UNKNOWN, "names: it is unknown", 0.0),
        ([UNKNOWN, FAIL], Light.RED, "names: it is fail; names: it is unknown", 0.0),
        ([WAIT, PASS], Light.RED, "tlsa: wait", 100.0),
        ([WAIT, LONGER], Light.RED, "tlsa: wait; tlsa: wait longer", 200.0),
        ([WAIT, FAIL], Light.RED, "tlsa: wait; names: it is fail", 0.0),
    ],
)
def test_what_findings_mean_together(entry, findings, light, stopping, waiting):
    report = GateReport(entry("a"), 1.0, tuple(findings))
    assert (report.light, report.reasons, report.only_waiting) == (light, stopping, waiting)
    record = gates_record(report)
    assert (record["light"], record["green_at"]) == (light, waiting or None)
    assert [one["verdict"] for one in record["findings"]] == [one.verdict for one in findings]


def test_without_its_key_nothing_is_presented(entry):
    assert GateReport(entry("a"), 1.0, (FAIL, key_finding(""))).unusable == ""
    assert "no master key" in GateReport(entry("a"), 1.0, (PASS, key_finding("no master key"))).unusable


def test_findings_are_told_by_gate():
    assert in_order([WAIT, PASS, LONGER, INFO]) == (PASS, INFO, WAIT, LONGER)


def test_the_key():
    assert key_finding("").verdict is Mark.PASS
    found = key_finding("no master key")
    assert (found.verdict, found.evidence) == (Mark.FAIL, "no master key")
    assert "plan the switch" in found.fix


@pytest.mark.parametrize(
    ("responder", "must", "kept", "mark", "text"),
    [
        (True, True, True, Mark.PASS, "has an OCSP response"),
        (True, False, False, Mark.WARN, "could be fetched"),
        (False, False, False, Mark.INFO, "names no OCSP responder"),
        (True, True, False, Mark.FAIL, "requires stapling"),
        (False, True, False, Mark.FAIL, "requires stapling"),
    ],
)
def test_stapling(responder, must, kept, mark, text):
    found = staple_finding(responder=responder, must=must, kept=kept)
    assert (found.verdict, text in found.text) == (mark, True)
    assert bool(found.fix) is (mark is Mark.FAIL)


def test_what_a_chain_check_found(entry):
    parts = [
        ChainFinding(Part.KEY, Mark.FAIL, "of no interest: there is a gate for it"),
        ChainFinding(Part.ROOT, Mark.FAIL, "not trusted", "SHA-256 AB", "add it"),
        ChainFinding(Part.DATES, Mark.WARN, "soon"),
        ChainFinding(Part.NAMES, Mark.INFO, "for mx"),
        ChainFinding(Part.STAPLING, Mark.INFO, "nothing"),
    ]
    found = list(chain_findings(entry("a"), Checked(tuple(parts)), None))
    assert found == [
        GateFinding(GateCheck.CHAIN, Mark.FAIL, "root: not trusted", "SHA-256 AB", "add it"),
        GateFinding(GateCheck.CHAIN, Mark.WARN, "dates: soon"),
    ]
    nameless = Checked((ChainFinding(Part.NAMES, Mark.FAIL, "no name"),))
    assert [one.text for one in chain_findings(entry("a"), nameless, None)] == ["names: no name"]


def test_what_is_no_worse_with_the_current_one_is_no_reason(entry):
    root, key = ChainFinding(Part.ROOT, Mark.FAIL, "own"), ChainFinding(Part.STRENGTH, Mark.FAIL, "weak")
    both = Checked((root, key))
    found = {one.text: one.verdict for one in chain_findings(entry("a"), both, both)}
    assert found == {"root: own (the current certificate has the same problem)": Mark.WARN, "strength: weak": Mark.FAIL}
    better = Checked((replace(root, verdict=Mark.PASS),))
    assert [one.verdict for one in chain_findings(entry("a"), both, better)] == [Mark.FAIL, Mark.FAIL]


def test_a_clients_chain_is_judged_by_others(entry):
    parts = tuple(ChainFinding(part, Mark.FAIL, "x") for part in (Part.ROOT, Part.PURPOSE, Part.CHAIN, Part.DATES))
    found = list(chain_findings(entry("a", purpose=Purpose.CLIENT), Checked(parts), None))
    assert [one.text for one in found] == ["dates: x"]


def test_a_chain_that_cannot_be_read(entry):
    (found,) = chain_findings(entry("a"), None, None)
    assert found.verdict is Mark.FAIL
