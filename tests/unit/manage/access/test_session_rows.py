from __future__ import annotations

import pytest

from gatepost.manage.access import secret, session_rows, user_rows
from gatepost.manage.access.principal import Role

MINUTE = 60.0
HOUR = 3600.0


@pytest.fixture
def rows(place):
    place.user("ann")
    place.user("bob", Role.AUDITOR)
    with place.accounts._database.changing() as connection:
        yield connection


def start(rows, name="ann", at=0.0):
    return session_rows.start(rows, user_rows.get(rows, name), at, "192.0.2.1", "Firefox", at)


def test_a_session(rows):
    given = start(rows, at=7.0)
    found = session_rows.find(rows, given)
    assert found.user == user_rows.get(rows, "ann")
    assert (found.created, found.last_seen, found.address, found.agent) == (7.0, 7.0, "192.0.2.1", "Firefox")
    assert found.csrf == secret.csrf_of(given)
    assert start(rows) != given
    for wrong in ("", given[:-1], secret.fresh(), "é" * 43):
        assert session_rows.find(rows, wrong) is None


def test_the_secret_is_not_kept(rows):
    given = start(rows)
    kept = rows.rows("SELECT * FROM session")
    assert given not in repr(kept)
    assert secret.hash_of(given) in kept[0]


@pytest.mark.parametrize(
    ("seen", "now", "is_over"),
    [
        (0, 30 * MINUTE - 1, False),
        (0, 30 * MINUTE, True),
        (12 * HOUR - 5, 12 * HOUR - 1, False),
        (12 * HOUR - 5, 12 * HOUR, True),
        (0, -59, False),
        (0, -61, True),  # the clock was put back
        (11 * HOUR, 1 * HOUR, True),
    ],
)
def test_how_long_it_goes_on(rows, seen, now, is_over):
    given = start(rows)
    session_rows.touch(rows, session_rows.find(rows, given), seen)
    found = session_rows.find(rows, given)
    assert session_rows.is_over(found, now) is is_over
    assert session_rows.ends_at(found) == min(12 * HOUR, seen + 30 * MINUTE)
    assert len(session_rows.of_user(rows, "ann", now)) == (0 if is_over else 1)
    assert session_rows.prune(rows, now) == int(is_over)
    assert (session_rows.find(rows, given) is None) is is_over


def test_it_is_touched_once_a_minute(rows):
    found = session_rows.find(rows, start(rows))
    assert [session_rows.is_due(found, at) for at in (0, 59, 60, 100)] == [False, False, True, True]


@pytest.mark.parametrize(
    "change",
    [
        user_rows.UserChange(Role.OPERATOR, user_rows.Keep.KEEP, None, None),
        user_rows.UserChange(None, ["contoso"], None, None),
        user_rows.UserChange(None, user_rows.Keep.KEEP, False, None),
        user_rows.UserChange(None, user_rows.Keep.KEEP, None, "$new"),
    ],
)
def test_a_session_of_a_user_that_changed_is_none(rows, change):
    given = start(rows, "bob")
    user_rows.update(rows, user_rows.get(rows, "bob"), change)
    assert session_rows.find(rows, given) is None
    assert session_rows.of_user(rows, "bob", 1.0) == []


def test_ending(rows):
    first, second, _, bobs = start(rows), start(rows), start(rows), start(rows, "bob")
    assert session_rows.end(rows, first) == "ann"
    assert session_rows.end(rows, first) == session_rows.end(rows, "") == ""
    number = session_rows.find(rows, second).id
    assert not session_rows.end_one(rows, "bob", number)
    assert not session_rows.end_one(rows, "ann", 2**64)
    assert session_rows.end_one(rows, "ann", number)
    start(rows)
    assert session_rows.end_all(rows, "ann") == 2
    assert session_rows.end_all(rows, "ann") == 0
    assert session_rows.find(rows, bobs)


def test_of_too_many_the_oldest_end(rows):
    others = start(rows, "bob")
    given = [start(rows) for _ in range(22)]
    assert [bool(session_rows.find(rows, one)) for one in given] == [False] * 2 + [True] * 20
    assert session_rows.find(rows, others)


def test_what_browsers_say_is_bounded(rows):
    given = session_rows.start(rows, user_rows.get(rows, "ann"), 0.0, "x" * 5000, "\ud800" * 5000, 0.0)
    found = session_rows.find(rows, given)
    assert (len(found.address), found.agent) == (64, "?" * 256)
