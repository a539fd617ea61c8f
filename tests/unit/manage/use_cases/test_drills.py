from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from gatepost.analysis.checks.drill_context import DrillImpossible
from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.drills import (
    DrillConnector,
    ListDrills,
    ShowDrill,
    ShowKeptDrill,
    ShowLastDrill,
    choose_drilled,
    list_drills,
    show_drill,
    show_kept_drill,
    show_last_drill,
    start_drill,
)
from gatepost.manage.use_cases.jobs import follow
from gatepost.manage.use_cases.record_budget import RecordBudget
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite.message_trace import search_trace
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
CLEAR = {"name": "open", "recipient_domains": ["d.example"], "cleartext": "after-failed-handshake"}
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [
            {"name": "both", "sender_domains": ["b.example"]},
            {"name": "in", "sender_domains": ["c.example"]},
        ],
        "outbound_connector": [
            {"name": "Both", "recipient_domains": ["b.example"], "tls_settings": "encryption-only"},
            CLEAR,
        ],
    }
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


@pytest.fixture
def accounts(base):
    with_file = Accounts(Storage(SQLITE, base.data))
    yield with_file
    with_file.close()


def files(base):
    return sorted((base.data / "evidence" / "drills").glob("*.json"))


def shown(base, identity, who=OWNER, organization="contoso"):
    return LocalClient(base, who).call(show_drill, ShowDrill(organization=organization, id=identity))


def drilled(base, who=OWNER, name="both"):
    """The state of a drill that has ended."""
    request = DrillConnector(organization="contoso", connector=name, wait=0.0)
    state = LocalClient(base, who).call(start_drill, request).value
    return follow(state, lambda identity: shown(base, identity, who))


def last_drill(base, who=OWNER, name="both"):
    return LocalClient(base, who).call(show_last_drill, ShowLastDrill(organization="contoso", connector=name)).drill


def test_one_is_held_kept_and_found_again(base):
    assert last_drill(base) is None
    held = drilled(base).held
    (file,) = files(base)
    assert (held.passed, held.evidence, held.unkept, held.fault, held.troubles) == (True, str(file), "", "", [])
    assert (held.record["connector"], held.record["messages_left"] > 0) == ("Both", True)
    (row,) = search_trace(base.data / "trace", TraceFilter(event="DRILL"))
    assert (row.detail["sha256"], row.organization) == (held.sha256, "contoso")
    assert last_drill(base) == replace(held, recorded=True)


def test_who_sees_some_organizations_sees_no_path_of_the_machine(base):
    held = drilled(base, TENANT).held
    (file,) = files(base)
    assert held.evidence == file.name
    tenant = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert last_drill(base, tenant, "Both").evidence == file.name
    for ask in (drilled, last_drill):
        with pytest.raises(Refusal) as refused:
            ask(base, STRANGER)
        assert refused.value.kind is RefusalKind.MISSING
    assert len(files(base)) == 1


def test_what_a_tenant_keeps_counts_in_what_it_may_add_to_records_in_a_day(base):
    base.kept(RecordBudget)._most = 100_000
    assert all(drilled(base, TENANT).held.evidence for _ in range(2))
    assert "tenant_records_per_day" in drilled(base, TENANT).trouble
    assert len(files(base)) == 2
    assert drilled(base, OWNER).held.evidence


def test_which_connector_is_meant(base):
    resources = base.directory().resources
    assert choose_drilled(resources, "both").direction == "outbound"
    for words in (("in",), ("both", "contoso", "inbound")):
        with pytest.raises(Refusal, match="drills are for outbound connectors") as refused:
            choose_drilled(resources, *words)
        assert refused.value.kind is RefusalKind.INPUT
    with pytest.raises(Refusal) as refused:
        choose_drilled(resources, "nobody")
    assert refused.value.kind is RefusalKind.MISSING


