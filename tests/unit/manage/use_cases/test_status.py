from __future__ import annotations

import os

import pytest

from gatepost.mail.model.worker_load import WorkerLoad
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.listener_checks import ListenerChecks, ResolverCheck, ServiceStatus
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.status import (
    GetStatus,
    StatusAlarms,
    StatusConfiguration,
    configuration,
    get_status,
    workers,
)
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, note_silent, write_figures
from gatepost.store.sqlite.schema import LOCK_FILE

OWNER = Principal("ann", frozenset(Scope))
FABRIKAM = Principal("fab", frozenset(Scope), frozenset({"fabrikam"}))


def test_the_configuration_in_force(gateway):
    assert configuration(gateway) == StatusConfiguration(0, 0.0, "")
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}}}, author="ann")
    found = configuration(gateway)
    assert (found.version, found.author) == (1, "ann")
    assert found.at > 0


def test_a_configuration_that_cannot_be_read(gateway):
    gateway.data.write_text("no directory")
    with pytest.raises(Refusal) as caught:
        configuration(gateway)
    assert caught.value.kind is RefusalKind.UNREADABLE


@pytest.mark.parametrize(
    ("text", "ok"), [("own", True), ("", False), ("x", False), ("999999999", False), ("9" * 30, False)]
)
def test_workers(gateway, text, ok):
    lock = gateway.data / "queue" / "0" / LOCK_FILE
    lock.parent.mkdir(parents=True)
    lock.write_text(str(os.getpid()) if text == "own" else text)
    found = workers(gateway)
    assert (found[0].name, found[0].ok) == ("0", ok)
    assert len(found) == len(os.sched_getaffinity(0))
    assert not any(one.ok for one in found[1:])


@pytest.mark.parametrize("ok", [False, True])
def test_a_worker_whose_store_cannot_be_used_says_so(gateway, ok):
    lock = gateway.data / "queue" / "0" / LOCK_FILE
    lock.parent.mkdir(parents=True)
    lock.write_text(str(os.getpid()))
    write_figures(
        gateway.data / WORKERS_DIRECTORY, WorkerFigures(0, os.getpid() + ok, trouble="away", reason="db1 refuses")
    )
    found = workers(gateway)[0]
    assert found.ok == ok, "what an earlier process of this worker left does not count"
    assert found.detail.endswith(f"process {os.getpid()}" if ok else ", and takes no mail: db1 refuses")


def test_a_worker_that_hangs_is_not_well(gateway):
    """Its process is there, and what it wrote last may be of just now."""
    lock = gateway.data / "queue" / "0" / LOCK_FILE
    lock.parent.mkdir(parents=True)
    lock.write_text(str(os.getpid()))
    note_silent(gateway.data / WORKERS_DIRECTORY, {1, os.getpid()})
    assert workers(gateway)[0] == ServiceStatus("0", ok=False, detail=f"does not answer, process {os.getpid()}")
    note_silent(gateway.data / WORKERS_DIRECTORY, {1})
    assert workers(gateway)[0].ok


@pytest.mark.parametrize("own", [False, True])
def test_a_worker_that_has_too_much_to_do_says_so_and_runs(gateway, own):
    lock = gateway.data / "queue" / "0" / LOCK_FILE
    lock.parent.mkdir(parents=True)
    lock.write_text(str(os.getpid()))
    figures = WorkerFigures(
        0, os.getpid() + (not own), load=WorkerLoad("busy", 0.5, "messages wait 2.0 s to be stored")
    )
    write_figures(gateway.data / WORKERS_DIRECTORY, figures)
    found = workers(gateway)[0]
    assert found.ok
    assert ("busy: messages wait 2.0 s" in found.detail) is own


def status(gateway, principal=OWNER):
    return LocalClient(gateway, principal).call(get_status, GetStatus())


def test_all_of_it(gateway, queued):
    queued(gateway.data, {"contoso": ["a@b.example"]}, {"fabrikam": ["a@b.example"]})
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}}}, author="ann")
    found = status(gateway)
    assert (found.hostname, found.ok, found.logins) == (gateway.settings.server.hostname, False, None)
    assert (found.certificates, found.mail) == (StatusAlarms(0, "no alarms"), StatusAlarms(0, "no alarms"))
    assert (found.queue.deferred, found.in_doubt) == (2, 0)


@pytest.mark.parametrize(
    ("listeners", "alive", "nameservers", "ok"),
    [
        ((True,), (True,), True, True),
        ((), (True,), True, False),
        ((True, False), (True,), True, False),
        ((True,), (False,), True, False),
        ((True,), (True,), False, False),
    ],
)
def test_whether_it_is_well(gateway, monkeypatch, listeners, alive, nameservers, ok):
    given = [[ServiceStatus("x", one, "") for one in some] for some in (listeners, alive)]
    monkeypatch.setattr(gateway.kept(ListenerChecks), "run", lambda: given[0])
    monkeypatch.setattr("gatepost.manage.use_cases.status.workers", lambda _: given[1])
    monkeypatch.setattr(gateway.kept(ResolverCheck), "run", lambda: ServiceStatus("127.0.0.1:53", nameservers, ""))
    assert status(gateway).ok is ok


def test_it_is_for_who_sees_the_gateway(gateway):
    with pytest.raises(Refusal) as caught:
        status(gateway, FABRIKAM)
    assert caught.value.kind is RefusalKind.FORBIDDEN
