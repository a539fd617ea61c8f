from __future__ import annotations

import asyncio
import errno
import time
from contextlib import closing

import apsw
import pytest

from gatepost.mail.model.queue_id import format_id
from gatepost.store.evidence_keys import move_keys
from gatepost.store.interface import Settlement, StoreFailure, StoreFull
from gatepost.store.sqlite import backup as module
from gatepost.store.sqlite.backup import Backup, needed_space
from gatepost.store.sqlite.backup_archive import DirectoryTarget, parse_manifest
from gatepost.store.sqlite.schema import QUEUE_VERSION, make_file, open_for_reading

LARGE = b"x" * (300 << 10)


class Target(DirectoryTarget):
    """meanwhile: called when a database was copied, before anything else is."""

    def __init__(self, root):
        root.mkdir(mode=0o700)
        super().__init__(root)
        self.root = root
        self.meanwhile = lambda path: None

    def add(self, path, source, size):
        self.meanwhile(path)
        return super().add(path, source, size)


@pytest.fixture
def target(tmp_path_factory):
    return Target(tmp_path_factory.mktemp("target") / "backup")


def run(shop, target, *, mailboxes=True):
    backup = Backup(shop.path, target, mailboxes=mailboxes, clock=time.time)
    return backup.run(version="0.1", hostname="mx1.contoso.example")


def rows(target, sql, shard="0"):
    with closing(open_for_reading(target.root / "queue" / shard / "q.db")) as connection:
        return connection.execute(sql).fetchall()


def test_a_queue_in_use_is_copied_with_its_bodies(shop, target):
    async def main():
        async with shop.open() as store, shop.open(worker=1) as other:
            await shop.deferred(store, "bob@b.example")
            await shop.accept(store, "eve@b.example", body=LARGE)
            await shop.accept(other, "joe@c.example")
            return run(shop, target)

    manifest = asyncio.run(main())
    assert (manifest.messages, manifest.deliveries, manifest.held) == (3, 3, 0)
    assert manifest.began <= manifest.ended <= time.time()
    assert parse_manifest((target.root / "manifest.json").read_bytes()) == manifest
    assert rows(target, "PRAGMA quick_check") == [("ok",)]
    ((number,),) = rows(target, "SELECT big FROM message WHERE big IS NOT NULL")
    assert (target.root / "queue/0/big" / format_id(number)).read_bytes() == LARGE
    assert rows(target, "PRAGMA user_version") == [(QUEUE_VERSION,)]


def test_a_message_that_is_settled_meanwhile_is_not_in_it(shop, target):
    """Its big file goes after the rows were copied and before it is; that of another is lost, and its row stays."""

    async def main():
        async with shop.open() as store:
            deliveries = [await shop.accept(store, f"{name}@b.example", body=LARGE) for name in ("bob", "eve", "joe")]
            bigs = sorted((shop.shard / "big").iterdir())
            vacuum = module.open_for_reading

            class Reading:
                """Settles once the copy is made."""

                def __init__(self, path):
                    self.connection = vacuum(path)

                def execute(self, sql, values=()):
                    found = self.connection.execute(sql, values)
                    if sql.startswith("VACUUM"):
                        bigs[1].unlink()
                        bigs[0].unlink()
                        with closing(apsw.Connection(str(shop.shard / "q.db"))) as other:
                            other.execute("DELETE FROM message WHERE id = ?", (deliveries[0].message.id,))
                    return found

                def close(self):
                    self.connection.close()

            module.open_for_reading = Reading
            try:
                return run(shop, target), deliveries
            finally:
                module.open_for_reading = vacuum

    manifest, deliveries = asyncio.run(main())
    assert manifest.messages == 2
    kept = sorted(delivery.message.id for delivery in deliveries[1:])
    assert rows(target, "SELECT id FROM message ORDER BY id") == [(number,) for number in kept]
    assert sorted(rows(target, "SELECT DISTINCT message FROM delivery")) == [(number,) for number in kept]
    assert len(list((target.root / "queue/0/big").iterdir())) == 1


