from __future__ import annotations

from threading import Thread

from gatepost.manage.use_cases.context import KeptInstances


def test_there_is_one_of_each_kind_made_of_the_settings():
    made = []

    class Cache:
        def __init__(self, settings):
            made.append(settings)

    kept = KeptInstances("settings")
    threads = [Thread(target=kept.of, args=(Cache,)) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert kept.of(Cache) is kept.of(Cache)
    assert made == ["settings"]


def test_what_is_made_may_need_what_else_is_kept():
    kept = KeptInstances("settings")

    def inner(_):
        return "inner"

    assert kept.of(lambda _: kept.of(inner)) == "inner"
