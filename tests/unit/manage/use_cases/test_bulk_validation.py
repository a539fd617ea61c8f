from __future__ import annotations

import socket
from functools import partial
from threading import Event, Lock
from threading import enumerate as threads

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import bulk_validation
from gatepost.manage.use_cases.bulk_validation import (
    Batch,
    ListValidations,
    ShowValidations,
    StopValidations,
    TurnLimit,
    ValidateConnectors,
    list_validations,
    show_validations,
    stop_validations,
    validate_connectors,
)
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.record_budget import AUDIT_EVENT, RecordBudget
from gatepost.manage.use_cases.refusal import STORE_AWAY, BusyRefusal, Refusal, RefusalKind, StoreUnreadable
from gatepost.manage.use_cases.resource_actions import ConnectorName
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.validation import last_validation
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
READER = Principal("rea", frozenset({Scope.READ}))


def name(text, organization="contoso", direction="outbound"):
    return ConnectorName(organization=organization, direction=direction, name=text)


def outbound(text, port):
    return {"name": text, "recipient_domains": [f"{text}.example"], "smart_hosts": [f"127.0.0.1:{port}"]}


@pytest.fixture
def port():
    """One that nobody listens on while it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def base(gateway, port):
    contoso = {
        "outbound_connector": [outbound("a", port), outbound("b", port)],
        "inbound_connector": [{"name": "in", "sender_domains": ["*"]}],
    }
    fabrikam = {"outbound_connector": [outbound("a", port)]}
    document = {"organization": {"contoso": contoso, "fabrikam": fabrikam}}
    apply_document(gateway, OWNER, document, ChangeOptions("ann"))
    return gateway


@pytest.fixture
def slow(monkeypatch):
    """Validations that end when they are let go, or stopped. running: {organization: how many}, the most of each."""

    class Slow:
        def __init__(self):
            self.go, self.lock, self.now, self.most = Event(), Lock(), {}, {}

        def __call__(self, _context, candidate, token):
            owner = candidate.chosen.organization.name
            with self.lock:
                self.now[owner] = self.now.get(owner, 0) + 1
                self.most[owner] = max(self.most.get(owner, 0), self.now[owner])
            while not (self.go.wait(0.01) or token._stopped):
                pass
            with self.lock:
                self.now[owner] -= 1
            if token._stopped:
                raise Refusal(RefusalKind.UNREADABLE, "stopped")
            return {"outcome": "validated", "verdict": "fine"}

    slow, before = Slow(), set(threads())
    monkeypatch.setattr(bulk_validation, "run_candidate", slow)
    yield slow
    slow.go.set()
    while left := set(threads()) - before:  # or what they have yet to begin would be the next test's
        for thread in left:
            if thread.is_alive():  # not while it is yet to begin
                thread.join()


def begun(base, *names, who=OWNER, wait=0.0):
    request = ValidateConnectors(connectors=list(names), wait=wait)
    return LocalClient(base, who).call(validate_connectors, request).value


def shown(base, identity, who=OWNER, wait=20.0):
    return LocalClient(base, who).call(show_validations, ShowValidations(id=identity, wait=wait))


def test_each_is_tried_kept_and_on_record(base):
    state = begun(base, name("a"), name("A"), name("in", direction="inbound"), name("a", "fabrikam"), wait=20.0)
    assert state.done
    assert [(row.organization, row.name, row.state, row.outcome) for row in state.connectors] == [
        ("contoso", "a", "done", "not-validated"),
        ("contoso", "in", "done", "not-validated"),
        ("fabrikam", "a", "done", "not-validated"),
    ]
    assert "Connection refused" in state.connectors[0].verdict
    counts = state.counts
    assert (counts.total, counts.not_validated, counts.left, counts.stopped) == (3, 3, 0, False)
    chosen = choose_connector(base.directory().resources, "a", "fabrikam")
    assert last_validation(base, chosen)["outcome"] == "not-validated"
    accounts = Accounts(Storage(SQLITE, base.data))
    events = [event for event in accounts.audit_events(OWNER) if event.action == "connector-validate"]
    assert {(event.organization, event.subject) for event in events} == {
        ("contoso", "outbound connector 'a' of contoso"),
        ("contoso", "inbound connector 'in' of contoso"),
        ("fabrikam", "outbound connector 'a' of fabrikam"),
    }


@pytest.mark.parametrize(
    ("who", "names", "kind"),
    [
        (OWNER, [name("a"), name("gone")], RefusalKind.MISSING),
        (TENANT, [name("a"), name("a", "fabrikam")], RefusalKind.MISSING),
        (OWNER, [], RefusalKind.INPUT),
        (READER, [name("a")], RefusalKind.FORBIDDEN),
    ],
)
def test_nothing_is_begun_of_what_is_not_theirs_or_not_there(base, slow, who, names, kind):
    with pytest.raises(Refusal) as refused:
        begun(base, *names, who=who)
    assert refused.value.kind is kind
    assert slow.most == {}


def test_two_of_an_organization_run_at_a_time_whoever_asked(base, slow):
    first = begun(base, name("a"), name("b"), name("in", direction="inbound"), name("a", "fabrikam"))
    second = begun(base, name("a"), name("b"), who=TENANT)
    for _ in range(2000):
        if slow.now == {"contoso": 2, "fabrikam": 1}:
            break
        Event().wait(0.02)
    states = [row.state for one in (first, second) for row in shown(base, one.id, wait=0.0).connectors]
    assert states.count("running") == 3
    slow.go.set()
    assert shown(base, first.id).counts.validated == 4
    assert shown(base, second.id).counts.validated == 2
    assert slow.most == {"contoso": 2, "fabrikam": 1}


def test_one_call_at_a_time_of_one_user(base, slow):
    begun(base, name("a"))
    with pytest.raises(Refusal) as refused:
        begun(base, name("b"))
    assert isinstance(refused.value, BusyRefusal)
    assert begun(base, name("b"), who=TENANT).counts.total == 1


def test_one_call_at_a_time_of_all_users_and_tokens_of_a_tenant(base, slow):
    begun(base, name("a"), who=TENANT)
    with pytest.raises(BusyRefusal):
        begun(base, name("b"), who=Principal("token t", TENANT.scopes, TENANT.organizations))
    assert begun(base, name("a", "fabrikam"), who=STRANGER).counts.total == 1


def test_each_counts_among_what_a_tenant_adds_to_the_audit_log(base, slow, monkeypatch):
    charged = []
    monkeypatch.setattr(
        base.kept(RecordBudget), "charge", lambda who, *given, **more: charged.append((who, given, more))
    )
    slow.go.set()
    begun(base, name("a"), name("b"), name("in", direction="inbound"), who=TENANT, wait=20.0)
    assert charged == [(TENANT, (AUDIT_EVENT,), {"is_call": True})] * 4, "the call, and each of three"


def test_others_do_not_see_it(base, slow):
    own = begun(base, name("a"), who=TENANT)
    both = begun(base, name("a"), name("a", "fabrikam"))
    for who, identity in ((STRANGER, own.id), (TENANT, both.id)):
        for call, request in ((show_validations, ShowValidations), (stop_validations, StopValidations)):
            with pytest.raises(Refusal) as refused:
                LocalClient(base, who).call(call, request(id=identity))
            assert refused.value.kind is RefusalKind.MISSING
    listed = {
        who.name: [counts.id for counts in LocalClient(base, who).call(list_validations, ListValidations()).items]
        for who in (OWNER, TENANT, STRANGER)
    }
    assert listed == {"ann": [both.id, own.id], "tim": [own.id], "sid": []}


def test_it_can_be_stopped_and_says_what_was_not_tried(base, slow):
    state = begun(base, name("a"), name("b"), name("in", direction="inbound"))
    for _ in range(2000):
        if slow.now.get("contoso") == 2:
            break
        Event().wait(0.02)
    stopped = LocalClient(base, OWNER).call(stop_validations, StopValidations(id=state.id))
    assert (stopped.done, stopped.counts.stopped, stopped.counts.left) == (True, True, 0)
    assert [row.state for row in stopped.connectors] == ["stopped"] * 3
    again = LocalClient(base, OWNER).call(stop_validations, StopValidations(id=state.id))
    assert again == stopped
    event, *_ = Accounts(Storage(SQLITE, base.data)).audit_events(OWNER)
    assert (event.action, event.organization) == ("connector-validate-stop", "contoso")


def test_what_was_removed_meanwhile_is_inconclusive(base, port):
    context = Context(base, OWNER, lambda: Accounts(Storage(SQLITE, base.data)))
    document = {"organization": {"contoso": {"outbound_connector": [outbound("b", port)]}}}
    apply_document(base, OWNER, document, ChangeOptions("ann"))
    batch = Batch([name("a")], partial(bulk_validation._try_stored, context)).run(TurnLimit(), lambda _: None)
    (row,) = batch.results
    assert (row.state, row.outcome) == ("done", "unknown")
    assert "there is no outbound connector 'a'" in row.verdict


def test_organizations_take_turns():
    order, names = [], [name("1"), name("2"), name("3"), name("1", "fabrikam")]

    def try_one(one, _token):
        order.append(one.organization)
        return {"outcome": "validated", "verdict": ""}

    Batch(names, try_one).run(ConcurrencyLimit(1, 1, ""), lambda _: None)
    assert "fabrikam" in order[:3], "three take the first of the queue; without turns it would be the last"


def test_one_that_fails_for_a_reason_of_ours_leaves_the_others_their_turn(caplog):
    """On whichever thread it was tried: nothing of the call says that it still runs, or waits."""

    def try_one(connector, _token):
        if connector.name != "9":
            raise RuntimeError("secret")
        return {"outcome": "validated", "verdict": "it works"}

    results = Batch([name(str(number)) for number in range(10)], try_one).run(TurnLimit(), lambda _: None).results
    assert {result.state for result in results} == {"done"}
    assert [result.outcome for result in results] == ["unknown"] * 9 + ["validated"]
    assert "secret" not in results[0].verdict
    assert "connector 0 of contoso could not be validated" in caplog.text


def test_what_a_store_says_of_itself_is_in_no_result():
    def away(_name, _token):
        raise StoreUnreadable("/srv/data: refused by 10.1.2.3")

    batch = Batch([name("a")], away).run(TurnLimit(), lambda _: None)
    assert [result.verdict for result in batch.results] == [STORE_AWAY]