def test_other_files_and_databases(shop, target):
    shop.path.mkdir(exist_ok=True)
    with closing(apsw.Connection(str(shop.path / "config.db"))) as config:
        config.pragma("journal_mode", "wal")
        config.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        for name, content in {
            "srs.keys": b"secret\n",
            "evidence/log/2026-11-28.0.log": b"one\ntwo\nthr",
            "evidence/log/2026-11-29.0.log": b"thr",
            "evidence/heads.log": b"",
        }.items():
            (shop.path / name).parent.mkdir(parents=True, exist_ok=True)
            (shop.path / name).write_bytes(content)
        make_file(shop.path / "access.db")
        (shop.path / "queue/0").mkdir(parents=True)
        make_file(shop.path / "queue/0/q.db")
        manifest = run(shop, target)
    assert (target.root / "srs.keys").read_bytes() == b"secret\n"
    assert (target.root / "evidence/log/2026-11-28.0.log").read_bytes() == b"one\ntwo\n"
    assert (target.root / "evidence/log/2026-11-29.0.log").read_bytes() == b""
    assert manifest.messages == 0
    with closing(open_for_reading(target.root / "config.db")) as copy:
        assert copy.execute("SELECT x FROM t").get == 1


def test_a_long_log_is_cut_after_its_last_whole_line(shop, target, monkeypatch):
    monkeypatch.setattr(module, "_TAIL", 6)
    log = shop.path / "evidence/log"
    log.mkdir(parents=True)
    (log / "2026-11-28.0.log").write_bytes(b"one\ntwo\nthr")
    (log / "2026-11-29.0.log").write_bytes(b"a line that is longer than what is looked at")
    run(shop, target)
    assert (target.root / "evidence/log/2026-11-28.0.log").read_bytes() == b"one\ntwo\n"
    assert len((target.root / "evidence/log/2026-11-29.0.log").read_bytes()) == 44


def test_files_that_move_or_go_while_they_are_copied(shop, target):
    log, mail = shop.path / "evidence/log/2026-11-28.0.log", shop.path / "maildir/contoso.example/ann"
    for folder in (log.parent, mail / "cur", mail / "new", shop.path / "trace"):
        folder.mkdir(parents=True)
    log.write_bytes(b"one\n")
    (mail / "cur/0.x").write_bytes(b"first")
    (mail / "new/1.a").write_bytes(b"second")
    make_file(shop.path / "trace/2026-01-01.0.db")
    (shop.path / "zz").write_bytes(b"goes")

    def meanwhile(path):
        if path.endswith("0.x"):
            log.rename(f"{log}.gz")
            (mail / "new/1.a").rename(mail / "cur/1.a:2,S")
            (shop.path / "trace/2026-01-01.0.db").unlink()
            (shop.path / "zz").unlink()

    target.meanwhile = meanwhile
    paths = [file.path for file in run(shop, target).files]
    assert paths == [
        "maildir/contoso.example/ann/cur/0.x",
        "evidence/log/2026-11-28.0.log.gz",
        "maildir/contoso.example/ann/cur/1.a:2,S",
    ]


@pytest.mark.parametrize("mailboxes", [False, True])
def test_the_keys_of_the_evidence_log_are_in_it_while_a_start_moves_them(shop, target, mailboxes):
    evidence = shop.path / "evidence"
    (evidence / "keys").mkdir(parents=True)
    for name in ("heads.log", "signing.key", "keys/a.pem"):
        (evidence / name).touch(0o600)
    target.meanwhile = lambda path: move_keys(evidence) if path == "evidence/heads.log" else None
    paths = [file.path for file in run(shop, target, mailboxes=mailboxes).files]
    assert paths == ["evidence/heads.log", "evidence-keys/a.pem", "evidence-keys/signing.key"]


