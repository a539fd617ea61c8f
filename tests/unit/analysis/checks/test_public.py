from __future__ import annotations

import asyncio
import random

import pytest

from gatepost.analysis.checks.public import BoundedRouter
from gatepost.net.lookups.mx import NotAllowed
from gatepost.policy.connectors.addresses import AddressPolicy


class Nothing:
    """Nobody is asked about an address."""

    async def query(self, name, rdtype):
        raise AssertionError(name, rdtype)


def addresses(address, *networks):
    router = BoundedRouter(Nothing(), random, AddressPolicy.of(networks))
    return asyncio.run(router.addresses(address)).addresses


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_what_is_inside_is_not_looked_at(address):
    with pytest.raises(NotAllowed) as refused:
        addresses(address, "192.168.0.0/16")
    assert refused.value.temporary  # the owner may give leave


@pytest.mark.parametrize("address", ["192.88.98.1", "8.8.8.8", "2a00::1", "10.1.2.3"])
def test_what_is_allowed_is(address):
    assert addresses(address, "10.0.0.0/8") == (address,)
