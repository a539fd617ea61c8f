from __future__ import annotations

import pytest

from gatepost.protocols.dns.lookups import Records


@pytest.mark.parametrize(
    ("records", "void"),
    [
        (Records(), True),
        (Records(nxdomain=True), True),
        (Records(failure="x"), False),
        (Records((b"x",)), False),
        (Records(values=("x",)), False),
    ],
)
def test_void_lookups(records: Records, *, void: bool) -> None:
    assert records.is_void is void