def test_the_key_of_the_evidence_log_is_in_it_while_a_start_seals_it(shop, target):
    keys = shop.path / "evidence-keys"
    keys.mkdir(parents=True)
    (keys / "a.pem").touch(0o600)
    (keys / "signing.key").touch(0o600)
    sealed = keys / "signing.key.sealed"
    target.meanwhile = lambda path: (keys / "signing.key").rename(sealed) if path == "evidence-keys/a.pem" else None
    assert "evidence-keys/signing.key.sealed" in [file.path for file in run(shop, target).files]


def test_without_mailboxes(shop, target):
    mail = shop.path / "maildir/contoso.example/ann/new"
    mail.mkdir(parents=True)
    (mail / "1").write_bytes(b"x")
    assert run(shop, target, mailboxes=False).files == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("database or disk is full"), StoreFull),
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull),
        (OSError(errno.EIO, "Input/output error"), StoreFailure),
        (apsw.CorruptError("malformed"), StoreFailure),
    ],
)
def test_what_ends_a_backup(shop, target, error, kind):
    (shop.path / "srs.keys").write_bytes(b"x")

    def fails(_path):
        raise error

    target.meanwhile = fails
    with pytest.raises(StoreFailure, match=r"srs\.keys: ") as raised:
        run(shop, target)
    assert type(raised.value) is kind
    assert not (target.root / "manifest.json").exists()


def test_what_ends_a_backup_is_named(shop, target):
    def fails(_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/backups/new")

    (shop.path / "srs.keys").write_bytes(b"x")
    target.meanwhile = fails
    with pytest.raises(StoreFailure, match=r"^/backups/new: Permission denied$"):
        run(shop, target)


def test_the_space_that_is_needed(shop, tmp_path):
    async def main():
        async with shop.open() as store:
            await shop.accept(store, "eve@b.example", body=LARGE)
            await store.flushed()
            plain = needed_space(shop.path, mailboxes=True, is_tar=False)
            packed = needed_space(shop.path, mailboxes=True, is_tar=True)
            return plain, packed

    plain, packed = asyncio.run(main())
    database = (shop.shard / "q.db").stat().st_size
    assert plain >= len(LARGE) + database + (16 << 20)
    assert packed >= plain + database
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.db").write_bytes(b"x")  # without a log beside it
    assert needed_space(tmp_path / "new", mailboxes=True, is_tar=True) == (16 << 20) + 2
    (tmp_path / "file").write_bytes(b"x")
    assert needed_space(tmp_path / "nowhere", mailboxes=True, is_tar=False) == 16 << 20
    with pytest.raises(StoreFailure, match="Not a directory"):
        needed_space(tmp_path / "file", mailboxes=True, is_tar=False)


def test_a_settled_message_frees_its_big_file(shop):
    """What the copy relies on: a big file goes only after the row of its message."""

    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, "eve@b.example", body=LARGE)
            store.settle([Settlement(delivery, [])])
            await store.flushed()
            with closing(open_for_reading(shop.shard / "q.db")) as connection:
                return connection.execute("SELECT count(*) FROM message").get

    assert asyncio.run(main()) == 0


def test_what_is_in_quarantine_is_counted_apart(shop, target, quarantined):
    quarantined(shop.path, {"contoso": ["ann@contoso.example", "joe@contoso.example"]})
    manifest = run(shop, target)
    assert (manifest.deliveries, manifest.held, manifest.quarantined) == (2, 0, 2)


def test_a_queue_of_before_the_quarantine_is_copied_as_it_is(shop, target, queued):
    queued(shop.path, {"contoso": ["ann@contoso.example"]})
    with closing(apsw.Connection(str(shop.path / "queue" / "0" / "q.db"))) as old:
        old.execute("DROP INDEX quarantine; ALTER TABLE delivery DROP COLUMN quarantine; PRAGMA user_version = 2")
    manifest = run(shop, target)
    assert (manifest.deliveries, manifest.held, manifest.quarantined) == (1, 0, 0)