def test_it_is_kept_and_recorded(base, accounts):
    state = drilled(base, TENANT, "open")
    assert (state.held.passed, state.trouble) == (False, "")
    assert shown(base, state.id).held == state.held
    for who, organization in ((STRANGER, "fabrikam"), (STRANGER, "contoso"), (OWNER, "fabrikam")):
        with pytest.raises(Refusal) as refused:
            shown(base, state.id, who, organization)
        assert refused.value.kind is RefusalKind.MISSING
    (event,) = accounts.audit_events(OWNER)
    assert (event.action, event.organization, event.subject) == ("connector-drill", "contoso", state.connector)
    assert event.detail == {"outcome": "failed", "sha256": state.held.sha256}


def test_one_that_cannot_be_held_says_why(base, accounts, monkeypatch):
    during = []

    async def never(*_):
        during.extend(accounts.audit_events(OWNER))
        raise DrillImpossible("the machine is busy")

    monkeypatch.setattr("gatepost.analysis.checks.drill.run_drill", never)
    state = drilled(base)
    with pytest.raises(Refusal, match="outbound connector 'Both' of contoso: the machine is busy") as refused:
        _ = state.held
    assert refused.value.kind is RefusalKind.UNREADABLE
    (event,) = accounts.audit_events(OWNER)
    assert (event.outcome, event.detail) == ("failed", {"why": refused.value.text})
    assert [(one.id, one.outcome) for one in during] == [(event.id, "begun")]


def test_what_was_changed_is_not_believed(base):
    drilled(base)
    (file,) = files(base)
    file.write_text(file.read_text().replace("drill passed", "drill PASSED"))
    found = last_drill(base)
    assert (found.passed, found.fault[:14]) == (False, "it was changed")


def test_nothing_is_logged_of_mail_that_was_never_there(base, caplog):
    """A connector that falls back to cleartext warns of each message that leaves unencrypted."""
    heard = []

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    logger, handler = logging.getLogger("gatepost"), Handler()
    logger.addHandler(handler)
    try:
        drilled(base, name="open")
        assert heard == []
        logging.getLogger("gatepost.mail.outbound.hosts").warning("message 7 leaves unencrypted")
        assert heard == ["message 7 leaves unencrypted"], "other mail goes on"
    finally:
        logger.removeHandler(handler)


def test_what_cannot_be_kept_is_told(base, caplog):
    (base.data / "evidence").write_text("a file in the way")
    found = drilled(base).held
    assert (found.evidence, found.unkept[:16], str(base.data) in found.unkept) == ("", "the result canno", True)
    assert drilled(base, TENANT).held.unkept == "the result cannot be kept as evidence; the gateway's log says why"
    assert str(base.data) in caplog.text
    with pytest.raises(Refusal) as refused:
        last_drill(base)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_why_the_trace_has_none_is_told_to_who_sees_the_gateway(base, caplog):
    (base.data / "trace").write_text("a file in the way")
    for who in (OWNER, TENANT):
        (told, *_) = drilled(base, who).held.troubles
        assert told.startswith("the trace has no row of this drill")
        assert (told == "the trace has no row of this drill") is (who is TENANT)
    assert "the trace has no row of a drill: " in caplog.text


def test_where_drills_cannot_be_read_a_tenant_sees_no_path_either(base):
    (base.data / "evidence").mkdir(exist_ok=True)
    (base.data / "evidence" / "drills").write_text("a file in the way")
    tenant = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    asks = (
        lambda who: last_drill(base, who, "Both"),
        lambda who: LocalClient(base, who).call(list_drills, ListDrills()),
        lambda who: LocalClient(base, who).call(show_kept_drill, ShowKeptDrill(name="x")),
    )
    for ask in asks:
        for who in (OWNER, tenant):
            with pytest.raises(Refusal) as refused:
                ask(who)
            assert refused.value.kind is RefusalKind.UNREADABLE
            assert (str(base.data) in refused.value.text) is (who is OWNER)
