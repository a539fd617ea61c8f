"""The history of destinations behaves alike on both engines; nodes learn from each other within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from support.postgres import Postgres

from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, accept, seen
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import WorkerDestinations
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.testing.process import wait_until

AUTH = Achieved(TlsLevel.AUTHENTICATED, MxLevel.DNSSEC)
PARTNER, OTHER = DestinationName("contoso", "partner.example"), DestinationName("contoso", "", "Bank")
THIRD = DestinationName("fabrikam", "partner.example", "bank")
NOW = 1_700_000_000.0
SOON = 30.0  # seconds, of which most are for a busy machine


def session(at: float = NOW, host: str = "mx1") -> SeenSession:
    return SeenSession(host, AUTH, at, "TLSv1.3")


def knows(worker: WorkerDestinations, name: DestinationName) -> bool:
    try:
        return bool(worker.find(name).hosts)
    except StoreFailure:
        return False


def test_what_one_worker_saw_others_know_soon(storage: Storage) -> None:
    first, second = storage.worker_destinations(), storage.worker_destinations()
    first.note(PARTNER, session())
    wait_until(lambda: knows(second, PARTNER), "the session elsewhere", timeout=SOON)
    table = storage.destinations()
    assert table.find(PARTNER) == second.find(PARTNER) == seen(DestinationHistory(), session())
    accepted = table.change(PARTNER, lambda before: accept(before, at=NOW, by="ann"))
    wait_until(lambda: second.find(PARTNER) == accepted, "the acceptance elsewhere", timeout=SOON)
    table.forget(PARTNER)
    wait_until(lambda: not knows(first, PARTNER), "the end of it elsewhere", timeout=SOON)
    second.note(OTHER, session())
    first.close()
    second.close()
    assert [name for name, _ in storage.destinations().listed()] == [OTHER]


def test_the_list_is_in_the_order_of_names(storage: Storage) -> None:
    worker = storage.worker_destinations()
    for name in (PARTNER, OTHER, THIRD):
        worker.note(name, session())
    worker.close()
    table = storage.destinations()
    assert [name for name, _ in table.listed()] == [OTHER, PARTNER, THIRD]
    assert [name for name, _ in table.listed(connector="BANK")] == [OTHER, THIRD]
    assert [name for name, _ in table.listed(limit=1, after=OTHER)] == [PARTNER]
    assert [name for name, _ in table.listed(organization="contoso", domain="partner.example")] == [PARTNER]


def test_the_loop_never_waits_for_a_database_that_is_away(
    start_postgres: Callable[..., Postgres], tmp_path: Path
) -> None:
    server = start_postgres()
    worker = Storage(server.database(), tmp_path).worker_destinations()
    worker.note(PARTNER, session())
    wait_until(lambda: knows(worker, PARTNER), "the history")
    server.stop()
    begun = time.monotonic()
    for number in range(500):
        worker.note(OTHER, session(NOW + number))
        worker.find(OTHER)
    assert time.monotonic() - begun < 30
    assert knows(worker, PARTNER)
    server.start()
    table = Storage(server.url("postgres"), tmp_path)
    assert table.is_shared
    wait_until(lambda: not worker._noted, "what waited", timeout=40)  # type: ignore[attr-defined]
    worker.close()
