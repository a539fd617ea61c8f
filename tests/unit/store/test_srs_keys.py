from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.store import srs_keys as module
from gatepost.store.changes import CONFIGURATION, ConfigStore
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.srs_keys import (
    SRS_KEYS_FILE,
    SrsKeyFile,
    SrsKeyRow,
    change_shared_srs_keys,
    change_srs_keys,
    load_srs_keys,
    new_key,
    shared_srs_keys,
    srs_keys_mark,
)
from gatepost.store.whole_file import publish_file


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load_srs_keys(tmp_path)
    assert [len(key) for key in first.keys] == [32]
    assert load_srs_keys(tmp_path) == first
    assert (tmp_path / SRS_KEYS_FILE).stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "srs") == ["keys"]  # noqa: PTH208 - nothing else is left there
    assert (tmp_path / "srs").stat().st_mode & 0o777 == 0o700


def test_several_at_once_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: load_srs_keys(tmp_path), range(8)))
    assert len({keys.keys for keys in found}) == 1
    assert os.listdir(tmp_path / "srs") == ["keys"]  # noqa: PTH208 - as above


def test_who_comes_second_keeps_the_key_of_the_first(tmp_path: Path) -> None:
    first = load_srs_keys(tmp_path)
    publish_file(tmp_path / SRS_KEYS_FILE, b"11\n")
    assert load_srs_keys(tmp_path) == first
    assert [path.name for path in (tmp_path / "srs").iterdir()] == ["keys"]


def test_the_file_of_an_earlier_version_is_brought_to_its_place(tmp_path: Path) -> None:
    (tmp_path / "srs.keys").touch(0o600)
    (tmp_path / "srs.keys").write_text("11" * 16)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: load_srs_keys(tmp_path), range(8)))
    assert {keys.keys for keys in found} == {(b"\x11" * 16,)}
    assert os.listdir(tmp_path) == ["srs"]  # noqa: PTH208 - it is at one place


def test_one_that_is_taken_away_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srs.keys").touch(0o600)
    monkeypatch.setattr(module, "make_directory", lambda _: (tmp_path / "srs.keys").unlink())
    assert not module.key_file(tmp_path).exists()


def test_the_first_of_several_signs(tmp_path: Path) -> None:
    path = tmp_path / SRS_KEYS_FILE
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(f"{'11' * 16}\n{'22' * 32}\n")
    assert load_srs_keys(tmp_path).keys == (b"\x11" * 16, b"\x22" * 32)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("11" * 32, 0o640, "others may read it; chmod 600 it"),
        ("", 0o600, "at least 16 octets"),
        ("11" * 15, 0o600, "at least 16 octets"),
        ("no hex", 0o600, "no key in hexadecimal"),
        ("é" * 32, 0o600, "no key in hexadecimal"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str, mode: int, why: str) -> None:
    path = tmp_path / SRS_KEYS_FILE
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(OSError, match=why):
        load_srs_keys(tmp_path)


class Backwards:
    """Seals by turning round."""

    def seal(self, secret: bytes, place: str) -> bytes:
        return place.encode() + secret[::-1]

    def open(self, sealed: bytes, place: str) -> bytes:
        return sealed.removeprefix(place.encode())[::-1]


@pytest.mark.parametrize("vault", [None, Backwards()])
def test_nodes_of_a_site_have_the_same(tmp_path: Path, vault: Backwards | None) -> None:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        first = shared_srs_keys(store, tmp_path / "a", vault)
        assert [len(key) for key in first.keys] == [32]
        assert shared_srs_keys(store, tmp_path / "b", vault) == first
        assert shared_srs_keys(store, tmp_path / "b", Backwards()) == first, "a master key may come later"


def test_the_file_of_the_node_that_is_first_counts(tmp_path: Path) -> None:
    own = load_srs_keys(tmp_path)
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        assert shared_srs_keys(store, tmp_path, Backwards()) == own
        with pytest.raises(OSError, match="is sealed, and store"):
            shared_srs_keys(store, tmp_path, None)


def test_the_text_of_a_file_is_replaced_and_removed(tmp_path: Path) -> None:
    keys = SrsKeyFile(tmp_path)
    assert keys.read() is None
    keys.replace(b"11\n")
    keys.replace(b"22\n")
    assert keys.read() == b"22\n"
    assert [path.name for path in (tmp_path / "srs").iterdir()] == ["keys"]
    keys.remove()
    keys.remove()
    assert keys.read() is None


@pytest.mark.parametrize("vault", [None, Backwards()])
def test_the_text_of_a_table_is_sealed_with_a_master_key(tmp_path: Path, vault: Backwards | None) -> None:
    with closing(SqliteDatabase(tmp_path, CONFIGURATION)) as database:
        keys = SrsKeyRow(database, vault)
        assert keys.read() is None
        for text in (b"11\n", b"22\n"):
            keys.replace(text)
            assert keys.read() == text
        with database.reading() as connection:
            assert (connection.value("SELECT data FROM content") == b"22\n") is (vault is None)
        if vault:
            with pytest.raises(OSError, match="master_key is not set"):
                SrsKeyRow(database, None).read()
        keys.remove()
        assert keys.read() is None


def test_keys_are_changed_one_after_the_other(tmp_path: Path) -> None:
    (first,) = load_srs_keys(tmp_path).keys
    before = srs_keys_mark_of(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: change_srs_keys(tmp_path, lambda keys: keys.with_new(new_key())), range(4)))
    found = load_srs_keys(tmp_path)
    assert len(set(found.keys)) == 5, "none is lost"
    assert found.keys[-1] == first
    assert found in made
    assert srs_keys_mark_of(tmp_path) != before
    assert [path.name for path in (tmp_path / "srs").iterdir()] == ["keys"]


def srs_keys_mark_of(folder: Path) -> object:
    (folder / "configuration").mkdir(exist_ok=True)
    with closing(ConfigStore(folder / "configuration" / "config.db")) as store:
        mark = srs_keys_mark(store, folder)
    shutil.rmtree(folder / "configuration")
    return mark


def test_there_is_no_mark_without_keys(tmp_path: Path) -> None:
    assert srs_keys_mark_of(tmp_path) is None


@pytest.mark.parametrize("vault", [None, Backwards()])
def test_keys_of_a_site_are_changed_and_stay_sealed(
    tmp_path: Path, vault: Backwards | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        (first,) = shared_srs_keys(store, tmp_path, vault).keys
        changed = change_shared_srs_keys(store, tmp_path, vault, lambda keys: keys.with_new(b"2" * 32))
        assert changed.keys == (b"2" * 32, first)
        assert shared_srs_keys(store, tmp_path, vault) == changed
        content = store.content("srs/keys")
        assert content
        assert (b"32" * 32 in content) is (vault is None)
        monkeypatch.setattr(ConfigStore, "is_shared", True)
        assert srs_keys_mark(store, tmp_path) == content


def test_a_command_of_root_leaves_the_keys_to_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    owner = tmp_path.stat()
    monkeypatch.setattr(module.os, "geteuid", lambda: owner.st_uid + 1)
    monkeypatch.setattr(module.os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    load_srs_keys(tmp_path)
    change_srs_keys(tmp_path, lambda keys: keys.with_new(new_key()))
    assert given == [(owner.st_uid, owner.st_gid)] * 2
