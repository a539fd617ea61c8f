"""Results of checks and drills behave alike on both engines, and drills of several nodes are one chain."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from gatepost.analysis.checks.evidence import drill_documents, keep, last, previous
from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.store.storage import Storage

DRILL = {"organization": "contoso", "connector": "Partner B/ü", "verdict": "drill passed", "attacks": 14}


def test_the_last_result_of_a_check_is_kept(storage: Storage) -> None:
    records = CheckRecords(storage, VALIDATIONS, "contoso")
    assert records.last("outbound", "Bank") is None
    records.keep("outbound", "Bank", {"at": 1, "verdict": "naïve"})
    records.keep("outbound", "bank", {"at": 2})
    assert CheckRecords(storage, VALIDATIONS, "contoso").last("outbound", "BANK") == {"at": 2}
    assert CheckRecords(storage, VALIDATIONS, "fabrikam").last("outbound", "bank") is None
    assert abs(records.times()("outbound", "bank") - time.time()) < 60
    assert records.times()("inbound", "bank") == 0.0


def test_results_are_removed_with_connectors_and_the_oldest_for_room(storage: Storage) -> None:
    records = CheckRecords(storage, VALIDATIONS, "contoso")
    for name in ("bank", "old", "new"):
        records.keep("outbound", name, {"verdict": "x" * 1000})
    assert storage.document_folders(VALIDATIONS) == ["contoso"]
    assert storage.document_folders("evidence") == []
    records.keep_only([("outbound", "new"), ("outbound", "bank")])
    assert sorted(records.documents.names()) == ["outbound-bank.json", "outbound-new.json"]
    records.documents.make_room(1500)
    assert list(records.documents.names()) == ["outbound-new.json"]


def test_drills_at_the_same_time_are_one_chain(storage: Storage) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: keep(drill_documents(storage), DRILL | {"attacks": number}), range(9)))
    documents = drill_documents(storage)
    newest = last(documents, "contoso", "Partner B/ü")
    assert newest is not None
    assert (newest.record["number"], newest.fault, previous(documents, newest)) == (9, "", "")
    assert last(documents, "contoso", "nobody") is None


def test_a_drill_that_was_changed_is_found_out(storage: Storage) -> None:
    documents = drill_documents(storage)
    first = keep(documents, DRILL)
    second = keep(documents, DRILL)
    content = documents.read(first.path.name, 1 << 20)
    assert content is not None
    documents.replace(first.path.name, content.replace(b"14", b"15"))
    assert "it was changed: its SHA-256" in previous(documents, second)
