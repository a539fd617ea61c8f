"""Gates of a changeover in the language of the page: sentences are ours, evidence of others stays."""

from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.language import in_language
from gatepost.manage.pages.gate_checks import by_gate, gate_items, reasons_text
from gatepost.pki.certificates.entry import Purpose

RECORD = "_25._tcp.mx.example. IN TLSA 3 1 1 " + "ab" * 32
FINDINGS = (
    GateFinding(GateCheck.KEY, Mark.FAIL, "its private key cannot be opened", "its chain cannot be read", "Remove it."),
    GateFinding(
        GateCheck.TLSA,
        Mark.FAIL,
        "mx.example has TLSA records, but none for this certificate: senders that use DANE would not deliver",
        "",
        f"Add this record to the zone and keep the existing ones: {RECORD}",
    ),
    GateFinding(
        GateCheck.PARTNERS,
        Mark.WARN,
        "partners not yet notified (1 of 1): bank.example",
        "bank.example: 12 messages over TLS in the last 30 days",
    ),
)


class _Entry:
    purpose = Purpose.SERVER


@pytest.mark.parametrize(
    ("language", "key", "partners", "evidence", "fix"),
    [
        (
            "sv",
            "Dess privata nyckel kan inte öppnas",
            "Partner som inte har meddelats (1 av 1): bank.example",
            "bank.example: 12 meddelanden över TLS under de senaste 30 dagarna",
            "Lägg till denna post i zonen och behåll de som finns:",
        ),
        (
            "de",
            "Sein privater Schlüssel kann nicht geöffnet werden",
            "Noch nicht benachrichtigte Partner (1 von 1): bank.example",
            "bank.example: 12 Nachrichten über TLS in den letzten 30 Tagen",
            "Fügen Sie diesen Eintrag zur Zone hinzu, und behalten Sie die vorhandenen:",
        ),
    ],
)
def test_gates_speak_the_language(language, key, partners, evidence, fix):
    with in_language(language):
        items = {item["key"]: item for item in gate_items(_Entry(), by_gate(FINDINGS))}
    assert items["key"]["text"] == key
    assert items["key"]["findings"][0]["evidence"] == "its chain cannot be read", "others may have written it"
    assert items["partners"]["text"] == partners
    assert items["partners"]["findings"][0]["evidence"] == evidence
    assert items["tlsa"]["findings"][0]["fix"] == fix
    assert items["tlsa"]["findings"][0]["records"] == [RECORD]


def test_what_stops_a_switch_is_said_in_one_line():
    report = GateReport(_Entry(), 0.0, FINDINGS)
    with in_language("sv"):
        assert reasons_text(report).endswith(
            "men ingen för detta certifikat: avsändare som använder DANE skulle inte leverera"
        )
    assert "its private key cannot be opened; " in reasons_text(report)
