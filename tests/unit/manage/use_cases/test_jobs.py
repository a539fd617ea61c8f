from __future__ import annotations

from threading import Event

import pytest

from gatepost.analysis.checks.partner_report import PartnerCheck
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import jobs
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget
from gatepost.manage.use_cases.refusal import STORE_AWAY, BusyRefusal, Refusal, RefusalKind, StoreUnreadable

READ = frozenset({Scope.READ})
ANN, BOB = Principal("ann", READ), Principal("bob", READ)
TIM, TINA = Principal("tim", READ, frozenset({"contoso"})), Principal("tina", READ, frozenset({"contoso", "b"}))
STRANGER = Principal("sid", READ, frozenset({"fabrikam"}))
TARGET = CheckTarget("b.example")
FOUND = PartnerCheck("b.example", "partner", 0.0, 1.0, (), ())


@pytest.fixture
def held():
    """Work that ends when it is let go."""
    event = Event()
    yield lambda _: FOUND if event.wait(20) else None
    event.set()


def test_a_run_tells_what_it_knows_and_ends():
    def work(told):
        told(FOUND)
        return FOUND

    run = Jobs().start(TARGET, ANN, work)
    assert run.wait(20)
    assert (run.result, run.trouble, run.version) == (FOUND, "", 2)


@pytest.mark.parametrize(
    ("error", "text"),
    [(Refusal(RefusalKind.INPUT, "no anchors"), "no anchors"), (RuntimeError("secret"), "gateway's log")],
)
def test_a_run_that_fails_ends_too(error, text):
    def work(told):
        told(FOUND)
        raise error

    run = Jobs().start(TARGET, ANN, work)
    assert run.wait(20)
    assert text in run.trouble
    assert "secret" not in run.trouble
    assert run.result is FOUND


def test_what_a_store_says_of_itself_is_in_the_log_alone(caplog):
    def work(_told):
        raise StoreUnreadable("/srv/data: refused by 10.1.2.3")

    run = Jobs().start(TARGET, ANN, work)
    assert run.wait(20)
    assert (run.trouble, caplog.messages) == (STORE_AWAY, ["/srv/data: refused by 10.1.2.3"])


def test_a_run_that_gets_no_thread_takes_nobodys_place(monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    runs = Jobs()
    with monkeypatch.context() as patched:
        patched.setattr(jobs.Thread, "start", no_thread)
        for _ in range(7):
            with pytest.raises(BusyRefusal):
                runs.start(TARGET, ANN, lambda _: FOUND)
    assert all(run.done for run in runs.recent(ANN, CheckTarget))
    assert runs.start(TARGET, ANN, lambda _: FOUND).wait(20)


def test_few_run_at_a_time_and_fewer_of_one(held):
    runs = Jobs()
    begun = [runs.start(TARGET, ANN, held) for _ in range(2)]
    for who, wanted in ((ANN, 0), (BOB, 2), (TIM, 2), (TINA, 1)):
        begun += [runs.start(TARGET, who, held) for _ in range(wanted)]
        with pytest.raises(Refusal) as refused:
            runs.start(TARGET, who, held)
        assert refused.value.kind is RefusalKind.CONFLICT
    for number in range(5):
        who = Principal(f"tenant {number}", READ, frozenset({f"tenant {number}"}))
        begun.append(runs.start(TARGET, who, held))
        with pytest.raises(BusyRefusal):
            runs.start(TARGET, who, held)
    with pytest.raises(BusyRefusal):
        runs.start(TARGET, STRANGER, held)
    assert len(begun) == 12
    assert not begun[0].wait(0)


def test_the_users_and_tokens_of_a_tenant_leave_places_to_others(held):
    runs = Jobs()
    colleagues = [Principal(name, READ, frozenset({"contoso"})) for name in ("tim", "token one", "token two")]
    for each in colleagues[:2]:
        runs.start(TARGET, each, held)
    for each in colleagues:
        with pytest.raises(BusyRefusal):
            runs.start(TARGET, each, held)
    assert runs.start(TARGET, STRANGER, lambda _: FOUND).wait(20)


def test_who_sees_what_the_asker_saw_sees_it():
    runs = Jobs()
    tenants, gateways = (runs.start(TARGET, who, lambda _: FOUND) for who in (TIM, ANN))
    for who in (TIM, TINA, ANN):
        assert runs.find(tenants.id, who, CheckTarget) is tenants
    assert runs.find(gateways.id, BOB, CheckTarget) is gateways
    for identity, who in ((tenants.id, STRANGER), (gateways.id, TIM), ("none", ANN)):
        with pytest.raises(Refusal) as refused:
            runs.find(identity, who, CheckTarget)
        assert refused.value.kind is RefusalKind.MISSING
    assert runs.recent(STRANGER, CheckTarget) == []
    assert runs.recent(TINA, CheckTarget) == [tenants]


def test_one_that_goes_on_for_long_keeps_no_other_and_is_kept_afterwards(held):
    runs = Jobs()
    long, short = runs.start(TARGET, ANN, held), runs.start(TARGET, ANN, lambda _: FOUND)
    assert short.wait(20)
    long.begun -= 7200
    short.ended -= 3601
    assert runs.recent(ANN, CheckTarget) == [long]
    long.end(FOUND)
    assert runs.recent(ANN, CheckTarget) == [long], "it ended just now"


def test_results_are_kept_for_an_hour_and_not_too_many(monkeypatch):
    runs = Jobs()
    old = runs.start(TARGET, ANN, lambda _: FOUND)
    assert old.wait(20)
    old.ended -= 3601
    new = runs.start(TARGET, ANN, lambda _: FOUND)
    assert new.wait(20)
    assert runs.recent(ANN, CheckTarget) == [new]
    monkeypatch.setattr(jobs, "_MOST", 1)
    last = runs.start(TARGET, ANN, lambda _: FOUND)
    assert runs.recent(ANN, CheckTarget) == [last] or last.wait(20)


def test_a_tenant_who_starts_many_takes_no_results_from_others(monkeypatch):
    runs = Jobs()
    monkeypatch.setattr(jobs, "_MOST", 10)
    kept = runs.start(TARGET, STRANGER, lambda _: FOUND)
    assert kept.wait(20)
    for _ in range(30):
        assert runs.start(TARGET, TIM, lambda _: FOUND).wait(20)
    assert runs.find(kept.id, STRANGER, CheckTarget) is kept
    assert len(runs.recent(ANN, CheckTarget, 100)) <= 10
