from __future__ import annotations

import threading

import pytest

from gatepost.manage.access import login_rate_limiter as module
from gatepost.manage.access.login_rate_limiter import LoginRateLimiter
from gatepost.manage.access.records import LogInRefused
from gatepost.policy.logins.passwords import argon2_hash
from gatepost.store.failures import ProcessFailures
from gatepost.store.interface import StoreFailure

WORD = "correct horse battery"


@pytest.fixture
def keeper(clock):
    return LoginRateLimiter(ProcessFailures(clock))


def failures(keeper, name, address, times, usual=""):
    for _ in range(times):
        keeper.admit(name, address, usual=usual)


def wait(keeper, name, address, usual=""):
    with pytest.raises(LogInRefused) as caught:
        keeper.admit(name, address, usual=usual)
    return caught.value.wait


def test_one_address_has_to_wait_whatever_name_it_tries(keeper, clock):
    failures(keeper, "ann", "192.0.2.1", 6)
    assert wait(keeper, "bob", "192.0.2.1") == 10
    keeper.admit("bob", "192.0.2.2", usual="")
    clock.now += 10
    keeper.admit("bob", "192.0.2.1", usual="")
    assert wait(keeper, "bob", "192.0.2.1") == 20


def test_one_site_is_one_source(keeper):
    for at in range(6):
        keeper.admit("ann", f"2001:db8::{at}", usual="")
    assert wait(keeper, "ann", "2001:db8::ffff") == 10
    keeper.admit("ann", "2001:db8:0:1::1", usual="")


def test_one_name_has_to_wait_wherever_it_is_tried_but_not_where_it_logs_in_usually(keeper):
    for at in range(21):
        keeper.admit("ann", f"192.0.2.{at}", usual="203.0.113.1")
    assert wait(keeper, "Ann", "192.0.2.99", "203.0.113.1") == 10
    assert keeper.admit("ann", "203.0.113.1", usual="203.0.113.1").name == ""


def test_who_was_right_is_forgiven(keeper):
    failures(keeper, "ann", "192.0.2.1", 4)
    keeper.forgive(keeper.admit("ann", "192.0.2.1", usual=""))
    failures(keeper, "ann", "192.0.2.1", 2)
    assert wait(keeper, "ann", "192.0.2.1") == 10


def test_passwords(keeper):
    stored = keeper.hashed(WORD)
    assert keeper.fits(WORD, stored)
    assert not keeper.fits(WORD[:-1], stored)
    assert not keeper.fits(WORD, None)
    assert not keeper.fits("bell\a", stored)
    assert not keeper.fits(WORD + "x" * 5000, stored)


@pytest.mark.parametrize("given", ["x" * 5000, "bell\a", WORD])
def test_there_is_work_for_every_password_of_every_name(keeper, monkeypatch, given):
    tried = []
    monkeypatch.setattr(module, "verify", lambda password, argon2: tried.append((password, argon2)))
    keeper.fits(given, None)
    assert [argon2 for _, argon2 in tried] == [module.NOBODYS_HASH]
    assert len(tried[0][0]) < 2000


def test_few_at_a_time_and_every_wait_ends(keeper, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_):
        begun.release()
        assert go_on.wait(30)
        return True

    monkeypatch.setattr(module, "verify", slow)
    threads = [threading.Thread(target=keeper.fits, args=(WORD, "x")) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        for _ in threads:
            assert begun.acquire(timeout=30)
        with pytest.raises(LogInRefused):
            keeper.fits(WORD, "x")
        with pytest.raises(StoreFailure, match="try again"):
            keeper.hashed(WORD)
    finally:
        go_on.set()
        for one in threads:
            one.join()
    assert keeper.fits(WORD, argon2_hash(WORD, bytes(16)))
