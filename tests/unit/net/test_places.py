from __future__ import annotations

import asyncio

import pytest

from gatepost.net.places import FairLine, FairPlaces, FairShares
from gatepost.net.tasks import spawn


def fill(shares, *users):
    """Places are taken by turns, as long as any of these users may have one more; returns how many each has then."""
    held = dict.fromkeys(users, 0)
    while waiting := [user for user in users if user not in shares]:
        for user in waiting:
            if user not in shares:
                shares.begin(user)
                held[user] += 1
    return list(held.values())


@pytest.mark.parametrize(("total", "most"), [(1000, 750), (100, 75), (8, 6), (4, 3), (3, 2), (2, 1), (1, 1)])
def test_a_user_alone_leaves_a_quarter(total, most):
    shares = FairShares(total)
    assert fill(shares, "a") == [most]
    assert shares.free == total - most


@pytest.mark.parametrize("users", [2, 5, 20, 100])
def test_however_many_want_all_the_next_one_gets_some(users):
    shares = FairShares(1000)
    held = fill(shares, *range(users))
    assert max(held) - min(held) <= 1
    assert shares.free >= 1000 // (3 * users + 1)
    assert "another" not in shares


def test_who_came_first_gives_way_as_its_places_are_given_back():
    shares = FairShares(100)
    assert fill(shares, "a") == [75]
    assert fill(shares, "b") == [18]
    assert "a" in shares
    shares.end("a")
    assert "a" in shares
    for _ in range(32):
        shares.end("a")
        fill(shares, "b")
    assert shares._held == {"a": 42, "b": 43}
    assert "c" not in shares


def test_one_user_may_have_all_where_nothing_is_divided():
    shares = FairShares(3, divided=False)
    assert fill(shares, "a") == [3]
    shares.divided = True
    assert "a" in shares
    for _ in range(3):
        shares.end("a")
    assert shares.free == 3
    assert not shares._held


def test_users_take_turns_in_the_line():
    full = {"c"}
    line = FairLine(full)
    for user, item in (("a", 1), ("a", 2), ("b", 3), ("c", 4)):
        line.stand(user, item)
    assert [line.next() for _ in range(4)] == [("a", 1), ("b", 3), ("a", 2), None]
    assert (bool(line), len(line)) == (False, 1)
    full.clear()
    assert (bool(line), line.next(), line.next()) == (True, ("c", 4), None)


async def hold(places, organization, begun):
    async with places.place(organization):
        begun.append(organization)
        await asyncio.Event().wait()


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_two_organizations_hold_up_no_third_and_nobodys_work():
    async def main():
        places, begun = FairPlaces(16), []
        first = [spawn(hold(places, "a", begun), "a") for _ in range(40)]
        await asyncio.sleep(0)
        second = [spawn(hold(places, "b", begun), "b") for _ in range(40)]
        await asyncio.sleep(0)
        assert (begun.count("a"), begun.count("b"), places.free) == (12, 3, 1)
        for organization in ("c", ""):
            async with asyncio.timeout(5), places.place(organization):
                assert places.free == 0
        await end(first)
        assert begun.count("b") == 12
        await end(second)
        assert places.free == 16
        assert not len(places._line)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_place_that_is_given_back_costs_as_little_however_many_wait(monkeypatch):
    """Each message of a gateway of one organization stands in the line of its scanner by itself."""
    asked, contains = [], FairShares.__contains__
    monkeypatch.setattr(
        FairShares, "__contains__", lambda shares, user: bool(asked.append(user)) or contains(shares, user)
    )

    async def main():
        places = FairPlaces(2)

        async def work():
            async with places.place():
                await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(200)))
        assert places.free == 2

    asyncio.run(asyncio.wait_for(main(), 30))
    assert len(asked) <= 600


def test_who_gives_up_leaves_the_place_to_others():
    async def main():
        places, begun = FairPlaces(1), []
        running, waiting, other = (spawn(hold(places, name, begun), name) for name in ("a", "b", "c"))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)  # it gives its place to the next
        waiting.cancel()  # which has it, and does not want it any more
        await asyncio.sleep(0.01)
        assert begun == ["a", "c"]
        await end([running, waiting, other])
        assert places.free == 1

    asyncio.run(asyncio.wait_for(main(), 30))
