from __future__ import annotations

import asyncio
from contextlib import closing

import apsw
import pytest

from gatepost.store.interface import Schema
from gatepost.store.sqlite import check as module
from gatepost.store.sqlite.check import StoreCheck
from gatepost.store.sqlite.schema import QUEUE_VERSION, make_file

LARGE = b"x" * (300 << 10)


def checked(path, *schemas):
    found = StoreCheck(path, schemas)
    found.run()
    return found


@pytest.fixture
def waiting(shop):
    """Two messages wait, one with a big file; the gateway is stopped."""

    async def main():
        async with shop.open() as store:
            small = await shop.deferred(store, "bob@b.example")
            large = await shop.accept(store, "eve@b.example", body=LARGE)
            return small.message.id, large.message.id

    return asyncio.run(main())


def queue(shop, sql, *values):
    with closing(apsw.Connection(str(shop.shard / "q.db"))) as connection:
        connection.execute(sql, values)


def texts(found):
    return [problem.text for problem in found.problems]


def test_a_queue_in_use(shop):
    async def main():
        async with shop.open() as store:
            await shop.deferred(store, "bob@b.example")
            arriving = store.body()
            if wait := arriving.write(LARGE):
                await wait
            await shop.accept(store, "eve@b.example", body=LARGE)
            found = checked(shop.path)
            arriving.abort()
            return found

    found = asyncio.run(main())
    assert (found.problems, found.unreadable) == ([], [])
    assert (found.messages, found.deliveries, found.shards) == (2, 2, {"0": True})
    assert found.databases >= 1


def test_a_queue_that_nobody_has(shop, waiting):
    found = checked(shop.path)
    assert (found.problems, found.unreadable, found.shards) == ([], [], {"0": False})
    (shop.shard / "lock").unlink()
    assert checked(shop.path).shards == {"0": False}


def test_bodies_that_are_lost(shop, waiting):
    small, _ = waiting
    (big,) = (shop.shard / "big").iterdir()
    big.unlink()
    queue(shop, "DELETE FROM body WHERE id = ?", small)
    lost, missing = texts(checked(shop.path))
    notice = "their senders get a notice when they expire"
    assert lost.startswith(f"1 message, without a whole body: {notice} ({small:016x}")
    assert missing.startswith("1 message, whose big file is missing or short")


def test_a_big_file_that_goes_with_its_message_meanwhile(shop, waiting, monkeypatch):
    """Between the rows and the look at the file."""
    _, large = waiting

    def settled(path):
        queue(shop, "DELETE FROM delivery WHERE message = ?", large)
        queue(shop, "DELETE FROM message WHERE id = ?", large)
        return -1

    monkeypatch.setattr(module, "_size", settled)
    assert texts(checked(shop.path)) == []


def test_rows_that_belong_to_nothing(shop, waiting):
    small, _ = waiting
    queue(shop, "DELETE FROM delivery WHERE message = ?", small)
    assert texts(checked(shop.path))[0].startswith("1 message, without a delivery")
    for number in range(6):
        queue(shop, "INSERT INTO body (id, data) VALUES (?, x'00')", number + 1)
    assert "6 messages, of which only a delivery or a body is left" in texts(checked(shop.path))[1]
    assert "and 1 more)" in texts(checked(shop.path))[1]


def test_big_files_without_a_row(shop, waiting):
    (shop.shard / "big/0000000000000001").write_bytes(b"x")
    (shop.shard / "big/strange").write_bytes(b"x")
    found = checked(shop.path)
    assert (found.problems, found.arriving) == ([], 2)
    for path in (shop.shard / "big").iterdir():
        path.unlink()
    (shop.shard / "big").rmdir()
    assert len(checked(shop.path).problems) == 1


def test_versions_and_marks(shop, waiting):
    queue(shop, f"PRAGMA user_version = {QUEUE_VERSION + 1}")
    text = f"tables have version {QUEUE_VERSION + 1}, and this version of gatepost knows {QUEUE_VERSION}"
    assert text in texts(checked(shop.path))[0]
    queue(shop, "PRAGMA application_id = 1")
    assert texts(checked(shop.path)) == ["another program made it; move it away, or restore it from a backup"]


def test_versions_of_schemas(tmp_path):
    schema = Schema(name="fruit", file="fruit.db", application_id=7, version=2, tables="")
    with closing(apsw.Connection(str(tmp_path / "fruit.db"))) as fruit:
        fruit.execute("CREATE TABLE t (x); PRAGMA application_id = 7; PRAGMA user_version = 2")
        assert checked(tmp_path, schema).problems == []
        fruit.execute("PRAGMA user_version = 3")
        assert "tables have version 3, and this version of gatepost knows 2" in texts(checked(tmp_path, schema))[0]


def test_a_file_that_an_earlier_version_did_not_mark(tmp_path):
    schema = Schema(name="fruit", file="fruit.db", application_id=7, version=2, tables="", unmarked="SELECT 1")
    only_in_postgres = Schema(name="nut", file="", application_id=0, version=1, tables="")
    with closing(apsw.Connection(str(tmp_path / "fruit.db"))) as fruit:
        fruit.execute("CREATE TABLE t (x)")
        assert checked(tmp_path, schema, only_in_postgres).problems == []
        fruit.execute("PRAGMA user_version = 1")
        assert "another program made it" in texts(checked(tmp_path, schema))[0]


def test_damage(tmp_path):
    (tmp_path / "config.db").write_bytes(b"x" * 8192)
    with closing(apsw.Connection(str(tmp_path / "other.db"))) as other:
        other.execute("CREATE TABLE t (x UNIQUE); CREATE INDEX i ON t (x)")
        other.executemany("INSERT INTO t VALUES (?)", [(f"{number}" * 50,) for number in range(500)])
    content = bytearray((tmp_path / "other.db").read_bytes())
    content[3 * 4096 : 4 * 4096] = bytes(4096)
    (tmp_path / "other.db").write_bytes(content)
    found = checked(tmp_path)
    assert [problem.path for problem in found.problems] == ["config.db", "other.db"]
    assert all("damaged: " in text for text in texts(found))


def test_what_is_being_made(tmp_path):
    make_file(tmp_path / "config.db")
    (tmp_path / "trace").mkdir()
    with closing(apsw.Connection(str(tmp_path / "trace/2026-11-29.0.db"))) as trace:
        trace.execute("CREATE TABLE t (x)")
    found = checked(tmp_path)
    assert (found.problems, found.databases) == ([], 2)


def test_a_restore_that_was_cut_off(tmp_path):
    (tmp_path / ".restore").mkdir()
    assert "must be repeated" in texts(checked(tmp_path))[0]


def test_what_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    found = checked(tmp_path / "file")
    assert "Not a directory" in found.unreadable[0].text
    make_file(tmp_path / "config.db")
    make_file(tmp_path / "gone.db")

    def fails(path):
        if path.name == "gone.db":
            path.unlink()
        raise apsw.CantOpenError("unable to open database file")

    monkeypatch.setattr(module, "open_for_reading", fails)
    assert [one.path for one in checked(tmp_path).unreadable] == ["config.db"]
