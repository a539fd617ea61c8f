"""Leases, on SQLite; the same in PostgreSQL, with real processes, is in tests/system/test_leases.py."""

from __future__ import annotations

import time

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreBusy
from gatepost.store.leases import (
    LEASE_SECONDS,
    RENEWAL_SECONDS,
    FixedLeases,
    SharedLeases,
    SiteDuty,
    boot_time,
    duty_label,
    lease_holders,
    node_duty,
)
from gatepost.store.site_tables import SITE
from gatepost.store.storage import Storage


@pytest.fixture
def database(tmp_path):
    made = Storage(SQLITE, tmp_path).database(SITE)
    yield made
    made.close()


@pytest.fixture
def leases(database, clock):
    return lambda node, **more: SharedLeases(lambda: database, node, 0, clock=clock, **more)


def expire(database):
    with database.single() as connection:
        connection.execute("UPDATE lease SET expires = 1")


def test_one_holds_it_until_it_expires_and_then_another(leases, database, clock):
    first, second = leases("a"), leases("b")
    ours, theirs = first.lease(SiteDuty.ACME), second.lease(SiteDuty.ACME)
    assert not ours.held
    assert 0 < first.round() <= RENEWAL_SECONDS
    second.round()
    assert (ours.held, theirs.held, ours.epoch) == (True, False, 1)
    first.round()
    assert ours.epoch == 1
    expire(database)
    second.round()
    assert (theirs.held, theirs.epoch) == (True, 2)
    first.round()
    assert not ours.held


def test_a_holder_that_cannot_renew_stops_before_another_may_begin(leases, clock):
    first = leases("a")
    lease = first.lease("acme")
    first.round()
    clock.now += LEASE_SECONDS - 5
    assert lease.held
    clock.now += 2
    assert not lease.held


def test_who_waits_asks_again_when_it_expires(leases, database):
    first, second = leases("a"), leases("b")
    first.lease("acme")
    second.lease("acme")
    first.round()
    with database.single() as connection:
        connection.execute(f"UPDATE lease SET expires = {connection.clock} + 2.5")  # noqa: S608 - ours
    assert 0.5 < second.round() <= 2.5 < RENEWAL_SECONDS


def test_a_lease_of_a_clock_that_was_set_back_is_not_kept_until_then(leases, database, clock):
    """After a failover to a server whose clock is behind: its holder renews, or died with the server."""
    first, second = leases("a"), leases("b")
    ours, theirs = first.lease("acme"), second.lease("acme")
    first.round()
    with database.single() as connection:
        connection.execute("UPDATE lease SET expires = expires + 3600")
        assert lease_holders(connection) == []
    second.round()
    assert (theirs.held, theirs.epoch) == (True, 2)
    first.round()
    assert not ours.held


def test_what_is_given_back_is_taken_at_once(leases, database):
    first, second = leases("a"), leases("b")
    ours, theirs = first.lease("acme"), second.lease("acme")
    first.round()
    first.pause()
    assert not ours.held
    assert first.round() == RENEWAL_SECONDS
    second.round()
    assert theirs.held
    with database.reading() as connection:
        assert lease_holders(connection) == [("acme", "b")]
    second.close()
    first.resume()
    first.round()
    assert ours.held


def test_the_thread_renews(database):
    leases = SharedLeases(lambda: database, "a", 0)
    lease = leases.lease("acme")
    leases.start()
    deadline = time.monotonic() + 10
    while not lease.held:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    leases.close()
    assert not lease.held


def test_while_the_database_is_away_nothing_is_taken_and_it_is_told_once(caplog):
    def away():
        raise StoreBusy("the server is away")

    leases = SharedLeases(away, "a", 0)
    lease = leases.lease("acme")
    assert leases.round() == leases.round() == 1.0
    leases.close()
    assert not lease.held
    assert caplog.text.count("the server is away") == 1


def test_what_cannot_be_given_back_expires(leases, database, caplog):
    caplog.set_level("INFO")
    first = leases("a")
    lease = first.lease("acme")
    first.round()
    with database.single() as connection:
        connection.execute("DROP TABLE lease")
    first.pause()
    assert not lease.held
    assert "expire in 15 s" in caplog.text


def test_without_duties_nobody_asks(leases, database):
    assert leases("a").round() == RENEWAL_SECONDS
    with database.reading() as connection:
        assert lease_holders(connection) == []


def test_with_one_node_duties_are_one_workers():
    for held in (True, False):
        leases = FixedLeases(held=held)
        lease = leases.lease(SiteDuty.ACME)
        assert leases.round() == RENEWAL_SECONDS
        leases.start()
        leases.pause()
        leases.resume()
        assert lease.held is leases.may_hold is held
        assert lease.is_lasting
        leases.close()


def test_the_clock_goes_on_and_a_node_has_a_lease_of_its_own():
    before = boot_time()
    assert boot_time() >= before > 0
    assert node_duty("a") == "node a"


def test_each_duty_has_a_label_in_words():
    labels = {duty: duty_label(duty) for duty in SiteDuty}
    assert labels[SiteDuty.REPORT_IMPORT] == "imports TLS reports"
    assert all(" " in label for label in labels.values())
    assert len(set(labels.values())) == len(SiteDuty)
    assert duty_label(node_duty("mx1")) == "", "it is for the node itself"
    assert duty_label("of-a-newer-version") == "of-a-newer-version"
