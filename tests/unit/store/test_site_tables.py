from __future__ import annotations

from gatepost.settings.store_url import SQLITE
from gatepost.store.site_tables import SITE, STATEMENT_SECONDS
from gatepost.store.storage import Storage


def test_they_are_made_empty(tmp_path):
    with Storage(SQLITE, tmp_path).database(SITE).reading() as connection:
        for table in ("node", "node_worker", "lease"):
            assert connection.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - ours
    assert (tmp_path / "nodes.db").exists()
    assert 0 < STATEMENT_SECONDS < 5  # less than the margin of a lease
