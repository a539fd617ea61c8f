from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from gatepost.manage.access.schema import ACCESS
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.store.move import Move, MoveRefused
from gatepost.store.move_mark import MoveState, file_mark
from gatepost.store.move_tables import sealed_contents
from gatepost.store.schemas import SAME_IN_BOTH
from gatepost.store.sqlite import move_side as module
from gatepost.store.sqlite.move_side import SqliteNumbering, SqliteSide

SCHEMAS = (*SAME_IN_BOTH, ACCESS)


def side(path):
    return SqliteSide(path, SCHEMAS, workers=2)


def fill(shop):
    async def main():
        async with shop.open() as store:
            await shop.deferred(store, "bob@b.example", body=b"x" * (300 << 10))

    asyncio.run(main())
    with closing(ConfigStore(shop.path / "config.db")) as store:
        store.apply({"organization": {"contoso": {"a": 1}}}, author="ann", content={"key": b"gp1\0sealed"})
    keys = shop.path / "evidence" / "keys"
    keys.mkdir(parents=True)
    (keys / "one.pem").write_bytes(b"public")


def test_a_data_directory_moves(shop, tmp_path_factory):
    fill(shop)
    place = tmp_path_factory.mktemp("other") / "data"
    with closing(side(shop.path)) as source, closing(side(place)) as target:
        source.check_source()
        target.check_target()
        assert target.contents() == ""
        assert sealed_contents(source.configuration(), b"gp1\0") == {"key": b"gp1\0sealed"}
        move = Move(source, target, clock=lambda: 1.0, on_progress=lambda _: None)
        target.check_idle()  # nothing to lock yet
        target.prepare()
        results = {result.name: result for result in move.run()}
        assert all(result.same for result in results.values())
        assert results["queued messages"].source.records == 1
        assert results["configuration: change"].source.records == 1
        assert target.public_keys() == [b"public"]
    assert file_mark(shop.path).state is MoveState.LEFT
    assert file_mark(place).state is MoveState.ARRIVED
    with closing(ConfigStore(place / "config.db")) as store:
        assert store.load() == (1, {"organization": {"contoso": {"a": 1}}})


def test_a_queue_that_is_served_is_in_use(shop, tmp_path):
    async def main():
        async with shop.open():
            with closing(side(shop.path)) as busy, pytest.raises(MoveRefused, match="by a gateway that serves"):
                busy.check_idle()

    asyncio.run(main())
    with closing(side(shop.path)) as first, closing(side(shop.path)) as second:
        first.check_idle()
        first.check_idle()
        with pytest.raises(MoveRefused, match="by another move"):
            second.check_idle()


def test_other_files_among_the_shards_are_passed_over(shop):
    fill(shop)
    (shop.queue / "notes").touch()
    with closing(side(shop.path)) as source:
        source.check_idle()


def test_nothing_and_half_a_restore_are_not_moved(tmp_path):
    with closing(side(tmp_path)) as source:
        with pytest.raises(MoveRefused, match="nothing is stored here"):
            source.check_source()
        (tmp_path / ".restore").mkdir()
        (tmp_path / "srs").mkdir()
        (tmp_path / "srs/keys").touch()
        assert source.contents() == "srs/keys"
        for check in (source.check_source, source.check_target):
            with pytest.raises(StoreFailure, match="restore"):
                check()


def test_numbers_never_come_again(tmp_path):
    with closing(module.SqliteDatabase(tmp_path, ACCESS)) as database, database.changing() as change:
        numbering = SqliteNumbering()
        assert numbering.highest(change, "session") == 0
        numbering.advance(change, "session", 7)
        numbering.advance(change, "session", 3)
        assert numbering.highest(change, "session") == 7
