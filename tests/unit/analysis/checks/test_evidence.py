"""Evidence is kept once, whole, readable by its owner only, and what is changed later is found out."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatepost.analysis.checks.evidence import (
    canonical,
    drill_documents,
    drills_in_copy,
    every,
    keep,
    last,
    previous,
    sha256,
)
from gatepost.settings.store_url import SQLITE
from gatepost.store.documents import DocumentFiles
from gatepost.store.storage import Storage

RECORD = {"organization": "contoso", "connector": "Partner B/ü", "verdict": "drill passed", "attacks": 14}
AT = 1_795_528_800.0  # 2026-11-24T14:00:00Z


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_is_found_again(tmp_path):
    directory = tmp_path / "data" / "evidence" / "drills"
    documents = drill_documents(Storage(SQLITE, tmp_path / "data"))
    kept = keep(documents, RECORD, clock=lambda: AT)
    assert kept.path.parent == tmp_path / "data" / "evidence" / "drills"
    assert kept.path.name.startswith("000001-20261124T140000Z-contoso-partner-b-")
    assert (mode(kept.path), mode(directory), mode(directory.parent)) == (0o600, 0o700, 0o700)
    found = last(documents, "contoso", "PARTNER B/Ü")
    assert found == kept
    assert (found.fault, found.record, found.sha256) == (
        "",
        RECORD | {"number": 1, "previous": ""},
        sha256(found.record),
    )
    assert previous(documents, found) == ""
    assert list(directory.iterdir()) == [kept.path]


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    keep(DocumentFiles(tmp_path), RECORD, clock=lambda: AT)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("gatepost.analysis.checks.evidence.last", lambda *_: None)  # as if it had not been seen
    with pytest.raises(FileExistsError):
        keep(DocumentFiles(tmp_path), RECORD | {"attacks": 0}, clock=lambda: AT)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_writer_left_that_died_does_not_matter(tmp_path):
    kept = keep(DocumentFiles(tmp_path), RECORD, clock=lambda: AT)
    (tmp_path / f".{kept.path.name.replace('000001', '000002')}.new").write_text("half")
    second = keep(DocumentFiles(tmp_path), RECORD, clock=lambda: AT)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [kept.path.name, second.path.name]


def test_a_clock_that_goes_back_leaves_the_order(tmp_path):
    first = keep(DocumentFiles(tmp_path), RECORD, clock=lambda: AT)
    second = keep(DocumentFiles(tmp_path), RECORD, clock=lambda: AT - 86400)
    assert last(DocumentFiles(tmp_path), "contoso", "Partner B/ü") == second
    assert second.record["previous"] == first.sha256
    assert previous(DocumentFiles(tmp_path), second) == ""


def test_each_connector_has_its_own(tmp_path):
    keep(DocumentFiles(tmp_path), RECORD)
    other = keep(DocumentFiles(tmp_path), RECORD | {"connector": "partner b u"})
    keep(DocumentFiles(tmp_path), RECORD | {"organization": "fabrikam"})
    assert last(DocumentFiles(tmp_path), "contoso", "Partner B/ü").record["connector"] == "Partner B/ü"
    assert last(DocumentFiles(tmp_path), "contoso", "partner b u") == other
    assert other.record["previous"] == ""
    assert last(DocumentFiles(tmp_path), "contoso", "nobody") is None
    assert last(DocumentFiles(tmp_path / "nowhere"), "contoso", "nobody") is None


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


TAMPERED = [
    (lambda path: edit(path, "drill passed", "drill pAssed"), "it was changed: its SHA-256 is "),
    (lambda path: edit(path, '"attacks": 14', '"attacks": 15'), "it was changed"),
    (lambda path: edit(path, "previous", "Previous"), "it was changed"),
    (lambda path: edit(path, "contoso", "fabrikam"), "it was changed"),
    (lambda path: path.write_text("{}"), "it is no longer evidence: its content"),
    (lambda path: path.write_text("[1]"), "it is no longer evidence: its content"),
    (lambda path: path.write_text("not JSON"), "it is no longer evidence: its content"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "it is no longer evidence: its content"),
    (lambda path: path.write_text("[" * 100_000), "it is no longer evidence: its content"),
    (lambda path: path.write_bytes(b" " * (8 << 20) + b"{}"), "it is larger than "),
]


@pytest.mark.parametrize(("change", "fault"), TAMPERED)
def test_a_change_is_found_out(tmp_path, change, fault):
    kept = keep(DocumentFiles(tmp_path), RECORD)
    change(kept.path)
    assert last(DocumentFiles(tmp_path), "contoso", "Partner B/ü").fault.startswith(fault)


def test_another_connectors_evidence_under_this_name_is_found_out(tmp_path):
    kept = keep(DocumentFiles(tmp_path), RECORD)
    other = keep(DocumentFiles(tmp_path), RECORD | {"connector": "other"})
    kept.path.write_bytes(other.path.read_bytes())
    assert (
        last(DocumentFiles(tmp_path), "contoso", "Partner B/ü").fault
        == "it is about another connector, 'other' of contoso"
    )


def four(directory):
    return [keep(DocumentFiles(directory), RECORD | {"attacks": number}) for number in range(4)]


def test_each_names_the_one_before_it(tmp_path):
    kept = four(tmp_path)
    assert [one.record["previous"] for one in kept] == ["", *(one.sha256 for one in kept[:3])]
    assert previous(DocumentFiles(tmp_path), kept[3]) == ""


def test_one_that_was_changed_with_its_hash_is_found_out_by_the_next(tmp_path):
    kept = four(tmp_path)
    record = kept[1].record | {"attacks": 99}
    kept[1].path.write_text(json.dumps({"sha256": sha256(record), "record": record}))
    assert kept[1].path.name in previous(DocumentFiles(tmp_path), kept[3])


def test_one_that_is_missing_in_between_is_found_out_and_the_oldest_may_go(tmp_path):
    kept = four(tmp_path)
    kept[0].path.unlink()
    assert previous(DocumentFiles(tmp_path), kept[3]) == ""
    kept[2].path.unlink()
    assert previous(DocumentFiles(tmp_path), kept[3]).endswith("is missing, or one of the two was replaced")


def test_one_that_was_damaged_before_is_told(tmp_path):
    kept = four(tmp_path)
    kept[1].path.write_text("")
    assert previous(DocumentFiles(tmp_path), kept[3]).startswith(f"{kept[1].path.name}: it is no longer evidence")


def test_drills_at_the_same_time_keep_one_chain(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: keep(DocumentFiles(tmp_path), RECORD | {"attacks": number}), range(20)))
    newest = last(DocumentFiles(tmp_path), "contoso", "Partner B/ü")
    assert (newest.record["number"], newest.fault, previous(DocumentFiles(tmp_path), newest)) == (20, "", "")


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        last(DocumentFiles(tmp_path / "file"), "contoso", "x")


def test_the_form_that_is_hashed_does_not_depend_on_order_or_space():
    one = {"b": [1, True, None], "a": {"d": "ü", "c": ""}}
    other = {"a": {"c": "", "d": "ü"}, "b": [1, True, None]}
    assert canonical(one) == canonical(other) == '{"a":{"c":"","d":"ü"},"b":[1,true,null]}'.encode()
    assert sha256(one) == sha256(other) != sha256(one | {"b": [1, True, ""]})


def test_every_drill_is_checked_by_its_own_name(tmp_path):
    documents = drills_in_copy(tmp_path)
    assert list(every(documents)) == []
    first = keep(documents, RECORD, clock=lambda: AT)
    other = keep(documents, RECORD | {"connector": "Other"}, clock=lambda: AT)
    (tmp_path / "drills" / "note.txt").write_text("no drill")
    assert {(one.path.name, one.sha256, one.fault) for one in every(documents)} == {
        (one.path.name, one.sha256, "") for one in (first, other)
    }
    other.path.write_bytes(first.path.read_bytes())
    assert {one.fault for one in every(documents)} == {"", "it is about another connector, 'partner b/ü' of contoso"}
