from __future__ import annotations

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import QUEUE_MARK, StoreSettings, make_queue_tables, open_database
from gatepost.store.sqlite.versions import check_not_newer


def test_the_header_tells_a_newer_file_without_opening_it(tmp_path):
    path = tmp_path / "q.db"
    check_not_newer(path, QUEUE_MARK, 3)  # none is there
    path.write_bytes(b"")
    check_not_newer(path, QUEUE_MARK, 3)  # it is being made
    connection = open_database(path, StoreSettings())
    make_queue_tables(connection, path)
    connection.close()
    check_not_newer(path, QUEUE_MARK, 3)
    check_not_newer(path, QUEUE_MARK + 1, 2)  # of another program
    before = path.read_bytes()
    with pytest.raises(StoreFailure, match="has tables of version 3, and this version of gatepost knows 2"):
        check_not_newer(path, QUEUE_MARK, 2)
    assert [one.name for one in tmp_path.iterdir()] == ["q.db"]
    assert path.read_bytes() == before
