from __future__ import annotations

import copy
import threading

import pytest
from msgspec.structs import replace

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import validation_runs
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.jobs import Jobs, follow
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.validation import ValidationCancelled, last_validation
from gatepost.manage.use_cases.validation_runs import (
    ShowValidation,
    ValidateConnector,
    Validated,
    show_validation,
    start_validation,
)
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
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
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


@pytest.fixture
def accounts(base):
    return Accounts(Storage(SQLITE, base.data))


BANK = ValidateConnector(organization="contoso", connector="bank-out", wait=0.0)


def started(base, who=OWNER, **fields):
    return LocalClient(base, who).call(start_validation, replace(BANK, **fields)).value


def shown(base, identity, who=OWNER, organization="contoso"):
    request = ShowValidation(organization=organization, id=identity, wait=20.0)
    return LocalClient(base, who).call(show_validation, request)


def validated(base, who=OWNER, watch=lambda _: None, **fields):
    return follow(started(base, who, **fields), lambda identity: shown(base, identity, who), watch)


def audit_events(accounts):
    return [one for one in accounts.audit_events(OWNER) if one.action == "connector-validate"]


@pytest.fixture
def answered(monkeypatch):
    """A validation waits while it is not set: else it may end before its start has an answer."""
    event, validate = threading.Event(), validation_runs.validation.validate
    event.set()
    monkeypatch.setattr(
        validation_runs.validation, "validate", lambda *args, **options: event.wait(20) and validate(*args, **options)
    )
    return event


def test_it_shows_its_tasks_is_kept_and_recorded(base, accounts, answered):
    told = []
    answered.clear()
    state = started(base)
    answered.set()
    job = base.kept(Jobs).find(state.id, OWNER, Validated)
    state = follow(state, lambda _: shown(base, state.id), told.append)
    assert (state.record["outcome"], state.trouble, state.errors) == ("not-validated", "", [])
    assert told, "it takes some time"
    assert job.version > 3, "resolving, connecting, and the end"
    chosen = choose_connector(base.directory().resources, "bank-out")
    assert last_validation(base, chosen) == state.record
    (event,) = audit_events(accounts)
    assert (event.who, event.organization, event.subject) == ("ann", "contoso", chosen.label)
    assert event.detail == {"outcome": "not-validated", "draft": False}


def test_who_sees_the_organization_sees_it(base):
    state = validated(base)
    assert shown(base, state.id, TENANT) == state
    for who, organization in ((STRANGER, "fabrikam"), (STRANGER, "contoso"), (OWNER, "fabrikam")):
        with pytest.raises(Refusal) as refused:
            shown(base, state.id, who, organization)
        assert refused.value.kind is RefusalKind.MISSING


def test_what_could_not_be_kept_is_a_note(base, monkeypatch):
    monkeypatch.setattr(validation_runs.validation, "keep_validation", lambda *_: "the disk is full")
    assert validated(base).record["notes"] == ["the disk is full"]


def test_what_cannot_be_tried_is_refused_at_once_or_ends_it(base, accounts, answered):
    with pytest.raises(Refusal) as refused:
        started(base, session="x", ip="192.0.2.1")
    assert [error.path for error in refused.value.errors] == ["session", "ip"]
    with pytest.raises(Refusal) as refused:
        started(base, recipients=["bob"], wait=20.0)
    assert [error.path for error in refused.value.errors] == ["recipients"]
    outbound = "outbound connector 'bank-out' of contoso"
    assert [(one.outcome, one.subject) for one in audit_events(accounts)] == [
        ("refused", outbound),
        ("refused", outbound),
    ]
    answered.clear()
    state = started(base, recipients=["bob"])
    answered.set()
    state = follow(state, lambda identity: shown(base, identity))
    assert state.trouble.startswith("recipients: 'bob' is not a mail address")
    (event, *others) = audit_events(accounts)
    assert (event.outcome, event.detail["why"], len(others)) == ("refused", state.trouble, 2)
    with pytest.raises(Refusal) as refused:
        _ = state.record
    assert (refused.value.kind, [error.path for error in refused.value.errors]) == (RefusalKind.INPUT, ["recipients"])


def test_one_that_takes_too_long_says_so(base, accounts, monkeypatch):
    def late(*_, **__):
        during.extend(audit_events(accounts))
        raise ValidationCancelled

    during = []
    monkeypatch.setattr(validation_runs.validation, "validate", late)
    state = validated(base)
    with pytest.raises(Refusal, match="did not finish within 180 seconds") as refused:
        _ = state.record
    assert refused.value.kind is RefusalKind.UNREADABLE
    (event,) = audit_events(accounts)
    assert (event.outcome, event.detail["why"]) == ("failed", refused.value.text)
    assert [(one.id, one.outcome) for one in during] == [(event.id, "begun")]


def test_what_is_not_stored_is_not_kept(base):
    document = copy.deepcopy(BASE)
    document["contoso"]["outbound_connector"].append(
        {"name": "new-out", "recipient_domains": ["new.example"], "smart_hosts": ["127.0.0.1:1"]}
    )
    draft = {"organization": document}
    assert validated(base, resources=draft).record["notes"] == []
    assert validated(base, TENANT, connector="new-out", resources=draft).record["connector"] == "new-out"
    with pytest.raises(Refusal) as refused:
        started(base, STRANGER, connector="new-out", resources=draft)
    assert refused.value.kind is RefusalKind.MISSING
    assert last_validation(base, choose_connector(base.directory().resources, "bank-out")) is None


def test_a_connector_of_others_is_not_there(base, accounts):
    with pytest.raises(Refusal) as refused:
        started(base, STRANGER)
    assert refused.value.kind is RefusalKind.MISSING
    assert audit_events(accounts) == [], "whoever asks in a loop must not fill the audit"
