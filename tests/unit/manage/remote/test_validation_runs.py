from __future__ import annotations

import copy

import pytest

from gatepost.manage.remote import validation_runs
from gatepost.manage.remote.validation_runs import validated
from gatepost.manage.use_cases import validation_runs as here
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.validation import Trial
from gatepost.manage.use_cases.validation_runs import Wanted

from .conftest import OWNER, plain


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("bank in", "contoso", "inbound", Trial(since=1e9)),
        Wanted("BANK in", trial=Trial(ip="192.0.2.1", reverse_path="", forward_path="ann@contoso.example", since=1e9)),
    ],
)
def test_a_record_is_the_same(there, wanted):
    expected = plain(here.validated(there.api.gateway, OWNER, wanted))
    assert {**validated(there, wanted), "at": 0} == {**expected, "at": 0}


@pytest.mark.parametrize(
    ("wanted", "fields", "said"),
    [
        (Wanted("nobody"), [], "nobody"),
        (Wanted("bank in", trial=Trial(("bob@bank.example",))), ["recipients"], "was not tried"),
        (Wanted("bank in", trial=Trial(session="feed")), ["session"], "was not tried|error"),
    ],
)
def test_what_cannot_be_tried_is_refused_alike(there, wanted, fields, said):
    with pytest.raises(Refusal, match=said) as refused:
        validated(there, wanted)
    assert [error.path for error in refused.value.errors] == fields


def draft(there, **fields):
    """A document with a connector that is not stored."""
    with there.api.gateway.config() as store:
        _, stored = store.load()
    contoso = copy.deepcopy(stored["organization"]["contoso"])
    contoso["inbound_connector"].append({"name": "new in", "sender_domains": ["new.example"], **fields})
    return {"organization": {"contoso": contoso}}


def test_what_is_not_stored_is_tried_alike_and_kept_nowhere(there):
    document = draft(there)
    wanted = Wanted("NEW in", trial=Trial(since=1e9), draft=document)
    expected = plain(here.validated(there.api.gateway, OWNER, wanted))
    assert {**validated(there, wanted), "at": 0} == {**expected, "at": 0}
    assert expected["connector"] == "new in"
    with pytest.raises(Refusal) as refused:
        validated(there, Wanted("new in"))
    assert refused.value.kind is Kind.MISSING
    event = there.api.accounts.audit_events(OWNER)[0]
    assert (event.action, event.detail["draft"]) == ("connector-validate", True)


def test_a_draft_that_cannot_be_applied_is_refused_with_its_errors(there):
    wanted = Wanted("new in", draft=draft(there, colour="blue"))
    for ask in (lambda: validated(there, wanted), lambda: here.validated(there.api.gateway, OWNER, wanted)):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.kind is Kind.INPUT
        assert [error.path.rpartition(".")[2] for error in refused.value.errors] == ["colour"]


class Slow:
    """Answers that come one after the other."""

    url = "https://gate.example"

    def __init__(self, there, *states):
        self.there, self.states = there, list(states)

    def get(self, path, **query):
        return self.there.get(path, **query) if path == "/resources" else self.call("GET", path)

    def call(self, *_, **__):
        return type("Answer", (), {"value": {"id": "x", "trouble": "", "result": None, **self.states.pop(0)}})


def test_it_is_asked_until_it_has_ended(there):
    told = []
    slow = Slow(there, {"done": False}, {"done": False, "result": {"at": 1}}, {"done": True, "result": {"at": 2}})
    assert validated(slow, Wanted("bank in"), told.append) == {"at": 2}
    assert told == [{"at": 1}]


def test_one_that_fails_or_does_not_end_is_told(there, monkeypatch):
    with pytest.raises(Refusal, match="went wrong"):
        validated(Slow(there, {"done": True, "trouble": "went wrong"}), Wanted("bank in"))
    monkeypatch.setattr(validation_runs, "_MARGIN", -1000)
    with pytest.raises(Refusal, match="does not end") as refused:
        validated(Slow(there, {"done": False}), Wanted("bank in"))
    assert refused.value.kind is Kind.UNREADABLE
