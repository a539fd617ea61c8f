from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates import GateCheck, GateFinding
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.pages.certificate_forms import errors_of, public_part
from gatepost.manage.pages.certificate_view import label_of, life, pin_of, way_back
from gatepost.manage.pages.gate_checks import by_gate, gate_items
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.inventory import entry_from
from gatepost.policy.connectors.errors import FieldError
from gatepost.values import replace

DAY = 86400.0
IDENTITY = ServerIdentity(*Authority("View Root").issue(["mx.gate.example"]))
ENTRY = entry_from(IDENTITY, now=1.0)


def lasting(days):
    return replace(ENTRY, leaf=replace(ENTRY.leaf, not_before=0.0, not_after=days * DAY))


@pytest.mark.parametrize(
    ("days", "now", "level", "text"),
    [
        (90, 0, "pass", "90 of 90 days left"),
        (90, 70, "warn", "20 of 90 days left"),
        (90, 84, "fail", "6 of 90 days left"),
        (90, 89.5, "fail", "expires within a day"),
        (90, 91, "fail", "expired"),
        (6, 2, "pass", "4 of 6 days left"),
        (6, 4.5, "warn", "1 of 6 days left"),
        (6, 5.2, "fail", "expires within a day"),
        (90, -3, "warn", "valid in 4 days"),
    ],
)
def test_what_is_left_of_a_life(days, now, level, text):
    found = life(lasting(days), now * DAY)
    assert (found.level, found.text) == (level, text)
    assert 0 <= found.share <= 1


def test_how_long_a_switch_can_be_taken_back():
    switched = replace(ENTRY, state=State.CURRENT, replaces=("x",), current_from=1000.0)
    assert way_back(switched, 1000.0 + 3600).text == "23 h 0 min left"
    assert way_back(switched, 1000.0 + DAY - 60).level == "warn"
    assert way_back(switched, 1000.0 + DAY) is None
    assert way_back(ENTRY, 0.0) is None


def test_names_and_pins():
    assert label_of(ENTRY) == "mx.gate.example"
    assert label_of(replace(ENTRY, label="mail")) == "mail"
    assert len(pin_of(ENTRY)) == 44


def test_of_what_was_pasted_certificates_alone_are_shown_again():
    chain, key = IDENTITY.chain_pem.decode(), IDENTITY.key_pem.decode()
    assert public_part(f"{key}\n{chain}\nmore {key}").strip() == chain.strip()
    inside = chain.replace("-----END", f"{key}-----END")
    assert "PRIVATE" not in public_part(inside)
    assert public_part(key) == ""


def test_errors_stand_at_their_fields():
    assert errors_of(Refusal(RefusalKind.INPUT, "x", [FieldError("key", "is needed")])) == {"key": "Is needed"}
    assert errors_of(Refusal(RefusalKind.CONFLICT, "it is there")) == {"": "It is there"}


def test_gates_as_items():
    record = f"_25._tcp.mx.gate.example. IN TLSA 3 1 1 {'ab' * 32}"
    findings = [
        GateFinding(GateCheck.TLSA, Mark.PASS, "one is there"),
        GateFinding(GateCheck.TLSA, Mark.FAIL, "mx.gate.example has none", "seen", f"Add this to the zone: {record}"),
        GateFinding(GateCheck.PARTNERS, Mark.WARN, "1 was not told", fix="changeover notice ID"),
        GateFinding(GateCheck.KEY, Mark.PASS, "its key opens"),
        GateFinding(GateCheck.KEY, Mark.PASS, "and fits"),
    ]
    items = {one["key"]: one for one in gate_items(ENTRY, by_gate(findings))}
    assert list(items) == [str(one) for one in GateCheck]
    assert (items["tlsa"]["level"], items["tlsa"]["text"]) == ("fail", "mx.gate.example has none")
    worst = items["tlsa"]["findings"][0]
    assert (worst["records"], worst["fix"]) == ([record], "Add this to the zone:")
    assert items["key"]["text"] == "2 checks passed."
    assert "changeover notice" not in items["partners"]["findings"][0]["fix"]
    assert items["names"]["text"] == "Nothing to check."
    levels = {one["level"] for one in gate_items(ENTRY, {}, running=True)}
    assert levels == {"running"}
    client = replace(ENTRY, purpose=Purpose.CLIENT)
    assert [one["key"] for one in gate_items(client, {})] == ["key", "chain", "names", "partners"]
