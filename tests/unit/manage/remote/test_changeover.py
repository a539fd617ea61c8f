from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates import Light
from gatepost.manage.remote import changeover
from gatepost.manage.use_cases import changeover as here
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_intake import add_certificate
from gatepost.manage.use_cases.changeover import notice_record, status_record
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER, new_certificate


@pytest.fixture
def pair(sealed):
    return [add_certificate(sealed, OWNER, new_certificate()).entry.id for _ in range(2)]


def timeless(record):
    return {key: value for key, value in record.items() if key not in {"at", "seconds"}}


def test_the_gates_are_told_alike(safe, sealed, pair):
    found, wanted = changeover.check(safe, pair[1]), here.check(sealed, OWNER, pair[1])
    assert (found.entry, found.light, found.reasons) == (wanted.entry, wanted.light, wanted.reasons)
    assert found.findings == wanted.findings
    assert found.light is not Light.GREEN


def test_where_it_stands_is_told_alike(safe, sealed, pair):
    for number in ("", pair[1]):
        (found,), (wanted,) = changeover.looks(safe, number), here.looks(sealed, OWNER, number)
        left, right = status_record(found), status_record(wanted)
        assert timeless(left.pop("gates")) == timeless(right.pop("gates"))
        assert left == right
        assert found.entries == wanted.entries
    steps.switch(sealed, OWNER, pair[1], force="a drill")
    (after,) = changeover.looks(safe)
    assert status_record(after)["traffic"] == status_record(here.looks(sealed, OWNER)[0])["traffic"]
    assert status_record(after)["next"][0].startswith("if something is wrong")


def test_nothing_is_under_way(safe):
    assert changeover.looks(safe) == []
    with pytest.raises(Refusal) as refused:
        changeover.looks(safe, "0123456789")
    assert refused.value.kind is Kind.MISSING


def test_a_notice_is_told_alike(safe, sealed, pair):
    found, wanted = changeover.notice(safe, pair[1]), here.notice(sealed, OWNER, pair[1])
    assert notice_record(found) == notice_record(wanted)
    assert found.entry == wanted.entry
    assert [one.name for one in found.partners] == ["bank.example"]
