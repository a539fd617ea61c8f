from __future__ import annotations

import pytest

from gatepost.manage.remote import drills
from gatepost.manage.remote.drills import drilled, last_drill
from gatepost.manage.use_cases import drills as here
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER


def test_one_is_held_there_and_found_again(there):
    assert last_drill(there, "bank/out") is None
    found = drilled(there, "BANK/out", "contoso")
    assert found.passed
    assert found.evidence.startswith(str(there.api.gateway.data))
    assert last_drill(there, "bank/out") == here.last_drill(there.api.gateway, OWNER, "bank/out")
    assert last_drill(there, "bank/out") == found._replace(recorded=True)


@pytest.mark.parametrize("words", [("nobody",), ("bank in",), ("bank/out", "fabrikam"), ("bank/out", "", "inbound")])
def test_what_is_refused_is_refused_alike(there, words):
    refusals = []
    for ask in (lambda: drilled(there, *words), lambda: here.drilled(there.api.gateway, OWNER, *words)):
        with pytest.raises(Refusal) as refused:
            ask()
        refusals.append((refused.value.kind, refused.value.text))
    assert refusals[0] == refusals[1]


class Slow:
    """Answers that come one after the other."""

    url = "https://gate.example"

    def __init__(self, there, *states):
        self.there, self.states = there, list(states)

    def get(self, path, **query):
        return self.there.get(path, **query) if path == "/resources" else self.call("GET", path)

    def call(self, *_, **__):
        return type("Answer", (), {"value": {"id": "x", "trouble": "", "result": None, **self.states.pop(0)}})


def test_it_is_asked_until_it_has_ended(there, monkeypatch):
    result = dict.fromkeys(here.Drilled._fields, "") | {"record": {}, "troubles": ["x"]}
    found = drilled(Slow(there, {"done": False}, {"done": True, "result": result}), "bank/out")
    assert (found.record, found.troubles) == ({}, ("x",))
    with pytest.raises(Refusal, match="the machine is busy") as refused:
        drilled(Slow(there, {"done": True, "trouble": "the machine is busy"}), "bank/out")
    assert refused.value.kind is Kind.UNREADABLE
    monkeypatch.setattr(drills, "_MOST", -1)
    with pytest.raises(Refusal, match="does not end"):
        drilled(Slow(there, {"done": False}), "bank/out")
