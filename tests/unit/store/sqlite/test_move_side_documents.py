from __future__ import annotations

import os

from gatepost.analysis.checks.evidence import drill_documents
from gatepost.analysis.checks.records import VALIDATIONS
from gatepost.store.documents import DOCUMENT_FOLDERS, DocumentFiles
from gatepost.store.move_parts import copy_part, digest_of
from gatepost.store.sqlite.move_side import DocumentsPart
from gatepost.store.storage import Storage


def nothing(_done):
    pass


def test_documents_move_with_their_times(tmp_path):
    source, target = DocumentsPart(tmp_path / "a"), DocumentsPart(tmp_path / "b")
    DocumentFiles(tmp_path / "a" / "validations" / "contoso").replace("one.json", b"{}")
    DocumentFiles(tmp_path / "a" / "evidence" / "drills").replace("two.json", b"[]")
    (tmp_path / "a" / "validations" / "contoso" / ".one.json.new").touch()
    os.utime(tmp_path / "a" / "evidence" / "drills" / "two.json", ns=(1, 1_795_933_621_147_280_123))
    copy_part(source, target, nothing)
    copy_part(source, target, nothing)
    assert source.count() == target.count() == 2
    assert digest_of(source, nothing) == digest_of(target, nothing)
    assert dict(target.records())["evidence/drills", "two.json"] == (1_795_933_621.14728, b"[]")
    target.clear()
    assert target.count() == 0


def test_the_folders_are_those_that_are_written(tmp_path):
    assert VALIDATIONS in DOCUMENT_FOLDERS
    assert drill_documents(Storage("sqlite:", tmp_path)).place == str(tmp_path / "evidence/drills")
    assert "evidence/drills" in DOCUMENT_FOLDERS
