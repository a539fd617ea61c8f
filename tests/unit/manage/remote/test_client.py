"""Every use case that only reads gives from afar what it gives on the gateway's machine."""

from __future__ import annotations

import msgspec
import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote.connection import Answer
from gatepost.manage.use_cases.alarms import ListAlarms, list_alarms
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.declaration import SAFE
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.status import GetStatus, get_status

READS = {
    one.name: one
    for one in USE_CASES
    if one.method in SAFE and one.path and not any(each.required for each in msgspec.structs.fields(one.request))
}


@pytest.mark.parametrize("name", READS)
def test_the_same_is_read_from_afar(remote, local, name):
    case = READS[name]
    request = case.request()
    assert remote.call(case, request) == local.call(case, request)


def test_a_refusal_is_the_same(remote, there):
    there.api.who = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    with pytest.raises(Refusal) as refused:
        remote.call(get_status, GetStatus())
    assert refused.value.kind is Kind.FORBIDDEN


@pytest.mark.parametrize("told", [{}, [], None, 7, {"alarms": 7, "looked": None, "unknown": []}])
def test_what_no_gateway_says_is_called_so(remote, there, monkeypatch, told):
    monkeypatch.setattr(
        there,
        "call",
        lambda *_, **__: type("Answer", (), {"value": told, "etag": "", "location": "", "created": False}),
    )
    with pytest.raises(Refusal, match="not what this version of the command expects") as refused:
        remote.call(list_alarms, ListAlarms())
    assert refused.value.kind is Kind.UNREADABLE


def test_fields_that_are_not_known_are_ignored(remote, there, monkeypatch):
    value = {"alarms": [], "looked": None, "unknown": ["dns"], "of_a_later_version": 7}
    monkeypatch.setattr(there, "call", lambda *_, **__: Answer(value, ""))
    assert remote.call(list_alarms, ListAlarms()).unknown == ["dns"]
