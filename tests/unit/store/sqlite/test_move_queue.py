from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from gatepost.mail.model.queue_id import format_id, shard_of
from gatepost.store.interface import StoreFailure
from gatepost.store.move_parts import copy_part, digest_of
from gatepost.store.sqlite.move_queue import BodiesPart, MessagesPart, QueueShards, reported
from gatepost.store.sqlite.schema import make_file

LARGE = b"x" * (600 << 10)


def nothing(_done):
    pass


def filled(shop):
    """A message in each of two shards: one with a large body, one with three pieces of a head."""

    async def main():
        async with shop.open() as store, shop.open(worker=1) as other:
            await shop.deferred(store, "bob@b.example", "eve@b.example")
            large = await shop.accept(other, "joe@c.example", body=LARGE)
            body = other.body()
            body.write_head(b"Subject: x\r\n")
            if (wait := body.write(LARGE)) is not None:
                await wait
            message = shop.message(other)
            await shop.commit(other, message, [shop.delivery(other, message), shop.delivery(other, message)], body)
            return large.message.id

    return asyncio.run(main())


@pytest.fixture
def sides(shop, tmp_path_factory):
    source, target = QueueShards(shop.path, 1), QueueShards(tmp_path_factory.mktemp("target"), 2)
    with closing(source), closing(target):
        yield source, target


def parts(shards):
    return BodiesPart(shards), MessagesPart(shards)


def test_the_queue_moves_with_its_bodies(shop, sides):
    source, target = sides
    message = filled(shop)
    source.settle()
    for here, there in zip(parts(source), parts(target), strict=True):
        copy_part(here, there, nothing)
        copy_part(here, there, nothing)
    for here, there in zip(parts(source), parts(target), strict=True):
        assert digest_of(here, nothing) == digest_of(there, nothing)
    bodies, messages = parts(target)
    assert (bodies.count(), messages.count()) == (6, 3)
    assert target.numbers() == [0, 1]
    assert shard_of(message) == 1
    number, big = target.connection(1).execute("SELECT id, big FROM message WHERE id = ?", (message,)).get
    assert number == message
    assert target.big(1, big).read_bytes() == LARGE
    assert target.big(1, big).stat().st_mode & 0o777 == 0o600
    deliveries = target.connection(0).execute("SELECT next_at > 0, recipients FROM delivery").fetchall()
    assert [row[0] for row in deliveries] == [1]
    for part in (messages, bodies):
        part.clear()
        assert part.count() == 0
    assert list(target.root.glob("*/big/*")) == []


def test_a_body_that_is_lost_has_no_pieces(shop, sides):
    source, _ = sides
    message = filled(shop)
    (big,) = (row[0] for row in source.connection(1).execute("SELECT big FROM message WHERE id = ?", (message,)))
    source.big(1, big).unlink()
    bodies = BodiesPart(source)
    assert {record.key[0] for record in bodies.records()} != {message}
    assert bodies.count() == 3


def test_pieces_of_a_body_that_was_cut_off_are_written_to_their_places(shop, sides):
    source, target = sides
    filled(shop)
    bodies, copies = BodiesPart(source), BodiesPart(target)
    records = list(bodies.records())
    copies.add(records[:1])
    assert copies.present([record.key for record in records]) == {records[0].key}
    copies.add(records[1:])
    copies.add(records[:1])
    assert target.big(1, records[0].key[1]).read_bytes() == LARGE


def test_mail_in_memory_waits_after_it_was_settled(shop, sides):
    source, _ = sides

    async def main():
        async with shop.open() as store:
            await shop.accept(store, "bob@b.example")

    asyncio.run(main())
    connection = source.connection(0)
    connection.execute("UPDATE delivery SET next_at = 0")
    source.settle()
    assert connection.execute("SELECT next_at > 1 FROM delivery").get == 1


def test_a_directory_without_a_queue(tmp_path):
    with closing(QueueShards(tmp_path, 1)) as shards:
        assert shards.numbers() == []
        for part in parts(shards):
            assert (part.count(), list(part.records())) == (0, [])


def test_errors_say_where(tmp_path):
    with pytest.raises(StoreFailure, match=f"{tmp_path}: No such file"), reported(tmp_path):
        (tmp_path / "nowhere").read_bytes()
    make_file(tmp_path / format_id(1))
