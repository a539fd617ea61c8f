from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.pki.certificates.directories import WatchedDirectories, pairs_in
from gatepost.store.changes import ConfigStore


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        ([], []),
        (["fullchain.pem", "privkey.pem", "cert.pem"], [("fullchain.pem", "privkey.pem")]),
        (["b/fullchain.pem", "b/privkey.pem", "a/fullchain.pem"], [("b/fullchain.pem", "b/privkey.pem")]),
        (["mx.crt", "mx.key", "other.key", "x.pem"], [("mx.crt", "mx.key")]),
        (["a.pem", "a.cer", "a.key"], [("a.cer", "a.key")]),
        (["deep/er/fullchain.pem", "deep/er/privkey.pem"], []),
    ],
)
def test_pairs(tmp_path, files, pairs):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert pairs_in(tmp_path) == [tuple(tmp_path / one for one in pair) for pair in pairs]


def test_they_are_bounded_and_a_missing_directory_is_an_error(tmp_path):
    for number in range(250):
        (tmp_path / f"{number}.pem").touch()
        (tmp_path / f"{number}.key").touch()
    assert len(pairs_in(tmp_path)) == 200
    with pytest.raises(OSError, match="No such file"):
        pairs_in(tmp_path / "none")


def test_directories_are_registered_with_who_did_it(tmp_path):
    store = ConfigStore(tmp_path / "config.db")
    directories = WatchedDirectories(store)
    directories.add(Path("/b"), author="ann", note="certbot")
    directories.add(Path("/a"), author="ann")
    assert directories.paths() == [Path("/a"), Path("/b")]
    directories.remove(Path("/a"), author="bob")
    assert directories.paths() == [Path("/b")]
    assert [(one.author, one.note) for one in store.history("certificate_directory")] == [
        ("bob", ""), ("ann", ""), ("ann", "certbot")
    ]  # fmt: skip
    store.close()
