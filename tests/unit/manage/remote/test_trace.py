from __future__ import annotations

import pytest

from gatepost.manage.remote import trace
from gatepost.manage.use_cases import trace as here
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.interface import TraceFilter

from .conftest import OWNER


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"limit": 2},
        {"organization": "contoso"},
        {"event": "RECEIVE", "domain": "bank.example"},
        {"since": 1_795_521_601.0, "until": 1_795_521_602.0},
        {"recipient": "nobody@bank.example"},
    ],
)
def test_searches_are_the_same(there, wanted):
    assert trace.events(there, TraceFilter(**wanted)) == here.events(there.api.gateway, OWNER, TraceFilter(**wanted))


def test_a_story_is_the_same(there):
    for identity in (there.api.ids[1], "5e51"):
        assert trace.events_of(there, identity) == here.events_of(there.api.gateway, OWNER, identity)
    with pytest.raises(Refusal, match="<a/b@c>") as refused:
        trace.events_of(there, "<a/b@c>")
    assert refused.value.kind is Kind.MISSING


def test_pages_are_followed(there, monkeypatch):
    monkeypatch.setattr("gatepost.manage.remote.connection._PAGE", 1)
    assert len(trace.events(there, TraceFilter(limit=3))) == 3
    assert len(there.calls) == 3
    assert len(trace.events(there, TraceFilter(limit=2))) == 2


def test_a_page_that_is_elsewhere_is_not_asked_for(there, monkeypatch):
    page = type("Answer", (), {"value": {"items": [{}], "next": "//thief.example/"}})
    monkeypatch.setattr(there, "get", lambda *_, **__: page)
    with pytest.raises(Refusal, match="not on it"):
        list(there.items("/trace"))
