"""What a changeover looks like by what is stored; its steps are tested in test_changeover_steps."""

from __future__ import annotations

import pytest
from tests.unit.manage.calls import ANN, add_entry, run

from gatepost.analysis.checks.changeover import GateChecker
from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport, Light
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.changeover import (
    GatesLimit,
    changeover_status,
    check_gates,
    check_tlsa,
    concerned,
    get_changeover,
    get_notice,
    list_changeovers,
    make_check_context,
    next_steps,
)
from gatepost.manage.use_cases.inventory import inventory_for_look, inventory_of, listed_certificates
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.pki.certificates.entry import State
from gatepost.values import replace

NAME = "mx.gate.example"
NOW = 1_795_528_800.0
COMMAND = "gatepost certificate changeover"


@pytest.fixture
def pair(sealed, root):
    return add_entry(sealed, root), add_entry(sealed, root, NAME, "mail.gate.example")


@pytest.mark.parametrize("number", ["", "none", "0" * 16])
def test_what_is_not_there(sealed, pair, number):
    with pytest.raises(Refusal) as refused:
        changeover_status(sealed, number)
    assert refused.value.kind is RefusalKind.MISSING
    for case in (get_notice, get_changeover):
        with pytest.raises(Refusal) as refused:
            run(sealed, case, certificate=number)
        assert refused.value.kind is RefusalKind.MISSING


def test_where_it_stands_without_asking_anybody(sealed, pair):
    old, new = pair
    found = changeover_status(sealed, new.id)
    assert ([one.id for one in found.olds], found.lost, found.can_roll_back) == ([old.id], (), False)
    assert [one.name for one in found.partners] == ["bank.example"]
    assert changeover_status(sealed, old.id).olds == ()
    assert {one.gate for one in run(sealed, check_gates, certificate=old.id).findings} == set(GateCheck), (
        "whatever its state"
    )


def test_what_is_under_way(sealed, root):
    only = add_entry(sealed, root)
    assert run(sealed, list_changeovers).items == []
    with inventory_of(sealed, keys=False) as inventory:
        found = listed_certificates(inventory, sealed)
    assert concerned(found, "", now=NOW) == []
    assert [one.id for one in concerned(found, only.id, now=NOW)] == [only.id]


def test_after_the_switch_the_traffic_is_looked_at(sealed, pair):
    old, new = pair
    run(sealed, steps.switch_certificate, certificate=new.id, force="x")
    (found,) = run(sealed, list_changeovers).items
    assert (found.certificate.id, found.gates.light == Light.GREEN) == (new.id, False)
    assert (found.traffic.since.over_tls, found.traffic.before.over_tls) == (0, 0)
    assert [one.id for one in found.replaces] == [old.id]
    assert found.traffic.since.domains == []
    assert found.roll_back_until > found.certificate.current_from
    gone = run(sealed, get_changeover, certificate=old.id)
    assert (gone.report, gone.traffic) == (None, None)
    (gone,) = run(sealed, list_changeovers, certificate=old.id).items
    assert gone.gates is None


def test_records_are_not_waited_for_for_ever(sealed, pair, monkeypatch):
    async def late(*_):
        raise TimeoutError

    with inventory_for_look(sealed) as inventory:
        scene = make_check_context(sealed, listed_certificates(inventory, sealed))
        assert {one.gate for one in check_tlsa(sealed, inventory, pair[1], scene)} <= set(GateCheck)
        monkeypatch.setattr(GateChecker, "sight", late)
        assert check_tlsa(sealed, inventory, pair[1], scene) == []


@pytest.mark.parametrize("quick", [True, False])
def test_a_mail_to_partners_names_both(sealed, pair, quick):
    old, new = pair
    found = run(sealed, get_notice, certificate=new.id, quick=quick)
    assert old.leaf.sha256.upper() in found.text.upper().replace(":", "")
    assert new.leaf.sha256.upper() in found.text.upper().replace(":", "")
    assert "PRIVATE KEY" not in found.text
    assert [(one.partner, one.told) for one in found.partners] == [("bank.example", False)]


# fields of the certificate -> what to do
STEPS = [
    ({"state": State.NEXT}, [f"{COMMAND} switch "]),
    ({"state": State.NEXT, "switch_at": NOW}, ["nothing: the switch is planned for 2026-11-24 14:00:00Z"]),
    ({"state": State.NEXT, "held": "gates closed"}, ["the planned switch did not happen: ", f"{COMMAND} switch"]),
    ({"state": State.DEPRECATED}, ["when you no longer need it: "]),
    ({"state": State.RETIRED}, ["nothing: its key was destroyed"]),
    ({"state": State.CURRENT}, []),
]


@pytest.mark.parametrize(("fields", "expected"), STEPS)
def test_what_to_do_next(entry, fields, expected):
    one = entry("a", **fields)
    told = list(next_steps(one, {one.id: one}, None, now=NOW))
    assert [text[: len(start)] for text, start in zip(told, expected, strict=True)] == expected


@pytest.mark.parametrize(("same_key", "said"), [(False, "remove 3 1 1 "), (True, f"after that: {COMMAND} withdraw")])
def test_an_old_record_is_taken_out_unless_the_key_is_the_same(entry, same_key, said):
    old = entry("old", state=State.DEPRECATED)
    new = entry("new", state=State.CURRENT, replaces=(old.id, "gone"))
    if same_key:
        new = replace(new, leaf=old.leaf)
    (told,) = next_steps(new, {old.id: old, new.id: new}, None, now=NOW)
    assert said in told


# findings: verdict and until when waiting alone mends it -> what to do
GATES = [
    (((Mark.PASS, 0.0), (Mark.WARN, 0.0)), f"{COMMAND} switch ID, or with --at TIME"),
    (
        ((Mark.FAIL, NOW), (Mark.FAIL, NOW - 9)),
        f"wait, or plan the switch: {COMMAND} switch ID --at 2026-11-24T14:00:00Z",
    ),
    (((Mark.FAIL, NOW), (Mark.FAIL, 0.0)), f"resolve the items marked ✗ or ?, then: {COMMAND} check ID"),
    (((Mark.UNKNOWN, 0.0),), f"resolve the items marked ✗ or ?, then: {COMMAND} check ID"),
]


@pytest.mark.parametrize(("findings", "expected"), GATES)
def test_what_keeps_it_from_being_switched_is_mended_or_waited_for(entry, findings, expected):
    one = entry("a", state=State.NEXT)
    report = GateReport(
        one, NOW, tuple(GateFinding(GateCheck.TLSA, mark, "so", until=until) for mark, until in findings)
    )
    (told,) = next_steps(one, {one.id: one}, report, now=NOW)
    assert told == expected.replace("ID", one.id)


@pytest.mark.parametrize("case", [get_changeover, check_gates, list_changeovers])
def test_few_looks_at_a_time(sealed, pair, case):
    limit = sealed.kept(GatesLimit)
    with limit.slot(ANN.name), limit.slot(ANN.name), pytest.raises(BusyRefusal, match="other checks are running"):
        run(sealed, case, certificate=pair[1].id)
