from __future__ import annotations

import json

import pytest

from gatepost.analysis.checks.partner_report import (
    DeliveryForecast,
    Finding,
    Mark,
    PartnerCheck,
    PolicyKind,
    Row,
    Stage,
    check_record,
    missed,
    worst,
)
from gatepost.policy.decisions.facts import HopFacts
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.values import replace

TLS = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "", resumed=False, server_name="")
STATIC = TlsFacts("TLSv1.2", "TLS_RSA_WITH_AES_128_GCM_SHA256", "", "", resumed=False, server_name="")
BLOCKED = Finding(Stage.DANE, Mark.FAIL, "wrong", stops=True)
OPEN = Finding(Stage.CONNECT, Mark.UNKNOWN, "silent", stops=True)
GOOD = Finding(Stage.EHLO, Mark.PASS, "fine")
ODD = Finding(Stage.CERTIFICATE, Mark.WARN, "old")


def row(preference: int | None, *findings: Finding, tls: TlsFacts | None = TLS, host: str = "mx") -> Row:
    return Row(host, preference, "192.0.2.1:25", PolicyKind.DANE, findings, HopFacts(host, "192.0.2.1:25", tls=tls))


def check(*rows: Row, findings: tuple[Finding, ...] = ()) -> PartnerCheck:
    return PartnerCheck("b.example", "partner", 1_795_528_800.0, 0.5, findings, rows)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (row(10, GOOD), DeliveryForecast.DELIVER),
        (row(10, GOOD, ODD), DeliveryForecast.DELIVER),
        (row(10, GOOD, tls=None), DeliveryForecast.CLEARTEXT),
        (Row("mx", 10, "", PolicyKind.DANE, ()), DeliveryForecast.CLEARTEXT),
        (row(10, OPEN, tls=None), DeliveryForecast.UNKNOWN),
        (row(10, OPEN, BLOCKED), DeliveryForecast.HOLD),
        (row(10, missed(Stage.TLS, Stage.CONNECT, "no connection"), OPEN), DeliveryForecast.UNKNOWN),
    ],
)
def test_what_a_row_means(found: Row, outcome: DeliveryForecast) -> None:
    assert found.outcome is outcome


CLEAR, SAFE, HELD, DARK = row(10, tls=None), row(10), row(10, BLOCKED), row(10, OPEN, tls=None)
WHOLE = [
    # rows -> the one that decides, what it says
    ((SAFE,), 0, "deliver"),
    ((HELD, row(20)), 1, "deliver"),
    ((HELD, row(20, tls=None)), 1, "cleartext"),
    ((SAFE, CLEAR), 1, "cleartext"),  # equals: it is chance
    ((row(5), CLEAR), 0, "deliver"),
    ((CLEAR, row(20)), 0, "cleartext"),
    ((HELD, DARK), 1, "unknown"),
    ((DARK, row(20)), 1, "deliver"),
    ((HELD, row(20, BLOCKED)), 0, "hold"),
]


@pytest.mark.parametrize(("rows", "place", "outcome"), WHOLE)
def test_what_all_rows_mean(rows: tuple[Row, ...], place: int, outcome: str) -> None:
    found = check(*rows)
    assert found.deciding is rows[place]
    assert found.outcome == outcome
    assert found.last_line.startswith(f"verdict={outcome} policy=dane ")


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [(BLOCKED, "hold"), (OPEN, "unknown"), (GOOD, "hold"), (Finding(Stage.DNS, Mark.FAIL, ""), "hold")],
)
def test_without_rows(finding: Finding, outcome: str) -> None:
    found = check(findings=(finding,))
    assert found.deciding is None
    assert found.outcome == outcome
    assert found.last_line.startswith(f"verdict={outcome} policy=- tls=- group=- ")
    assert check_record(found)["policy"] == ""


def test_the_last_line_has_its_keys_always() -> None:
    keys = ["verdict", "policy", "tls", "group", "fails", "warnings", "unknown"]
    for found in (check(), check(SAFE), check(CLEAR), check(row(1, ODD, BLOCKED, tls=STATIC))):
        assert [pair.partition("=")[0] for pair in found.last_line.split(" ")] == keys
    assert found.last_line == "verdict=hold policy=dane tls=TLSv1.2 group=- fails=1 warnings=1 unknown=0"


def test_what_was_not_reached_is_not_counted_but_is_never_a_pass() -> None:
    found = check(row(10, missed(Stage.TLS, Stage.CONNECT, "no connection"), OPEN), findings=(GOOD, ODD))
    assert found.counts == {Mark.UNKNOWN: 1, Mark.PASS: 1, Mark.WARN: 1}
    cell = found.rows[0].cell(Stage.TLS)
    assert cell is not None
    assert cell.verdict is Mark.UNKNOWN


def test_the_gravest_finding_is_shown() -> None:
    info = Finding(Stage.DNS, Mark.INFO, "")
    assert worst([]) is None
    assert worst([GOOD, info, ODD]) is ODD
    assert worst([ODD, OPEN]) is OPEN
    assert worst([OPEN, BLOCKED, BLOCKED]) is BLOCKED
    assert row(1, GOOD).cell(Stage.DNS) is None


def test_the_record_is_json_with_bounded_texts() -> None:
    long = Finding(Stage.EHLO, Mark.WARN, "t" * 9000, "e" * 9000, "fix", because=Stage.CONNECT)
    record = json.loads(json.dumps(check_record(check(row(10, long, GOOD), findings=(ODD,)))))
    assert record["hosts"][0]["stages"] == {"ehlo": "warn"}
    assert record["hosts"][0]["tls"]["version"] == "TLSv1.3"
    assert record["findings"][0]["verdict"] == "warn"
    written = record["hosts"][0]["findings"][0]
    assert len(written["text"]) == len(written["evidence"]) == 400
    assert written["because"] == "connect"
    assert check_record(check(Row("mx", None, "", PolicyKind.OPPORTUNISTIC, ())))["hosts"][0]["tls"] == {}


def test_a_row_that_is_looked_at_is_unknown_and_says_so() -> None:
    found = replace(row(10, GOOD), looking=Stage.TLS, transcript=("< 220 mx",))
    assert found.outcome is DeliveryForecast.UNKNOWN
    record = check_record(check(found, row(20)))
    assert [one["looking"] for one in record["hosts"]] == ["tls", ""]
    assert [one["transcript"] for one in record["hosts"]] == [["< 220 mx"], []]
