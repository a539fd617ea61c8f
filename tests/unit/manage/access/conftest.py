"""Accounts on a file of their own, with clocks that a test sets."""

from __future__ import annotations

import pytest
from support.clock import Clock

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import Actor
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

WORD = "correct horse battery"
HERE = "192.0.2.1"


class Place:
    """One access.db: `accounts` is the process that serves, `another()` one more."""

    word = WORD
    here = HERE
    root = Actor("root")

    def __init__(self, path):
        self.path = path / "data" / "access.db"
        self.clock = Clock(1_795_528_800.0)
        self.ticks = Clock(1000.0)
        self._open = []
        self.accounts = self.another()

    def another(self):
        self._open.append(Accounts(Storage(SQLITE, self.path.parent), clock=self.clock, ticks=self.ticks))
        return self._open[-1]

    def close(self):
        for one in self._open:
            one.close()

    def user(self, name="ann", role=Role.OWNER, organizations=None):
        return self.accounts.add_user(name, role, WORD, actor=self.root, organizations=organizations)

    def log_in(self, name="ann", password=WORD, address=HERE):
        return self.accounts.log_in(name, password, address, "Firefox")

    def ask(self, question, *values):
        with self.accounts._database.reading() as connection:
            return connection.rows(question, values)


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.close()


@pytest.fixture
def rows(place):
    """The tables of one access.db, in a transaction."""
    with place.accounts._database.changing() as connection:
        yield connection
