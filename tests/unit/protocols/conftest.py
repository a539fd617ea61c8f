from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gatepost.protocols.dns.lookups import DnsRecords, Query

type Zone = Mapping[str, DnsRecords]


@pytest.fixture
def answered() -> Callable[[Any, Zone], Any]:
    """Run an evaluation with a table: "NAME KIND" -> DnsRecords. Other names do not exist."""

    def run(evaluation: Any, zone: Zone) -> Any:
        try:
            query: Query = next(evaluation)
            while True:
                query = evaluation.send(zone.get(f"{query.name} {query.kind}", DnsRecords(nxdomain=True)))
        except StopIteration as stop:
            return stop.value

    return run
