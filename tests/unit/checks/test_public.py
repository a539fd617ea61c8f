from __future__ import annotations

import asyncio
import random

import pytest

from gatepost.checks.public import NotPublic, PublicRouter


class Nothing:
    """Nobody is asked about an address."""

    async def query(self, name, rdtype):
        raise AssertionError(name, rdtype)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_what_is_inside_is_not_looked_at(address):
    with pytest.raises(NotPublic) as refused:
        asyncio.run(PublicRouter(Nothing(), random).addresses(address))
    assert not refused.value.temporary


@pytest.mark.parametrize("address", ["192.88.98.1", "8.8.8.8", "2a00::1"])
def test_what_is_public_is(address):
    assert asyncio.run(PublicRouter(Nothing(), random).addresses(address)).addresses == (address,)
