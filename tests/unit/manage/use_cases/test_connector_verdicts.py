from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatepost.analysis.rehearsal.verdicts import ConnectorKey, Verdicts
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.store.sqlite import message_trace as module
from gatepost.store.sqlite.trace import TraceWriter, write_events

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
BANK = ConnectorKey("contoso", "outbound", "bank")
LAB = BANK._replace(name="lab")


def sent(at=NOON, event="SEND", connector="bank", **more):
    return TraceEvent(
        at,
        event,
        "01",
        "contoso",
        "originating",
        "s",
        "a@contoso.example",
        "b@bank.example",
        connector=connector,
        **more,
    )


@pytest.fixture
def counted(monkeypatch):
    """Names of files that were opened to be counted, in order."""
    found = []
    real = module.tally_file

    def tally(directory, file, after):
        found.append((file.name, after))
        return real(directory, file, after)

    monkeypatch.setattr(module, "tally_file", tally)
    return found


def test_the_last_days_count(gateway):
    trace = gateway.data / "trace"
    write_events(trace, "0", [sent(NOON - 6 * DAY), sent(), sent(event="HOLD", result_type="certificate-expired")])
    write_events(trace, "0", [sent(NOON - 7 * DAY)])
    write_events(trace, "1", [sent(connector="lab")])
    assert recent_verdicts(gateway, [BANK, LAB], now=NOON) == {BANK: Verdicts(2, 1), LAB: Verdicts(1, 0)}
    assert recent_verdicts(gateway, [BANK], days=1, now=NOON) == {BANK: Verdicts(1, 1)}
    unknown = BANK._replace(organization="fabrikam")
    assert recent_verdicts(gateway, [unknown], now=NOON) == {unknown: Verdicts()}


def test_without_a_trace_there_are_none(gateway):
    assert recent_verdicts(gateway, [BANK]) == {BANK: Verdicts()}


def test_what_was_counted_is_not_counted_again(gateway, counted):
    trace = gateway.data / "trace"
    write_events(trace, "0", [sent(), sent(NOON - DAY)])
    for _ in range(2):
        assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(2, 0)}
    assert counted == [("2025-11-23.0.db", 0), ("2025-11-24.0.db", 0)]
    write_events(trace, "0", [sent(), sent(event="FAIL", result_type="x")])
    assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(3, 1)}
    assert counted[2:] == [("2025-11-24.0.db", 1)]
    TraceWriter(trace, "0").close()  # seals the days that are over: the same rows, in one file
    assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(3, 1)}


def test_a_file_that_is_another_one_now_is_counted_whole(gateway):
    trace = gateway.data / "trace"
    write_events(trace, "0", [sent(), sent(), sent()])
    assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(3, 0)}
    for path in trace.glob("2025-11-24.0.db*"):
        path.unlink()
    write_events(trace, "0", [sent()])
    assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(1, 0)}


def test_a_file_that_cannot_be_read_hides_no_other(gateway, caplog):
    trace = gateway.data / "trace"
    write_events(trace, "0", [sent()])
    (trace / "2025-11-24.1.db").write_bytes(b"this is not a database" * 1000)
    assert recent_verdicts(gateway, [BANK], now=NOON) == {BANK: Verdicts(1, 0)}
    assert "2025-11-24.1.db cannot be counted" in caplog.text
