"""What the trace has since a switch, and before."""

from __future__ import annotations

from gatepost.analysis.checks.changeover import Traffic, newly_failing, seen_partners, watch
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.trace import write_events

SWITCHED = 1_795_528_800.0  # 2026-11-24T14:00:00Z


def event(at, sender, *, kind="RECEIVE", version="TLSv1.3", reply=""):
    return TraceEvent(
        at=SWITCHED + at,
        event=kind,
        message="1",
        organization="contoso",
        direction="inbound",
        session="s",
        sender=sender,
        recipient="bob@contoso.example",
        tls_version=version,
        peer_address="192.0.2.9",
        reply=reply,
    )


EVENTS = [
    event(-3000, "a@bank.example"),
    event(-2000, "a@tax.example"),
    event(-1000, "a@clear.example", version=""),
    event(-4000, "a@early.example"),
    event(10, "a@TAX.example"),
    event(11, "a@clear.example", version=""),
    event(12, "a@bank.example", kind="REFUSE", version="", reply="530 5.7.0 Must issue a STARTTLS command first"),
    event(13, "a@bank.example", kind="REFUSE", version="", reply="550 5.1.1 nobody"),
    event(14, "a@bank.example", kind="REFUSE", reply="550 5.7.51 no"),
    event(15, "", version="TLSv1.2"),
    event(16, "a@bank.example", kind="SEND"),
    event(-10, "", kind="TLSFAIL", reply="unsupported protocol"),
    event(17, "", kind="TLSFAIL", reply="unsupported protocol"),
    event(18, "", kind="TLSFAIL", reply="unknown ca"),
]


def test_what_came_in(tmp_path):
    write_events(tmp_path, "w", EVENTS)
    since, before = watch(SqliteTrace(tmp_path), SWITCHED, SWITCHED + 60)
    old, new = ("192.0.2.9", "unsupported protocol"), ("192.0.2.9", "unknown ca")
    assert since == Traffic(2, 1, 1, {"tax.example", ""}, {old, new}, seconds=60.0)
    assert newly_failing(since, before) == [new]
    assert before == Traffic(2, 1, 0, {"bank.example", "tax.example"}, {old}, seconds=3600.0)
    longer = watch(SqliteTrace(tmp_path), SWITCHED, SWITCHED + 5000)[1]
    assert longer.domains == {"bank.example", "tax.example", "early.example"}


def test_who_was_seen_over_tls(tmp_path):
    write_events(tmp_path, "w", EVENTS)
    trace = SqliteTrace(tmp_path)
    assert seen_partners(trace, now=SWITCHED + 60) == {
        "bank.example": 1,
        "tax.example": 2,
        "early.example": 1,
    }
    assert seen_partners(trace, now=SWITCHED + 31 * 86400) == {}
