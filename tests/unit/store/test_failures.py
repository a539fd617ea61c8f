from __future__ import annotations

import threading

from gatepost.store.failures import ProcessFailures, login_throttles


def test_lists_are_apart_and_stay():
    counts = ProcessFailures(lambda: 7.5)
    with counts.counting() as lists:
        assert lists.clock() == 7.5
        lists.of("name")["ann"] = (2, 7.5)
        assert dict(lists.of("address")) == {}
    with counts.counting() as lists:
        assert dict(lists.of("name")) == {"ann": (2, 7.5)}


def test_one_use_at_a_time():
    counts = ProcessFailures(lambda: 0.0)

    def count():
        for _ in range(200):
            with counts.counting() as lists:
                failures = lists.of("name")
                number, _ = failures.get("ann", (0, 0.0))
                failures["ann"] = number + 1, 0.0

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with counts.counting() as lists:
        assert lists.of("name")["ann"][0] == 800


def test_an_address_waits_longer_than_a_name():
    counts = ProcessFailures(lambda: 0.0)
    with counts.counting() as lists:
        for free, throttle in zip((3, 20), login_throttles(lists, free=3), strict=True):
            for _ in range(free):
                assert throttle.wait("ann") == 0
                throttle.charge("ann")
            for _ in range(40):
                throttle.charge("ann")
        addresses, names = login_throttles(lists)
        assert 60 < addresses.wait("ann") <= 900
        assert 0 < names.wait("ann") <= 60
