"""Documents as files and, on SQLite, as rows; in PostgreSQL see tests/system/test_store_documents.py."""

from __future__ import annotations

import os
import time

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.documents import (
    DOCUMENTS,
    DocumentFiles,
    DocumentTable,
    failure_text,
    folders_in_files,
    folders_in_table,
)
from gatepost.store.interface import StoreBusy
from gatepost.store.storage import Storage


@pytest.fixture(params=["files", "table"])
def documents(request, tmp_path):
    if request.param == "files":
        return DocumentFiles(tmp_path / "a" / "b")
    storage = Storage(SQLITE, tmp_path)
    return DocumentTable(lambda: storage.database(DOCUMENTS), "a/b")


def test_a_document_is_replaced_and_read(documents):
    assert documents.names() == {}
    assert documents.read("x", 10) is None
    documents.replace("x", b"one")
    documents.replace("x", b"two\x00")
    assert documents.read("x", 10) == b"two\x00"
    assert documents.read("x", 1) == b"tw"
    assert list(documents.names()) == ["x"]
    assert abs(documents.names()["x"] - time.time()) < 60


def test_one_is_added_once_and_never_over_another(documents):
    with documents.adding() as add:
        add("1", b"one")
        assert documents.read("1", 10) == b"one"
    with pytest.raises(FileExistsError), documents.adding() as add:
        add("1", b"two")
    assert documents.read("1", 10) == b"one"
    assert list(documents.names()) == ["1"]


def test_some_are_removed(documents):
    for name in "abc":
        documents.replace(name, b"x")
    documents.remove(["a", "c", "none"])
    assert list(documents.names()) == ["b"]


@pytest.mark.parametrize(("most", "left"), [(11, "abc"), (9, "bc"), (3, "c"), (0, "")])
def test_there_is_room_for_the_newest(documents, most, left):
    for name, size in (("a", 2), ("b", 6), ("c", 3)):
        documents.replace(name, b"x" * size)
        time.sleep(0.01)
    documents.make_room(most)
    assert "".join(sorted(documents.names())) == left


def test_folders_are_apart(tmp_path):
    storage = Storage(SQLITE, tmp_path)
    for folder in ("a", "b"):
        DocumentTable(lambda: storage.database(DOCUMENTS), folder).replace("x", folder.encode())
    assert DocumentTable(lambda: storage.database(DOCUMENTS), "b").read("x", 10) == b"b"


def test_the_folders_in_a_folder(tmp_path):
    assert folders_in_files(tmp_path / "validations") == []
    database = Storage(SQLITE, tmp_path).database(DOCUMENTS)
    for name in ("validations/contoso", "validations/b", "validationsx/c", "evidence/drills"):
        DocumentFiles(tmp_path / name).replace("x", b"")
        DocumentTable(lambda: database, name).replace("x", b"")
    (tmp_path / "validations" / "file").touch()
    for found in (folders_in_files(tmp_path / "validations"), folders_in_table(database, "validations")):
        assert sorted(found) == ["b", "contoso"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    documents = DocumentFiles(tmp_path)
    documents.replace("x", b"one")

    def no(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", no)
    with pytest.raises(OSError, match="no"):
        documents.replace("x", b"two")
    monkeypatch.undo()
    assert documents.read("x", 10) == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_says_where(tmp_path):
    documents = DocumentFiles(tmp_path)
    assert failure_text(documents, OSError(28, "No space left")) == f"{tmp_path}: No space left"
    assert failure_text(documents, OSError("no")) == f"{tmp_path}: no"
    assert failure_text(documents, StoreBusy("the server is away")) == "the server is away"
