from __future__ import annotations

import asyncio

import pytest

from gatepost.settings.model import Settings
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import open_shards, shards_of

SHARDS = [
    ([], 1, [[0]]),
    (["0"], 1, [[0]]),
    (["0", "1", "2"], 3, [[0], [1], [2]]),
    (["0", "1", "2", "3"], 1, [[0, 1, 2, 3]]),
    (["0", "1", "2", "3", "7"], 2, [[0, 2], [1, 3, 7]]),
    (["5"], 4, [[0], [1, 5], [2], [3]]),
    (["10", "9"], 2, [[0, 10], [1, 9]]),
    (["lost+found", "x1", "-3"], 2, [[0], [1]]),
]


@pytest.mark.parametrize(("present", "workers", "shards"), SHARDS)
def test_every_shard_has_one_worker(tmp_path, present, workers, shards):
    for name in present:
        (tmp_path / name).mkdir()
    assert [shards_of(tmp_path, index, workers) for index in range(workers)] == shards


def test_before_the_first_start_there_is_only_the_own_shard(tmp_path):
    assert shards_of(tmp_path / "queue", 2, 4) == [2]


def test_a_worker_opens_its_own_shard_and_what_nobody_has(tmp_path):
    settings = Settings(server={"hostname": "mx.example"}, store={"free_space": 0})
    (tmp_path / "queue" / "3").mkdir(parents=True)
    evidence, trace = [], SqliteTrace(tmp_path / "trace")

    async def main():
        stores = await open_shards(tmp_path, settings, (1, 2), trace.sink, evidence.append)
        for store in stores:
            await store.close()
        return len(stores)

    assert asyncio.run(main()) == 2
    assert evidence == [1, 3]
    assert sorted(path.name for path in (tmp_path / "queue").iterdir()) == ["1", "3"]
