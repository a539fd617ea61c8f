"""Every use case that only reads gives from afar what it gives on the gateway's machine."""

from __future__ import annotations

import msgspec
import pytest

from gatepost.decoding import from_json
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote.connection import RestResponse
from gatepost.manage.use_cases.alarms import ListAlarms, list_alarms
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.declaration import SAFE
from gatepost.manage.use_cases.doctor import Examination
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.status import GetStatus, get_status
from gatepost.manage.use_cases.trace import SearchTrace, ShowTrace, search_trace_events, show_trace

READS = {
    one.name: one
    for one in USE_CASES
    if one.method in SAFE and one.path and not any(field.required for field in msgspec.structs.fields(one.request))
}


def outcome(client, case):
    """What it returns, or the refusal that it raises."""
    try:
        return plain(client.call(case, case.request()))
    except Refusal as refusal:
        return (refusal.kind, refusal.text)


@pytest.mark.parametrize("name", READS)
def test_the_same_is_read_from_afar(remote, local, name):
    assert outcome(remote, READS[name]) == outcome(local, READS[name])


def plain(value):
    """An export as a value, but for when it was made; an examination without what it measured."""
    if isinstance(value, Examination):
        return [(finding.area, finding.level) for finding in value.findings]
    if isinstance(value, msgspec.Raw):
        value = from_json(value)
    return {name: one for name, one in value.items() if name != "made"} if isinstance(value, dict) else value


def test_a_refusal_is_the_same(remote, there):
    there.api.who = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    with pytest.raises(Refusal) as refused:
        remote.call(get_status, GetStatus())
    assert refused.value.kind is RefusalKind.FORBIDDEN


def test_pages_are_followed(remote, local, there, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.client.MAX_ITEMS", 1)
    found = list(all_items(remote.call, search_trace_events, SearchTrace(domain="bank.example"), 3))
    assert found == list(all_items(local.call, search_trace_events, SearchTrace(domain="bank.example"), 3))
    assert (len(found), len(there.calls)) == (2, 2)


def test_what_a_path_names_is_the_same(remote, local, there):
    for identity in (there.api.ids[1], "5e51"):
        assert remote.call(show_trace, ShowTrace(id=identity)) == local.call(show_trace, ShowTrace(id=identity))
    with pytest.raises(Refusal, match="<a/b@c>") as refused:
        remote.call(show_trace, ShowTrace(id="<a/b@c>"))
    assert refused.value.kind is RefusalKind.MISSING


@pytest.mark.parametrize("told", [{}, [], None, 7, {"alarms": 7, "looked": None, "unknown": []}])
def test_what_no_gateway_says_is_called_so(remote, there, monkeypatch, told):
    monkeypatch.setattr(
        there,
        "call",
        lambda *_, **__: type("Answer", (), {"value": told, "etag": "", "location": "", "created": False}),
    )
    with pytest.raises(Refusal, match="not what this version of the command expects") as refused:
        remote.call(list_alarms, ListAlarms())
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_fields_that_are_not_known_are_ignored(remote, there, monkeypatch):
    value = {"alarms": [], "looked": None, "unknown": ["dns"], "of_a_later_version": 7}
    monkeypatch.setattr(there, "call", lambda *_, **__: RestResponse(value, ""))
    assert remote.call(list_alarms, ListAlarms()).unknown == ["dns"]
