from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gatepost.net.lookups import mtasts_cache
from gatepost.net.lookups.mtasts_cache import CachedPolicy, PolicyFolder
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.values import replace

NOW = 1_800_000_000.0
POLICY = StsPolicy(StsMode.ENFORCE, ("*.b.example",), 604_800, (("note", "gr\u00fc\u00dfe"),))
ENTRY = CachedPolicy("b.example", "20260801", POLICY, NOW, NOW)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize(
    ("age", "later", "holds", "due"),
    [
        (604_800, 0, True, False),
        (604_800, -1, True, True),  # fetched in the future: one of the clocks was wrong
        (604_800, 86_399, True, False),
        (604_800, 86_400, True, True),
        (604_800, 604_800, True, True),
        (604_800, 604_801, False, True),
        (3600, 1799, True, False),
        (3600, 1800, True, True),
        (0, 0, True, True),
        (0, 1, False, True),
    ],
)
def test_how_long_a_policy_holds(age: int, later: float, holds: bool, due: bool) -> None:
    entry = replace(ENTRY, policy=replace(POLICY, max_age=age))
    assert entry.expires == NOW + age
    assert entry.holds(NOW + later) is holds
    assert entry.due(NOW + later) is due


@pytest.mark.parametrize(("age", "seconds"), [(31_557_600, 31_557_600), (9_999_999_999, 31_557_600)])
def test_no_policy_holds_longer_than_a_year(age: int, seconds: int) -> None:
    assert replace(ENTRY, policy=replace(POLICY, max_age=age)).expires == NOW + seconds


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "mta-sts"
    PolicyFolder(folder).write(ENTRY)
    other = replace(ENTRY, domain="c.example", used=NOW - 5)
    PolicyFolder(folder).write(other)
    again = PolicyFolder(folder)
    assert again.read("b.example") == ENTRY
    assert again.read("d.example") is None
    assert sorted(again.entries(), key=lambda entry: entry.domain) == [ENTRY, other]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_newer_policy_takes_the_place_of_the_older(tmp_path: Path) -> None:
    folder = PolicyFolder(tmp_path)
    newer = replace(ENTRY, id="2", fetched=NOW + 1)
    folder.write(ENTRY)
    folder.write(newer)
    assert list(folder.entries()) == [newer]
    assert only_file(tmp_path).suffix == ".json"


@pytest.mark.parametrize(("ahead", "kept"), [(1, "newer"), (300, "newer"), (301, "late")])  # or the clock was set back
def test_a_policy_that_was_overtaken_on_its_way_is_not_kept(tmp_path: Path, ahead: float, kept: str) -> None:
    folder = PolicyFolder(tmp_path)
    folder.write(replace(ENTRY, id="newer", fetched=NOW + ahead))
    folder.write(replace(ENTRY, id="late"))
    assert [entry.id for entry in folder.entries()] == [kept]


def test_when_it_was_used_is_noted(tmp_path: Path) -> None:
    folder = PolicyFolder(tmp_path)
    folder.touch(ENTRY)
    folder.write(ENTRY)
    folder.touch(replace(ENTRY, used=NOW + 86_400))
    assert folder.read("b.example") == replace(ENTRY, used=NOW + 86_400)


@pytest.mark.parametrize("domain", ["../../../etc/passwd", "a/b", "\x00", "x" * 253, "..", "", "CON", "b\u00fccher"])
def test_no_domain_names_a_file_elsewhere(tmp_path: Path, domain: str) -> None:
    folder = tmp_path / "deep" / "down"
    PolicyFolder(folder).write(replace(ENTRY, domain=domain))
    assert only_file(folder).parent == folder
    assert list((tmp_path / "deep").iterdir()) == [folder]
    assert PolicyFolder(folder).read(domain) == replace(ENTRY, domain=domain)


GOOD: dict[str, Any] = {"domain": "b.example", "id": "1", "fetched": NOW, "policy": POLICY.text}

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "cut off": json.dumps(GOOD).encode()[:-10],
    "no JSON": b"\xff\xfe\x00",
    "a list": b"[]",
    "without a policy": json.dumps({name: GOOD[name] for name in ("domain", "id", "fetched")}).encode(),
    "a time that is none": json.dumps(GOOD | {"fetched": "yesterday"}).encode(),
    "a policy that cannot be read": json.dumps(GOOD | {"policy": "version: STSv9"}).encode(),
    "half a character": json.dumps(GOOD | {"policy": "\ud800"}).encode(),
    "another domain": json.dumps(GOOD | {"domain": "c.example"}).encode(),
    "too large": json.dumps(GOOD | {"note": "x" * 140_000}).encode(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_is_no_policy(tmp_path: Path, name: str) -> None:
    folder = PolicyFolder(tmp_path)
    folder.write(ENTRY)
    only_file(tmp_path).write_bytes(BROKEN[name])
    assert folder.read("b.example") is None
    assert list(folder.entries()) == []
    folder.write(ENTRY)
    assert folder.read("b.example") == ENTRY


def test_the_folder_is_bounded_and_what_was_used_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mtasts_cache, "_FILES", 20)
    monkeypatch.setattr(mtasts_cache, "_WRITES", 5)
    folder = PolicyFolder(tmp_path)
    with caplog.at_level(logging.WARNING):
        for number in range(101):
            folder.write(replace(ENTRY, domain=f"d{number}.example", used=NOW + number))
            assert len(list(tmp_path.iterdir())) <= 24
    assert {entry.domain for entry in folder.entries()} == {f"d{number}.example" for number in range(81, 101)}
    assert "policies that were used longest ago are forgotten" in caplog.text


def test_the_folder_is_bounded_by_its_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtasts_cache, "_TOTAL_BYTES", 1000)
    monkeypatch.setattr(mtasts_cache, "_WRITES", 1)
    folder = PolicyFolder(tmp_path)
    for number in range(20):
        folder.write(replace(ENTRY, domain=f"d{number}.example", used=NOW + number))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    assert folder.read("d19.example") is not None


def test_a_folder_that_cannot_be_written_is_told_once_a_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = PolicyFolder(tmp_path / "file" / "mta-sts")
    with caplog.at_level(logging.WARNING):
        folder.write(ENTRY)
    folder.touch(ENTRY)
    assert folder.read("b.example") is None
    assert list(folder.entries()) == []
    assert "cannot be kept" in caplog.text


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    folder = PolicyFolder(tmp_path)
    folder.write(ENTRY)
    monkeypatch.setattr(mtasts_cache.os, "fsync", full)
    folder.write(replace(ENTRY, id="2"))
    assert folder.read("b.example") == ENTRY
    assert only_file(tmp_path).suffix == ".json"
    assert "No space left on device" in caplog.text


def test_no_folder_keeps_nothing() -> None:
    folder = PolicyFolder(None)
    folder.write(ENTRY)
    folder.touch(ENTRY)
    assert folder.read("b.example") is None
    assert list(folder.entries()) == []
