from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.settings.store_url import SQLITE
from gatepost.store.documents import DocumentFiles
from gatepost.store.storage import Storage


@pytest.fixture
def records(tmp_path: Path) -> CheckRecords:
    return CheckRecords(Storage(SQLITE, tmp_path), VALIDATIONS, "contoso")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / VALIDATIONS / "contoso"


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
def test_a_name_is_one_plain_file_name(records: CheckRecords, folder: Path, name: str, file: str) -> None:
    records.keep("outbound", name, {"at": 1})
    assert [path.name for path in folder.iterdir()] == [file]
    assert records.last("outbound", name.upper()) == {"at": 1}


def test_an_organization_is_one_plain_folder(tmp_path: Path) -> None:
    CheckRecords(Storage(SQLITE, tmp_path), VALIDATIONS, "../x").keep("outbound", "bank", {})
    assert (tmp_path / VALIDATIONS / "..%2Fx" / "outbound-bank.json").exists()


def test_long_names_stay_apart_and_short_enough(records: CheckRecords, folder: Path) -> None:
    long = "\N{HIRAGANA LETTER A}" * 63
    records.keep("inbound", f"{long}x", {"outcome": "x"})
    records.keep("inbound", f"{long}y", {"outcome": "y"})
    assert len(list(folder.iterdir())) == 2
    assert records.last("inbound", f"{long}x") == {"outcome": "x"}


def test_a_record_is_replaced_and_only_its_owner_may_read_it(records: CheckRecords, folder: Path) -> None:
    before = os.umask(0)
    try:
        records.keep("outbound", "bank", {"at": 1})
        records.keep("outbound", "bank", {"at": 2, "verdict": "naïve \udc80"})
    finally:
        os.umask(before)
    found = records.last("outbound", "bank")
    assert found is not None
    assert found["at"] == 2
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent)] == [0o700, 0o700]


def test_a_record_that_is_too_long_loses_its_details(records: CheckRecords) -> None:
    long = {"at": 2, "outcome": "validated", "verdict": "v" * 5000, "hosts": ["x" * (1 << 20)]}
    records.keep("outbound", "bank", long)
    assert records.last("outbound", "bank") == {"at": 2, "outcome": "validated", "verdict": "v" * 1000}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": "' + b"x" * (3 << 20) + b'"}'])
def test_what_cannot_be_used_is_no_record(records: CheckRecords, content: bytes) -> None:
    records.documents.replace("outbound-bank.json", content)
    assert records.last("outbound", "bank") is None
    assert records.last("outbound", "none") is None


def test_what_cannot_be_read_is_no_record(records: CheckRecords, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "outbound-bank.json").mkdir(parents=True)
    assert records.last("outbound", "bank") is None

    def no(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(DocumentFiles, "names", no)
    assert records.times()("outbound", "bank") == 0.0


def test_when_each_was_kept_is_read_of_the_names_alone(records: CheckRecords, folder: Path) -> None:
    assert records.times()("inbound", "bank/in") == 0.0
    records.keep("inbound", "Bank/In", {"at": 1.0})
    os.utime(next(folder.iterdir()), (17.0, 17.0))
    when = records.times()
    assert (when("inbound", "BANK/in"), when("outbound", "bank/in"), when("inbound", "ü" * 80)) == (17.0, 0.0, 0.0)
    records.keep("inbound", "ü" * 80, {"at": 1.0})
    assert records.times()("inbound", "Ü" * 80) > 17.0


def test_of_connectors_that_are_gone_nothing_is_kept(records: CheckRecords) -> None:
    long = "\N{HIRAGANA LETTER A}" * 63
    for direction, name in (("inbound", "bank"), ("outbound", "Bank"), ("outbound", "old"), ("inbound", long)):
        records.keep(direction, name, {"at": 1})
    records.keep_only([("outbound", "BANK"), ("inbound", long), ("inbound", "new")])
    assert [bool(records.last(*key)) for key in (("inbound", "bank"), ("outbound", "bank"))] == [False, True]
    assert records.last("outbound", "old") is None
    assert records.last("inbound", long) == {"at": 1}
    records.keep_only([])
    assert records.documents.names() == {}


def test_all_results_of_an_organization_have_a_limit(records: CheckRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.analysis.checks.records._MAX_TOTAL", 3000)
    monkeypatch.setattr("gatepost.analysis.checks.records._kept", count())  # else it depends on what was kept before
    for number in range(40):
        records.keep("outbound", f"{number}", {"verdict": "v" * 100})
        if number == 0:  # the clock of files may not have moved on when the next is written
            (first,) = records.documents.names()
            os.utime(records.documents._directory / first, (1, 1))  # type: ignore[attr-defined]
    assert records.last("outbound", "0") is None
    assert records.last("outbound", "39")
    assert len(records.documents.names()) < 40
