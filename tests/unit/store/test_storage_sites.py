"""What `Storage` gives of counts, histories, documents, nodes and leases: by engine, and opened at the first use."""

from __future__ import annotations

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.destinations import DestinationFile, DestinationStore
from gatepost.store.documents import DocumentFiles, DocumentTable
from gatepost.store.leases import FixedLeases, SharedLeases
from gatepost.store.shared_destinations import SharedDestinations, SharedTable
from gatepost.store.storage import Storage
from gatepost.store.ticket_secrets import NodeTicketSecrets, SiteTicketSecrets

NOBODY = "postgresql://nobody@127.0.0.1:1/none"


class NoSealing:
    """A vault that nobody asks."""

    def seal(self, secret, place):
        raise AssertionError(place)

    def open(self, sealed, place):
        raise AssertionError(place)


def test_with_sqlite_all_are_files_of_the_data_directory(tmp_path):
    storage = Storage(SQLITE, tmp_path)
    assert isinstance(storage.documents("a", "b"), DocumentFiles)
    assert isinstance(storage.leases("mx1", 0), FixedLeases)
    assert (storage.leases("mx1", 0).may_hold, storage.leases("mx1", 1).may_hold) == (True, False)
    assert isinstance(storage.ticket_secrets(NoSealing()), NodeTicketSecrets)
    assert list(tmp_path.iterdir()) == []
    assert storage.nodes().nodes() == []
    assert storage.sent_reports().read("2026-01-01") == []
    assert list(storage.received_reports().read(0, 1)) == storage.session_counts().days() == []
    with_file = storage.destinations()
    assert isinstance(with_file, DestinationFile)
    with_file.close()
    worker = storage.worker_destinations()
    assert isinstance(worker, DestinationStore)
    worker.close()
    storage.disconnect()
    names = {path.name for path in tmp_path.iterdir() if path.suffix == ".db"}
    assert names == {"nodes.db", "sent-reports.db", "received-reports.db", "session-counts.db", "destinations.db"}


def test_with_a_server_nothing_is_asked_before_it_is_used(tmp_path):
    pytest.importorskip("asyncpg")
    storage = Storage(NOBODY, tmp_path)
    assert isinstance(storage.documents("a", "b"), DocumentTable)
    assert isinstance(storage.leases("mx1", 1), SharedLeases)
    assert isinstance(storage.ticket_secrets(NoSealing()), SiteTicketSecrets)
    assert isinstance(storage.ticket_secrets(None), NodeTicketSecrets), "what cannot be sealed is not stored"
    assert isinstance(storage.destinations(), SharedTable)
    worker = storage.worker_destinations()
    assert isinstance(worker, SharedDestinations)
    worker.close()
    storage.disconnect()
    assert list(tmp_path.iterdir()) == []
