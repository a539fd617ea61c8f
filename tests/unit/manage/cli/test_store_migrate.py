"""What is refused before a server is reached, and closed stores. Moves: tests/system/test_store_migrate.py."""

from __future__ import annotations

import pytest

from gatepost.store.move_mark import MoveMark, MoveState, write_file_mark

NOBODY = "postgresql://gatepost@127.0.0.1:1/gatepost"


def migrate(home, source, target, status):
    return home.call("store", "migrate", "--from", source, "--to", target, code=status).stderr


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("sqlite:", "sqlite:/elsewhere", "both stores are SQLite: to copy a data directory, use gatepost store backup"),
        (NOBODY, NOBODY, "both stores are PostgreSQL: use its own tools"),
        ("sqlite:here", NOBODY, 'the store to move from, sqlite:here: write "sqlite:" for data_dir, or "sqlite:/PATH"'),
        ("sqlite:", "mysql://x", "the store to move to: 'mysql' is not a store"),
        ("sqlite:", "postgresql://a:secret@127.0.0.1/b", "the store to move to: has a password in it"),
    ],
)
def test_addresses_that_are_refused(home, source, target, why):
    said = migrate(home, source, target, 2)
    assert why in said
    assert said.endswith("Nothing was changed\n")
    assert "secret" not in said


def test_a_server_that_is_away(home):
    home.fill()
    assert "cannot be reached" in migrate(home, "sqlite:", NOBODY, 3)


def test_a_closed_store_says_what_reopening_means(home):
    home.fill()
    assert "is not closed; there is nothing to do" in home.call("store", "reopen", "--yes").stderr
    write_file_mark(home.data, MoveMark("word", MoveState.LEFT, "PostgreSQL at db1", 1.0))
    assert "was moved to PostgreSQL at db1" in home.call("queue", "list", code=3).stderr
    said = home.call("store", "reopen").stderr
    assert "delivered twice: what waited then" in said
    assert said.endswith("nothing was changed; to reopen it, add --yes\n")
    assert "reopened: the gateway may use it" in home.call("store", "reopen", "--yes").stderr
    assert len(home.json("queue", "list")) == 4


def test_reopening_for_programs(home):
    home.fill()
    store = f"sqlite:{home.data}"
    assert home.json("store", "reopen", "--yes") == {"store": store, "closed": None, "reopened": False}
    write_file_mark(home.data, MoveMark("word", MoveState.LEFT, "PostgreSQL at db1", 1.0))
    closed = {"state": "left", "other": "PostgreSQL at db1", "at": 1.0}
    assert home.json("store", "reopen") == {"store": store, "closed": closed, "reopened": False}
    assert home.json("store", "reopen", "--yes") == {"store": store, "closed": closed, "reopened": True}


def test_an_unfinished_move_is_given_up_and_a_copy_is_not_opened(home):
    home.data.mkdir()
    write_file_mark(home.data, MoveMark("word", MoveState.LEAVING, "PostgreSQL at db1", 1.0))
    assert "the incomplete copy stays closed" in home.call("store", "reopen", "--yes").stderr
    write_file_mark(home.data, MoveMark("word", MoveState.ARRIVING, "PostgreSQL at db1", 1.0))
    assert "incomplete copy of PostgreSQL at db1" in home.call("store", "reopen", "--yes", code=1).stderr
