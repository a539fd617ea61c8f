"""Secrets for session tickets, on SQLite; in PostgreSQL see tests/system/test_store_secrets.py."""

from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage
from gatepost.store.ticket_secrets import TICKETS, NodeTicketSecrets, SiteTicketSecrets


class Sealing:
    """Shows that what is stored is sealed, and for where."""

    def seal(self, secret, place):
        return place.encode() + b":" + secret[::-1]

    def open(self, sealed, place):
        assert sealed.startswith(place.encode() + b":")
        return sealed.removeprefix(place.encode() + b":")[::-1]


@pytest.fixture
def opened(tmp_path):
    storage = Storage(SQLITE, tmp_path)
    return lambda: storage.database(TICKETS)


def test_one_node_has_others_each_time():
    found = {NodeTicketSecrets().secret(20000) for _ in range(10)}
    assert len(found) == 10
    assert {len(one) for one in found} == {32}


def test_nodes_have_the_same_secret_for_a_day(opened):
    one, other = (SiteTicketSecrets(opened, Sealing()) for _ in range(2))
    days = [one.secret(day) for day in (20000, 20001)]
    assert [other.secret(day) for day in (20000, 20001)] == days
    assert len(set(days)) == 2
    assert {len(secret) for secret in days} == {32}


def test_what_is_stored_is_sealed(opened):
    secret = SiteTicketSecrets(opened, Sealing()).secret(20000)
    with closing(opened()) as database, database.reading() as connection:
        assert connection.value("SELECT sealed FROM ticket_secret") == b"tls/tickets/20000:" + secret[::-1]


def test_what_no_ticket_can_have_any_more_is_removed(opened):
    secrets = SiteTicketSecrets(opened, Sealing())
    for day in (20000, 20001):
        secrets.secret(day)
    with closing(opened()) as database, database.single() as connection:
        connection.execute("UPDATE ticket_secret SET made = made - 3 * 86400 - 1 WHERE day = 20000")
        connection.execute("UPDATE ticket_secret SET made = made - 3 * 86400 + 60 WHERE day = 20001")
    secrets.secret(20002)
    with closing(opened()) as database, database.reading() as connection:
        assert connection.rows("SELECT day FROM ticket_secret ORDER BY day") == [(20001,), (20002,)]
