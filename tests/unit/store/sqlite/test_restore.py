from __future__ import annotations

import asyncio
import errno
import json
import stat
import time
from contextlib import closing

import apsw
import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import Actor
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import restore as module
from gatepost.store.sqlite.backup import Backup
from gatepost.store.sqlite.backup_archive import DirectorySource, DirectoryTarget, UnusableBackup
from gatepost.store.sqlite.restore import NotEmpty, Restore, check_empty, check_whole, stored_contents, verify
from gatepost.store.storage import Storage

LARGE = b"x" * (300 << 10)


@pytest.fixture
def backup(shop, tmp_path_factory):
    """A backup of a queue with two messages, and of a file."""

    async def main():
        async with shop.open() as store:
            await shop.accept(store, "eve@b.example", body=LARGE)
            await shop.deferred(store, "bob@b.example")

    asyncio.run(main())
    (shop.path / "srs.keys").write_bytes(b"secret\n")
    root = tmp_path_factory.mktemp("backup")
    Backup(shop.path, DirectoryTarget(root), mailboxes=True, clock=time.time).run(version="0.1", hostname="mx1")
    return root


@pytest.fixture
def data(tmp_path):
    return tmp_path / "new" / "data"


def restore(backup, data, *, hold=False, check=lambda path: None):
    source = DirectorySource(backup)
    Restore(source, verify(source), data, hold=hold, check=check).run()


def left(data):
    return sorted(entry.name for entry in data.iterdir()) if data.exists() else []


def test_everything_comes_back(backup, data):
    data.mkdir(parents=True)
    (data / "lost+found").mkdir()
    seen = []
    restore(backup, data, check=lambda path: seen.extend(entry.name for entry in path.iterdir()))
    assert sorted(seen) == ["queue", "srs.keys"]
    assert left(data) == ["lost+found", "queue", "srs.keys"]
    assert (data / "srs.keys").read_bytes() == b"secret\n"
    (big,) = (data / "queue/0/big").iterdir()
    assert big.read_bytes() == LARGE
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data / "queue").rglob("*")} == {0o600, 0o700}
    with closing(apsw.Connection(str(data / "queue/0/q.db"))) as queue:
        assert queue.execute("SELECT sum(held) FROM delivery").get == 0


def test_mail_may_be_held(backup, data):
    restore(backup, data, hold=True)
    with closing(apsw.Connection(str(data / "queue/0/q.db"))) as queue:
        assert queue.execute("SELECT sum(held), count(*) FROM delivery").get == (2, 2)


def test_nobody_is_logged_in_by_a_session_of_then(shop, tmp_path, data):
    accounts = Accounts(Storage(SQLITE, shop.path))
    user = accounts.add_user("ann", Role.OWNER, "a long enough password", actor=Actor("root", ""))
    secret = accounts.start_session(user, "192.0.2.1", "browser")
    accounts.close()
    root = tmp_path / "backup"
    root.mkdir()
    Backup(shop.path, DirectoryTarget(root), mailboxes=True, clock=time.time).run(version="0.1", hostname="mx1")
    restore(root, data)
    restored = Accounts(Storage(SQLITE, data))
    assert restored.session(secret) is None
    assert [one.name for one in restored.users()] == ["ann"]
    restored.close()


def test_nothing_is_restored_where_something_is(backup, data):
    data.mkdir(parents=True)
    (data / "config.db").write_bytes(b"x")
    with pytest.raises(NotEmpty, match=r"is not empty: it has config\.db\. Stop the gateway"):
        restore(backup, data)
    assert left(data) == ["config.db"]


@pytest.mark.parametrize("name", ["srs.keys", "queue"])
def test_what_appears_meanwhile_is_not_overwritten(backup, data, name):
    def meanwhile(_path):
        if name == "queue":
            (data / name).mkdir()
        else:
            (data / name).write_bytes(b"theirs")

    with pytest.raises(NotEmpty, match="something else, such as the gateway, writes to"):
        restore(backup, data, check=meanwhile)
    assert left(data) == [name]


