from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_deeds import added_told, changes_told, switch_told
from gatepost.manage.use_cases.certificate_intake import NewCertificate, add_certificate
from gatepost.manage.use_cases.certificate_removal import remove
from gatepost.manage.use_cases.refusal import Refusal

ANN = Principal("ann", frozenset({Scope.OWNER}))
EVE = Principal("eve", frozenset({Scope.OWNER}))
NAME = "mx.gate.example"


@pytest.fixture
def add(sealed, root):
    def added(who=ANN, **more):
        chain, key = root.issue([NAME])
        return add_certificate(sealed, who, NewCertificate(chain, "chain", key, "key", **more))

    return added


def test_what_came_in(sealed, add):
    detail = {}
    with changes_told(sealed, ANN, detail):
        done = add()
    number = done.entry.id
    assert detail["before"] == {}
    assert detail["after"][f"{number} state"] == "current"
    assert detail["after"][f"{number} dns_names"] == [NAME]
    assert detail["after"][f"{number} added"].endswith("Z")
    assert added_told(done) == {"state": "current", "names": [NAME], "deprecated": []}


def test_several_steps_are_one_difference(sealed, add):
    """What was before the first of them, and what is after the last."""
    old, new = (add().entry.id for _ in range(2))
    detail = {}
    with changes_told(sealed, ANN, detail):
        done = steps.switch(sealed, ANN, new, force="a drill")
        steps.withdraw(sealed, ANN, old, force="stolen")
    assert (detail["before"][f"{old} state"], detail["after"][f"{old} state"]) == ("current", "retired")
    assert (detail["before"][f"{new} state"], detail["after"][f"{new} state"]) == ("next", "current")
    assert len(detail["versions"]) == 2
    told = switch_told(done, "a drill")
    assert (told["replaced"], told["reason"], bool(told["red"])) == ([old], "a drill", True)
    assert switch_told(done, "")["red"] == ""


def test_what_went_is_before_alone(sealed, add):
    number = add().entry.id
    detail = {}
    with changes_told(sealed, ANN, detail):
        remove(sealed, ANN, number, force="x")
    assert detail["before"][f"{number} state"] == "current"
    assert detail["after"] == {}


def test_nothing_was_changed_or_by_somebody_else(sealed, add):
    detail = {}
    with changes_told(sealed, ANN, detail):
        add(EVE)
    assert detail == {}
    with pytest.raises(Refusal), changes_told(sealed, ANN, detail):
        remove(sealed, ANN, "nothing")
    assert detail == {}
