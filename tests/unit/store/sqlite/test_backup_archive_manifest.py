from __future__ import annotations

import json

import pytest

from gatepost.store.sqlite.backup_archive import FORMAT, BackupFile, Manifest, UnusableBackup, parse_manifest

HASH = "0" * 64


def manifest(*paths, size=3):
    files = [BackupFile(path, size, HASH) for path in paths]
    return Manifest(FORMAT, "0.1", "mx1.contoso.example", 1.5, 2.5, 1, 2, 0, True, files)


def test_what_is_written_is_read():
    made = manifest("config.db", "queue/0/q.db")
    assert parse_manifest(made.encoded()) == made
    assert made.size == 6
    assert made.encoded().count(b"\n") > 10


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a/", ".", "a\0b", "é" * 513],
)
def test_a_path_that_leads_elsewhere_is_refused(path):
    with pytest.raises(UnusableBackup, match="damaged: it has the file"):
        parse_manifest(manifest(path).encoded())


def test_other_things_that_are_wrong():
    with pytest.raises(UnusableBackup, match="names a file twice"):
        parse_manifest(manifest("a", "a").encoded())
    with pytest.raises(UnusableBackup, match="it has the file"):
        parse_manifest(manifest("a", size=-1).encoded())
    for wrong in ("0" * 63, "G" * 64, "A" * 64):
        content = json.loads(manifest("a").encoded())
        content["files"][0]["sha256"] = wrong
        with pytest.raises(UnusableBackup, match="it has the file"):
            parse_manifest(json.dumps(content).encode())
    content = json.loads(manifest("a").encoded()) | {"format": 2}
    with pytest.raises(UnusableBackup, match=r"has form 2, made by gatepost 0\.1, and this version reads form 1"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "x"}'])
def test_what_is_no_manifest(content):
    with pytest.raises(UnusableBackup, match=r"manifest\.json is damaged"):
        parse_manifest(content)
