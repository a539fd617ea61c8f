from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, keep, kept_when, last, record_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bank", "outbound-bank.json"),
        ("Bank", "outbound-bank.json"),
        ("../../etc/passwd", "outbound-..%2F..%2Fetc%2Fpasswd.json"),
        ("a b", "outbound-a%20b.json"),
        ("Zürich", "outbound-z%C3%BCrich.json"),
    ],
)
def test_a_name_is_one_plain_file_name(name: str, file: str) -> None:
    path = record_path(Path("/data"), VALIDATIONS, "contoso", "outbound", name)
    assert path == Path("/data/validations/contoso") / file


def test_long_names_stay_apart_and_short_enough(tmp_path: Path) -> None:
    paths = {
        record_path(tmp_path, VALIDATIONS, "contoso", "inbound", "\N{HIRAGANA LETTER A}" * 63 + end) for end in "xy"
    }
    assert len(paths) == 2
    for path in paths:
        keep(path, {"outcome": "validated"})
        assert last(path) == {"outcome": "validated"}


def test_a_record_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = record_path(tmp_path, VALIDATIONS, "contoso", "outbound", "bank")
    keep(path, {"at": 1})
    keep(path, {"at": 2, "verdict": "naïve \udc80"})
    found = last(path)
    assert found is not None
    assert found["at"] == 2
    assert list(path.parent.iterdir()) == [path]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = record_path(tmp_path, VALIDATIONS, "contoso", "outbound", "bank")
    before = os.umask(0)
    try:
        keep(path, {"at": 1})
        keep(path, {"at": 2})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_a_record_that_is_too_long_loses_its_details(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    keep(path, {"at": 2, "outcome": "validated", "verdict": "v" * 5000, "hosts": ["x" * (1 << 20)]})
    assert last(path) == {"at": 2, "outcome": "validated", "verdict": "v" * 1000}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": "' + b"x" * (3 << 20) + b'"}'])
def test_what_cannot_be_used_is_no_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert last(path) is None
    assert last(tmp_path / "none.json") is None


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    keep(path, {"at": 1})

    def no(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", no)
    with pytest.raises(OSError, match="no"):
        keep(path, {"at": 2})
    monkeypatch.undo()
    assert last(path) == {"at": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_when_each_was_kept_is_read_of_the_directory_alone(tmp_path):
    path = record_path(tmp_path, VALIDATIONS, "contoso", "inbound", "Bank/In")
    long = record_path(tmp_path, VALIDATIONS, "contoso", "inbound", "ü" * 80)
    assert kept_when(tmp_path, VALIDATIONS, "contoso")("inbound", "bank/in") == 0.0
    keep(path, {"at": 1.0})
    os.utime(path, (17.0, 17.0))
    when = kept_when(tmp_path, VALIDATIONS, "contoso")
    assert (when("inbound", "BANK/in"), when("outbound", "bank/in"), when("inbound", "ü" * 80)) == (17.0, 0.0, 0.0)
    keep(long, {"at": 1.0})
    assert kept_when(tmp_path, VALIDATIONS, "contoso")("inbound", "Ü" * 80) > 17.0
