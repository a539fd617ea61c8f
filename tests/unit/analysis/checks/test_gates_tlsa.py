"""What TLSA records say about a switch: made lookups, a clock of our own."""

from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates_tlsa import HostTlsa, TlsaObservation, observe, own_tlsa, tlsa_findings, tlsa_line
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import State
from gatepost.protocols.dane.match import DaneVerdict
from gatepost.protocols.dane.tlsa import MatchingType, Selector, Tlsa, TlsaLookup, TlsaStatus, Usage

HOST = "mx.a.example"
NOW = 1_795_528_790.0  # 2026-11-24T13:59:50Z
NEXT, OLD = (Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes([n]) * 32) for n in (1, 2))
USABLE = TlsaLookup(TlsaStatus.USABLE, "2 TLSA records", base=HOST)
MISSING = DaneVerdict(None, "another key")


def matched(record):
    return DaneVerdict(record, f"that of {record}")


def seen(entry=MISSING, other=None, ttl=600, status=TlsaStatus.USABLE, **fields):
    lookup = USABLE if status is TlsaStatus.USABLE else TlsaLookup(status, "why")
    return HostTlsa(HOST, lookup, entry, other, ttl, **fields)


BOTH, ONLY_OLD, ONLY_NEXT = seen(matched(NEXT), matched(OLD)), seen(MISSING, matched(OLD)), seen(matched(NEXT), MISSING)
SHARED = seen(matched(OLD), matched(OLD))
FAILED = seen(None, status=TlsaStatus.FAILED)
FIRST = TlsaObservation(NOW - 600, 600)

CASES = {
    "not there": (ONLY_OLD, TlsaObservation(), Mark.FAIL, "none for this certificate"),
    "there, and fresh": (BOTH, TlsaObservation(NOW, 600), Mark.FAIL, "wait until 2026-11-24 14:10Z"),
    "there, a second too fresh": (BOTH, TlsaObservation(NOW - 599, 600), Mark.FAIL, "wait until 2026-11-24 14:00Z"),
    "there for long": (BOTH, FIRST, Mark.PASS, "long enough"),
    "one for both": (SHARED, TlsaObservation(NOW, 600), Mark.PASS, "one record matches both certificates"),
    "the old one is gone already": (ONLY_NEXT, TlsaObservation(NOW, 600), Mark.WARN, "already defer"),
    "nothing is replaced": (seen(matched(NEXT)), FIRST, Mark.PASS, "long enough"),
    "no answer": (FAILED, TlsaObservation(), Mark.UNKNOWN, "cannot be looked up"),
    "no records": (seen(None, status=TlsaStatus.NONE), TlsaObservation(), Mark.INFO, "publishes no TLSA records"),
    "not signed": (seen(None, status=TlsaStatus.INSECURE), TlsaObservation(), Mark.INFO, "no DANE"),
    "of no use": (seen(None, status=TlsaStatus.UNUSABLE), TlsaObservation(), Mark.WARN, "senders cannot use"),
}


@pytest.mark.parametrize(("host", "sighting", "mark", "text"), CASES.values(), ids=CASES)
def test_a_certificate_that_is_to_become_current(entry, host, sighting, mark, text):
    (found,) = tlsa_findings(entry("new"), [host], {HOST: sighting}, now=NOW)
    assert (found.verdict, text in found.text) == (mark, True), found.text


def test_what_is_to_be_added_and_when_waiting_ends(entry):
    new = entry("new")
    (missing,) = tlsa_findings(new, [ONLY_OLD], {}, now=NOW)
    assert tlsa_line(HOST, new) in missing.fix
    assert tlsa_line(HOST, new) == f"_25._tcp.{HOST}. IN TLSA 3 1 1 {new.leaf.spki_sha256}"
    assert missing.until == 0.0
    (fresh,) = tlsa_findings(new, [BOTH], {HOST: TlsaObservation(NOW, 600)}, now=NOW)
    assert fresh.until == NOW + 600
    assert "plan the switch for 2026-11-24T14:10Z" in fresh.fix  # no earlier than it ends


def test_hosts_to_which_no_mail_comes(entry):
    new, quiet = entry("new"), seen(None, status=TlsaStatus.NONE, takes_mail=False)
    (found,) = tlsa_findings(new, [quiet], {}, now=NOW)
    assert "DANE does not apply" in found.text
    silent = seen(None, status=TlsaStatus.FAILED, takes_mail=False)
    assert [one.verdict for one in tlsa_findings(new, [quiet, silent], {}, now=NOW)] == [Mark.INFO]
    loud = seen(MISSING, matched(OLD), takes_mail=False)
    assert [one.verdict for one in tlsa_findings(new, [loud, seen(None, status=TlsaStatus.NONE)], {}, now=NOW)] == [
        Mark.FAIL,
        Mark.INFO,
    ]


SIGHTS = {
    # what was remembered, what is seen -> what is remembered
    "nothing before, nothing now": (TlsaObservation(), ONLY_OLD, TlsaObservation(0.0, 600)),
    "the longest time counts": (TlsaObservation(0.0, 3600), ONLY_OLD, TlsaObservation(0.0, 3600)),
    "first sight": (TlsaObservation(0.0, 3600), BOTH, TlsaObservation(NOW, 3600)),
    "first sight of all": (TlsaObservation(), BOTH, TlsaObservation(NOW, 600)),
    "seen before": (FIRST, BOTH, FIRST),
    "gone again": (FIRST, ONLY_OLD, TlsaObservation(0.0, 600)),
    "no answer changes nothing": (FIRST, FAILED, FIRST),
}


@pytest.mark.parametrize(("before", "host", "after"), SIGHTS.values(), ids=SIGHTS)
def test_what_is_remembered(before, host, after):
    assert observe(before, host, now=NOW) == after
    assert TlsaObservation().until == 0.0


@pytest.mark.parametrize(
    ("host", "mark", "text"),
    [
        (seen(matched(NEXT), matched(OLD)), Mark.INFO, "is still published"),
        (ONLY_NEXT, Mark.PASS, "the record for this certificate is published"),
        (SHARED, Mark.PASS, "the record for this certificate is published"),
        (seen(matched(NEXT)), Mark.PASS, "the record for this certificate is published"),
        (ONLY_OLD, Mark.FAIL, "none for the current certificate"),
        (FAILED, Mark.UNKNOWN, "cannot be looked up"),
    ],
)
def test_a_certificate_that_is_current(entry, host, mark, text):
    found = own_tlsa(entry("new", state=State.CURRENT), host)
    assert (found.verdict, text in found.text) == (mark, True)
    assert ("roll back" in found.fix) is (mark in {Mark.INFO, Mark.FAIL})
