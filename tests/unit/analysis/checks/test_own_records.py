from __future__ import annotations

import asyncio
from types import SimpleNamespace

import dns.rdata
import pytest

from gatepost.analysis.checks.own_records import check_dkim, check_mx, check_reports, check_spf, check_tlsa
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus, classify
from gatepost.protocols.dkim.record import KeyRecord

A, B = "a" * 64, "b" * 64


class Zone:
    """Answers from a table; a name that is not in it has no records; an exception is raised."""

    dane_off = ""

    def __init__(self, records):
        self.records = records

    async def query(self, name, rdtype):
        found = self.records.get((name, rdtype), ())
        if isinstance(found, Exception):
            raise found
        rdata = tuple(dns.rdata.from_text("IN", rdtype, one) for one in found)
        return DnsAnswer(DnsStatus.OK if rdata else DnsStatus.NO_DATA, rdata, authentic=True, ttl=60, names=(name,))


LOST = LookupFailed("nobody answers")
KEY = KeyRecord("AAAA")


@pytest.mark.parametrize(
    ("texts", "verdict", "words"),
    [
        ([], "info", "no SPF record"),
        (['"unrelated"'], "info", "no SPF record"),
        (['"v=spf1 a:mx.gate.example -all"'], "pass", "names our hosts"),
        (['"v=spf1 +A:MX.gate.example -all"'], "pass", "names our hosts"),
        (['"v=spf1 include:x.example -all"'], "info", "does not name our hosts"),
        (['"v=spf1 -all"', '"v=spf1 ~all"'], "fail", "several"),
        (LOST, "unknown", "is not known"),
    ],
)
def test_spf(texts, verdict, words):
    found = asyncio.run(check_spf("c.example", ["mx.gate.example"], Zone({("c.example", "TXT"): texts})))
    assert (str(found.verdict), words in found.text) == (verdict, True)


@pytest.mark.parametrize(
    ("records", "verdicts"),
    [
        (["10 mx.gate.example."], ["pass"]),
        (["10 mx.gate.example.", "20 backup.example."], ["pass", "info"]),
        (["10 other.example."], ["warn"]),
        (["0 ."], ["fail"]),
        (LOST, ["unknown"]),
        (LookupFailed("bogus", temporary=False, bogus=True), ["fail"]),
    ],
)
def test_mx(records, verdicts):
    found = asyncio.run(check_mx("c.example", ["mx.gate.example"], Zone({("c.example", "MX"): records})))
    assert [str(one.verdict) for one in found] == verdicts


@pytest.mark.parametrize(
    ("text", "verdict"),
    [(['"v=DKIM1; p=AAAA"'], "pass"), (['"v=DKIM1; p=BBBB"'], "fail"), ([], "fail"), (LOST, "unknown")],
)
def test_dkim(text, verdict):
    name = "s._domainkey.c.example"
    assert str(asyncio.run(check_dkim(name, KEY, Zone({(name, "TXT"): text}))).verdict) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"), [(['"v=TLSRPTv1; rua=mailto:a@c.example"'], "pass"), ([], "info"), (LOST, "unknown")]
)
def test_reports(text, verdict):
    zone = Zone({("_smtp._tls.c.example", "TXT"): text})
    assert str(asyncio.run(check_reports("c.example", zone)).verdict) == verdict


def usable(*digests):
    return TlsaLookup(TlsaStatus.USABLE, "", classify([bytes.fromhex("030101" + one) for one in digests]))


@pytest.mark.parametrize(
    ("seen", "proven", "keys", "verdict"),
    [
        (usable(A), True, [A], "pass"),
        (usable(A), False, [A], "unknown"),
        (usable(A), True, [A, B], "warn"),
        (usable(A), True, [B], "fail"),
        (usable(A), True, [], "warn"),
        (TlsaLookup(TlsaStatus.NONE, ""), True, [A], "info"),
        (TlsaLookup(TlsaStatus.INSECURE, ""), True, [A], "info"),
        (TlsaLookup(TlsaStatus.UNUSABLE, ""), True, [A], "warn"),
        (TlsaLookup(TlsaStatus.FAILED, ""), True, [A], "unknown"),
        (TlsaLookup(TlsaStatus.FAILED, "", bogus=True), True, [A], "fail"),
    ],
)
def test_tlsa(seen, proven, keys, verdict):
    async def tlsa(host, domains):
        return seen, proven

    found = asyncio.run(check_tlsa("mx.gate.example", keys, SimpleNamespace(tlsa=tlsa)))
    assert str(found.verdict) == verdict
