from __future__ import annotations

import pytest

from gatepost.protocols.dns.lookups import DnsRecords


@pytest.mark.parametrize(
    ("records", "void"),
    [
        (DnsRecords(), True),
        (DnsRecords(nxdomain=True), True),
        (DnsRecords(failure="x"), False),
        (DnsRecords((b"x",)), False),
        (DnsRecords(values=("x",)), False),
    ],
)
def test_void_lookups(records: DnsRecords, *, void: bool) -> None:
    assert records.is_void is void
