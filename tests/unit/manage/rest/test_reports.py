from __future__ import annotations

import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases import evidence_export
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.sqlite.trace import write_events

NOW = time.time()
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"fabrikam"}))


def sent(recipient, **more):
    return TraceEvent(NOW, "SEND", "01", "contoso", "originating", "s", "a@contoso.example", recipient, **more)


@pytest.fixture
def api(api_of):
    made = api_of(*ENDPOINTS)
    write_events(made.gateway.data / "trace", "0", [sent("b@a.example"), sent("b@a.example"), sent("b@b.example")])
    return made


def test_how_mail_was_protected(api):
    found = api.call("GET", "/reports/tls").json
    assert found["hops"]["outbound"]["carried"] == 3
    assert [one["name"] for one in found["partners"]] == ["a.example", "b.example"]
    found = api.call("GET", "/reports/tls?top=1&partner=A.example").json
    assert (found["hops"]["outbound"]["carried"], len(found["partners"])) == (2, 1)
    assert api.call("GET", "/reports/connectors").json["items"][0]["carried"] == 3


def test_a_tenant_finds_its_own(api):
    api.who = TENANT
    assert api.call("GET", "/reports/tls").json["partners"] == []
    assert api.call("GET", "/reports/tls?organization=contoso").json["partners"] == []
    assert api.call("GET", "/reports/received").json["items"] == []
    for path in ("/reports/sent", "/reports/sessions", "/evidence/heads", "/evidence/keys", "/evidence/verification"):
        assert api.call("GET", path).problem == "forbidden"


@pytest.mark.parametrize(
    "query",
    [
        "tls?since=x", "tls?since=2026-13-01", "tls?since=2026-02-02&until=2026-02-01", "tls?partner=no%20domain",
        "tls?top=0", "tls?nothing=1", "received?since=x", "received?domain=no%20domain", "sent?since=2026-99-01",
        "sessions?day=x", "sessions?day=2026-02-30",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(api, query):
    answer = api.call("GET", f"/reports/{query}")
    assert answer.status == 422
    assert answer.paths


def test_nothing_is_an_empty_list(api):
    for path in ("/reports/received", "/reports/sent", "/evidence/heads", "/evidence/keys"):
        assert api.call("GET", path).json["items"] == []
    assert api.call("GET", "/reports/sessions").json["reports"] == []
    assert api.call("GET", "/evidence/verification").json["running"] is False


@pytest.fixture
def logged(api, logs):
    directory = evidence_directory(api.gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    chain.append(logs.events(3, at=NOW, message="m"), NOW)
    chain.checkpoint(NOW)
    return api


def test_the_log_is_verified(logged):
    answer = logged.call("POST", "/evidence/verification")
    assert answer.status == 202
    for _ in range(1500):
        found = logged.call("GET", "/evidence/verification").json
        if not found["running"]:
            break
        time.sleep(0.02)
    assert (found["verified"], found["error"], found["found"]["entries"]) == (True, "", 5)


def test_entries_with_their_proof(logged, monkeypatch):
    assert logged.call("GET", "/evidence/export").json["format"]
    assert len(logged.call("GET", "/evidence/keys").json["items"]) == 1
    monkeypatch.setattr(evidence_export, "_MAX_DOCUMENT", 100)
    answer = logged.call("GET", "/evidence/export")
    assert answer.status == 422
    assert "too large" in answer.json["detail"]


def test_an_export_takes_days_or_times(logged):
    whole = logged.call("GET", "/evidence/export").json["segments"]
    day = time.strftime("%Y-%m-%d", time.gmtime(NOW))
    assert logged.call("GET", f"/evidence/export?since={day}&until={day}").json["segments"] == whole
    open_ended = logged.call("GET", "/evidence/export?since=1970-01-01T00:00").json
    assert (open_ended["segments"], open_ended["selection"]) == (whole, {})
    before = logged.call("GET", "/evidence/export?until=2026-01-01T12:00").json
    assert (before["segments"], list(before["selection"])) == ([], ["until"])
    assert logged.call("GET", "/evidence/export?since=x&until=2026-01-01T12:00").paths == ["query.since"]
    assert logged.call("GET", "/evidence/export?until=2026-02-30").status == 422
    assert logged.call("GET", "/evidence/export?since=1900-01-01T00:00&until=9999-12-31T23:59").json["selection"] == {}
    assert logged.call("GET", "/evidence/export?until=1900-01-01T00:00").json["segments"] == []
