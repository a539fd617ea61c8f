from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.tlsrpt.record import TlsRptRecord

RECORDS = {
    ("_smtp._tls.b.example", "TXT"): ['"v=TLSRPTv1; rua=mailto:tls@b.example,https://b.example/r"', '"other"'],
    ("_smtp._tls.bad.example", "TXT"): ['"v=TLSRPTv1; rua=ftp://b.example"'],
}


def asked(nameserver: Any, domain: str, **behaviour: Any) -> Any:
    async def run() -> Any:
        async with nameserver(RECORDS, **behaviour) as double:
            timeout = 0.2 if "silent" in double.behaviour.values() else 5
            resolver = Resolver(Nameservers([f"127.0.0.1:{double.port}"], timeout=timeout, attempts=1))
            return await report_record(resolver, domain)

    return asyncio.run(run())


def test_a_record_is_found_beside_others(nameserver: Any) -> None:
    assert asked(nameserver, "b.example") == TlsRptRecord(("mailto:tls@b.example", "https://b.example/r"))


def test_a_record_that_cannot_be_used(nameserver: Any) -> None:
    assert isinstance(asked(nameserver, "bad.example"), RecordError)


@pytest.mark.parametrize("domain", ["none.example", ".".join(["a" * 60] * 4)])
def test_no_record(nameserver: Any, domain: str) -> None:
    assert asked(nameserver, domain) is None


@pytest.mark.parametrize("behaviour", ["servfail", "silent", "explained"])
def test_what_cannot_be_told(nameserver: Any, behaviour: str) -> None:
    with pytest.raises(LookupFailed):
        asked(nameserver, "b.example", behaviour={"_smtp._tls.b.example": behaviour})