def test_a_file_that_was_placed_is_taken_back_too(backup, data):
    (backup / "aa").write_bytes(b"x")
    manifest = json.loads((backup / "manifest.json").read_text())
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    manifest["files"].append({"path": "aa", "size": 1, "sha256": sha256})
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotEmpty):
        restore(backup, data, check=lambda _path: (data / "queue").mkdir())
    assert left(data) == ["queue"]


def test_a_refused_key_changes_nothing(backup, data):
    def refuse(_path):
        raise UnusableBackup("another key")

    with pytest.raises(UnusableBackup):
        restore(backup, data, check=refuse)
    assert left(data) == []


def test_a_backup_that_changes_under_a_restore(backup, data):
    source = DirectorySource(backup)
    manifest = verify(source)
    (backup / "srs.keys").write_bytes(b"Secret\n")
    with pytest.raises(UnusableBackup, match=r"srs\.keys changed while it was restored"):
        Restore(source, manifest, data, hold=False, check=lambda _path: None).run()
    assert left(data) == []


@pytest.mark.parametrize("content", [b"secre\n", b"secret\nmore", b"secret!"])
def test_a_damaged_file_is_found(backup, data, content):
    (backup / "srs.keys").write_bytes(content)
    with pytest.raises(UnusableBackup, match=r"srs\.keys is damaged"):
        verify(DirectorySource(backup))


def test_files_too_few_or_too_many(backup):
    (backup / "other").write_bytes(b"x")
    with pytest.raises(UnusableBackup, match="a file that is not of it: other"):
        verify(DirectorySource(backup))
    (backup / "srs.keys").unlink()
    with pytest.raises(UnusableBackup, match=r"of its \d files, 1 cannot be found, such as srs\.keys"):
        verify(DirectorySource(backup))


def test_what_cannot_be_read(backup):
    (backup / "srs.keys").unlink()
    (backup / "srs.keys").symlink_to("/etc/passwd")
    with pytest.raises(StoreFailure, match=r"srs\.keys: Too many levels"):
        verify(DirectorySource(backup))


def test_an_error_without_a_name(backup):
    class Broken(DirectorySource):
        def open(self, path):
            raise OSError("gone")

    with pytest.raises(StoreFailure, match="the backup: gone"):
        verify(Broken(backup))


def test_too_little_room(backup, data, monkeypatch):
    monkeypatch.setattr(module, "_MARGIN", 1 << 60)
    with pytest.raises(StoreFailure, match=r"MiB are free, and .* are needed"):
        restore(backup, data)
    assert left(data) == []


def test_a_disk_that_fails(backup, data, monkeypatch):
    def fails(_path, _reader):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_new", fails)
    with pytest.raises(StoreFailure, match="No space left on device"):
        restore(backup, data)
    assert left(data) == []


def test_a_restore_that_was_cut_off(data):
    check_whole(data)
    check_empty(data)
    (data / ".restore").mkdir(parents=True)
    with pytest.raises(StoreFailure, match="a restore is under way here, or was cut off"):
        check_whole(data)
    with pytest.raises(StoreFailure, match="a restore is under way here, or was cut off"):
        check_empty(data)


def test_a_data_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreFailure, match="Not a directory"):
        check_empty(tmp_path / "file")


def test_sealed_contents(tmp_path):
    assert stored_contents(tmp_path, b"gp1\0") == {}
    with closing(apsw.Connection(str(tmp_path / "config.db"))) as config:
        config.execute("CREATE TABLE content (name, data)")
        config.executemany("INSERT INTO content VALUES (?, ?)", [("a", b"gp1\0x"), ("b", b"gp2"), ("c", b"gp1")])
    assert stored_contents(tmp_path, b"gp1\0") == {"a": b"gp1\0x"}
    (tmp_path / "config.db").write_bytes(b"x" * 4096)
    with pytest.raises(StoreFailure, match=r"config\.db"):
        stored_contents(tmp_path, b"gp1\0")
