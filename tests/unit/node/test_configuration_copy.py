from __future__ import annotations

import asyncio

import pytest

from gatepost.node import configuration_copy
from gatepost.settings.model import Settings


@pytest.mark.parametrize(("days", "enabled"), [(0, True), (7, True), (7, False), (0, False)])
def test_a_node_has_the_lease_for_the_trace_only_to_remove_days_of_it(tmp_path, days, enabled):
    """A node without evidence that had one for both would keep all others from removing theirs, and the reverse."""
    settings = Settings(
        server={"hostname": "mx1.contoso.example", "data_dir": str(tmp_path)},
        trace={"days": days},
        evidence={"enabled": enabled},
    )
    parts = configuration_copy._parts(settings, 1)
    removing = {part.name: part.lease is not None for part in parts._parts if part.duties}
    asyncio.run(parts.close(0))
    trace, evidence = {"retention of the trace": True}, {"retention of the evidence log": False}
    assert removing == (trace if days else {}) | (evidence if enabled else {})
