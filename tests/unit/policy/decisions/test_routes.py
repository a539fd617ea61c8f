from __future__ import annotations

import pytest

from gatepost.policy.decisions.requirement import Opportunistic, Source
from gatepost.policy.decisions.routes import NextHop


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [
        ("hq.b.example", 25, "hq.b.example:25"),
        ("2001:db8::1", 2525, "[2001:db8::1]:2525"),
        ("/run/lmtp", 0, "unix:/run/lmtp"),
    ],
)
def test_a_next_hop_is_written_as_administrators_write_it(host: str, port: int, place: str) -> None:
    assert NextHop(host, port, Opportunistic((Source("default"),))).place == place
