from __future__ import annotations

import copy

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases import validation_runs
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.choice import choose_connector
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.validation import Stopped, Trial, last_validation
from gatepost.manage.use_cases.validation_runs import Tried, Wanted, begin_validation, stored_candidate, validated

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
BY = Actor("ann", "192.0.2.1")
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "outbound_connector": [
            {"name": "bank-out", "recipient_domains": ["bank.example"], "smart_hosts": ["127.0.0.1:1"]}
        ],
    }
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, Wish("ann"))
    return gateway


@pytest.fixture
def accounts(base):
    return Accounts(base.data / "access.db")


def begun(base, accounts, trial=None, who=OWNER, keep=None):
    candidate = stored_candidate(base, choose_connector(base.directory().resources, "bank-out"), trial or Trial())
    if keep is not None:
        candidate = candidate._replace(keep=keep, draft=True)
    return begin_validation(base, who, candidate, accounts, BY)


def test_a_run_tells_of_its_tasks_is_kept_and_on_record(base, accounts):
    run = begun(base, accounts)
    assert run.wait(30)
    assert (run.result["outcome"], run.trouble) == ("not-validated", "")
    assert run.version > 3, "resolving, connecting, and the end"
    chosen = choose_connector(base.directory().resources, "bank-out")
    assert last_validation(base, chosen) == run.result
    (event,) = [one for one in accounts.audit_events(OWNER) if one.action == "connector-validate"]
    assert (event.who, event.organization, event.subject) == ("ann", "contoso", chosen.label)
    assert event.detail == {"outcome": "not-validated", "draft": False}


def test_who_sees_the_organization_sees_it(base, accounts):
    run = begun(base, accounts)
    assert run.wait(30)
    assert base.kept(Jobs).find(run.id, TENANT, Tried) is run
    with pytest.raises(Refusal) as refused:
        base.kept(Jobs).find(run.id, STRANGER, Tried)
    assert refused.value.kind is Kind.MISSING


def test_what_could_not_be_kept_is_a_note(base, accounts):
    run = begun(base, accounts, keep=lambda _: "the disk is full")
    assert run.wait(30)
    assert run.result["notes"] == ["the disk is full"]


def test_what_cannot_be_tried_is_refused_at_once_or_ends_the_run(base, accounts):
    with pytest.raises(Refusal) as refused:
        begun(base, accounts, Trial(session="x", ip="192.0.2.1"))
    assert [error.path for error in refused.value.errors] == ["session", "ip"]
    run = begun(base, accounts, Trial(("bob",)))
    assert run.wait(30)
    assert run.trouble.startswith("recipients: 'bob' is not a mail address")
    assert [error.path for error in run.refusal.errors] == ["recipients"]


def test_one_that_takes_too_long_says_so(base, accounts, monkeypatch):
    def late(*_):
        raise Stopped

    monkeypatch.setattr(validation_runs, "validate", late)
    run = begun(base, accounts)
    assert run.wait(30)
    assert "not done after 180 seconds" in run.trouble
    (event,) = [one for one in accounts.audit_events(OWNER) if one.action == "connector-validate"]
    assert event.detail["outcome"] == "stopped"


def test_a_page_is_waited_for(base, accounts, monkeypatch):
    candidate = stored_candidate(base, choose_connector(base.directory().resources, "bank-out"), Trial())
    run = begin_validation(base, OWNER, candidate, accounts, BY, live=True)
    assert not run.wait(0.2)
    run.followed.set()
    assert run.wait(30)
    assert run.result["outcome"] == "not-validated"
    monkeypatch.setattr(validation_runs, "_PATIENCE", 0.01)
    run = begin_validation(base, OWNER, candidate, accounts, BY, live=True)
    assert run.wait(30)
    assert run.trouble.startswith("Nobody looked on")


def test_the_command_waits_for_it(base):
    told = []
    record = validated(base, OWNER, Wanted("BANK-out"), told.append)
    assert record["outcome"] == "not-validated"
    running = [
        task["name"] for one in told for host in one["hosts"] for task in host["tasks"] if task["status"] == "running"
    ]
    assert running == ["Resolve", "Connect"]
    assert all(one["outcome"] == "unknown" for one in told)


def test_what_is_not_stored_is_not_kept(base):
    document = copy.deepcopy(BASE)
    document["contoso"]["outbound_connector"].append(
        {"name": "new-out", "recipient_domains": ["new.example"], "smart_hosts": ["127.0.0.1:1"]}
    )
    record = validated(base, OWNER, Wanted("bank-out", draft={"organization": document}))
    assert record["notes"] == []
    assert validated(base, TENANT, Wanted("new-out", draft={"organization": document}))["connector"] == "new-out"
    with pytest.raises(Refusal) as refused:
        validated(base, STRANGER, Wanted("new-out", draft={"organization": document}))
    assert refused.value.kind is Kind.MISSING
    assert last_validation(base, choose_connector(base.directory().resources, "bank-out")) is None


def test_a_connector_of_others_is_not_there(base):
    with pytest.raises(Refusal) as refused:
        validated(base, STRANGER, Wanted("bank-out"))
    assert refused.value.kind is Kind.MISSING
