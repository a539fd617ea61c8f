"""The mail server double of the outbound tests, and a prober around it."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gatepost.analysis.checks.probe import Prober
from gatepost.analysis.checks.tasks import HostReport
from gatepost.mail.outbound.hop import HopOpener
from gatepost.mail.outbound.published import Lookups
from gatepost.net.lookups.mx import MailRouter
from gatepost.policy.decisions.requirement import Requirement
from gatepost.policy.decisions.routes import NextHop

_spec = importlib.util.spec_from_file_location(
    "outbound_conftest", Path(__file__).parents[2] / "mail" / "outbound" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_outbound = importlib.util.module_from_spec(_spec)
sys.modules["outbound_conftest"] = _outbound
_spec.loader.exec_module(_outbound)

authority, world, kit = _outbound.authority, _outbound.world, _outbound.kit


@dataclass
class Probing:
    """Probes of one host, mx.b.example, on loopback."""

    world: Any
    kit: Any
    options: dict[str, Any] = field(default_factory=dict)

    def prober(self, port: int = 25, lookups: Lookups | None = None) -> Prober:
        """To be made while the loop runs."""
        self.world.build()
        router = MailRouter(self.world.names, Random(1), own_names=("gate.example",))  # noqa: S311 - an order
        opener = HopOpener("gate.example", self.world.contexts, self.world.timeouts)
        return Prober(router, opener, port=port, lookups=lookups)

    def one(self, peer: Any, requirement: Requirement, host: str = "mx.b.example", **options: Any) -> HostReport:
        """The report on the only address."""

        async def run() -> list[HostReport]:
            async with peer:
                return await self.prober().probe(NextHop(host, peer.port, requirement), **options)

        (report,) = asyncio.run(run())
        return report


# What a drill tries, by what stops it.
CHANNEL = {
    "starttls-stripped",
    "starttls-refused",
    "handshake-broken",
    "response-injection",
    "response-injection-begun",
    "tls-1.0-only",
}
CHAIN = {"self-signed", "unknown-ca", "expired", "not-yet-valid", "chain-incomplete"}
NAME = {"wrong-name", "mx-redirected"}


@pytest.fixture
def probing(world: Any, kit: Any) -> Probing:
    return Probing(world, kit)
