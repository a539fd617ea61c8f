from __future__ import annotations

import asyncio
import gc

import pytest

from gatepost.store.postgres.server import DatabaseServer


@pytest.fixture
def server():
    server = DatabaseServer.of("postgresql://nobody@127.0.0.1:9/gatepost")
    yield server
    server.close()


@pytest.mark.parametrize(("left", "is_said"), [(ConnectionError("lost"), False), (ValueError("a fault"), True)])
def test_a_future_of_a_lost_connection_that_nobody_asks_is_no_error(server, caplog, left, is_said):
    async def leave() -> None:
        asyncio.get_running_loop().create_future().set_exception(left)
        gc.collect()

    server.run(leave, "a test")
    assert ("never retrieved" in caplog.text) == is_said
