from __future__ import annotations

from gatepost.protocols.dane.publication import TlsaLookup, TlsaStatus
from gatepost.protocols.dane.tlsa import RecordsKind


def test_what_asks_for_nothing_has_no_records() -> None:
    found = TlsaLookup(TlsaStatus.INSECURE, "nothing is proven")
    assert found.records.kind is RecordsKind.NONE
    assert (found.base, found.names, found.bogus) == ("", (), False)
