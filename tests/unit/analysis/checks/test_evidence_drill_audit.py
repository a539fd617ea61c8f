from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.analysis.checks.evidence import Kept, audit_drills
from gatepost.events.evidence.audit import FaultKind, Faults

ONE, TWO, THREE = (f"00000{number}-20261124T200948Z-contoso-bank-cfd86d7ea32d.json" for number in (1, 2, 3))


def kept(**hashes: str) -> list[Kept]:
    names = {"one": ONE, "two": TWO, "three": THREE}
    return [Kept(Path("drills", names[name]), digest, {}) for name, digest in hashes.items()]


def test_results_that_are_as_logged():
    faults = Faults()
    found = audit_drills(kept(one="a", two="b"), {ONE: "a", TWO: "b"}, faults)
    assert (found.matching, found.wrong, found.unlogged, found.gone, faults.first) == (2, {}, [], [], {})


def test_each_result_that_does_not_match_is_named():
    faults = Faults()
    broken = Kept(Path("drills", THREE), "c", {}, "it was changed")
    found = audit_drills([*kept(one="x", two="y"), broken], {ONE: "a", TWO: "b", THREE: "c"}, faults)
    assert found.wrong == {
        ONE: "its SHA-256 is x; the log has a",
        TWO: "its SHA-256 is y; the log has b",
        THREE: "it was changed",
    }
    assert faults.counts == {FaultKind.DRILL: 3}
    assert (faults.first[FaultKind.DRILL].file, found.matching) == (ONE, 0)


@pytest.mark.parametrize(
    ("there", "wrong", "gone"),
    [
        ({"two": "b", "three": "c"}, [], [ONE]),
        ({"one": "a", "three": "c"}, [TWO], []),
        ({"one": "a", "two": "b"}, [THREE], []),
        ({}, [], [ONE, TWO, THREE]),
    ],
)
def test_only_the_oldest_of_a_connector_may_be_gone(there, wrong, gone):
    found = audit_drills(kept(**there), {ONE: "a", TWO: "b", THREE: "c"}, Faults())
    assert (list(found.wrong), found.gone) == (wrong, gone)


def test_a_result_that_the_log_does_not_have_is_no_fault():
    faults = Faults()
    found = audit_drills(kept(one="a", two="b"), {ONE: "a"}, faults)
    assert (found.matching, found.unlogged, faults.first) == (1, [TWO], {})
