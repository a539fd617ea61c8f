from __future__ import annotations

import time
from threading import Thread
from types import SimpleNamespace

import pytest

from gatepost.analysis.reports.tls import Direction, Wanted
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases import reports as module
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import CountRequest, ReportCounts
from gatepost.store.sqlite import message_trace
from gatepost.store.sqlite.trace import write_events
from gatepost.store.sqlite.trace_files import day_of

NOW = time.time()
DAY = 86_400.0
WAIT = 30.0


def sent(at=NOW, organization="contoso", **more):
    return TraceEvent(at, "SEND", "01", organization, "originating", "s", "a@contoso.example", "b@lab.example", **more)


def asked(first=NOW - DAY, last=NOW, wanted=None):
    return CountRequest(wanted or Wanted(), day_of(first), day_of(last))


def settings_of(trace):
    """As far as they are read."""
    return SimpleNamespace(
        server=SimpleNamespace(data_dir=str(trace.parent), hostname="here"),
        store=SimpleNamespace(url="sqlite:", worker_url=""),
        trace=SimpleNamespace(subjects=True),
    )


def carried(counted):
    return counted.value.hops[Direction.OUTBOUND].carried


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "trace"


@pytest.fixture
def counts(trace):
    return ReportCounts(settings_of(trace), fresh=0.0)


@pytest.fixture
def tallied(monkeypatch):
    """Names of files that were opened to be counted, and after how many rows."""
    found = []
    real = message_trace.tally_file

    def tally(directory, file, after):
        found.append((file.name, after))
        return real(directory, file, after)

    monkeypatch.setattr(message_trace, "tally_file", tally)
    return found


def test_only_what_was_added_is_read_again(trace, counts, tallied):
    write_events(trace, "0", [sent(NOW - DAY), sent(NOW - DAY)])
    write_events(trace, "1", [sent()])
    assert carried(counts.of("ann", asked(), WAIT)) == 3
    assert [after for _, after in tallied] == [0, 0]
    write_events(trace, "1", [sent(), sent()])
    assert carried(counts.of("ann", asked(), WAIT)) == 5
    assert tallied[2:] == [(tallied[1][0], 1)]


def test_nobody_waits_for_the_first_count(trace, counts):
    write_events(trace, "0", [sent()])
    with counts.counting:  # somebody else counts
        assert counts.of("ann", asked(), 0.01) is None
    assert carried(counts.of("ann", asked(), WAIT)) == 1


def test_meanwhile_the_last_count_is_shown(trace, counts):
    write_events(trace, "0", [sent()])
    counts.of("ann", asked(), WAIT)
    write_events(trace, "0", [sent()])
    with counts.counting:
        old = counts.of("ann", asked(), 0.01)
        assert (carried(old), old.renewing) == (1, True)
    new = counts.of("ann", asked(), WAIT)
    assert (carried(new), new.renewing) == (2, False)
    assert new.at >= old.at


def test_a_fresh_count_is_not_looked_at_again(trace, tallied):
    counts = ReportCounts(settings_of(trace), fresh=60.0)
    write_events(trace, "0", [sent()])
    counts.of("ann", asked(), WAIT)
    write_events(trace, "0", [sent()])
    assert carried(counts.of("ann", asked(), WAIT)) == 1
    assert len(tallied) == 1


def test_what_was_taken_away_is_counted_no_more(trace, counts):
    write_events(trace, "0", [sent(NOW - DAY), sent()])
    assert carried(counts.of("ann", asked(), WAIT)) == 2
    (trace / f"{day_of(NOW - DAY)}.0.db").unlink()
    assert carried(counts.of("ann", asked(), WAIT)) == 1


def test_a_file_that_cannot_be_read_is_named(trace, counts):
    write_events(trace, "0", [sent()])
    (trace / f"{day_of(NOW)}.1.db").write_bytes(b"no database, but long enough to be taken for one" * 40)
    found = counts.of("ann", asked(), WAIT)
    assert carried(found) == 1
    assert found.value.unreadable == (f"{day_of(NOW)}.1.db",)


def test_what_fails_is_said_and_tried_again(trace, counts, monkeypatch):
    write_events(trace, "0", [sent()])
    with monkeypatch.context() as patch:
        patch.setattr(message_trace, "trace_files", lambda _: 1 / 0)
        with pytest.raises(Refusal) as refused:
            counts.of("ann", asked(), WAIT)
    assert refused.value.kind is RefusalKind.UNREADABLE
    time.sleep(0.01)
    assert carried(_told(counts)) == 1


def _told(counts):
    for _ in range(100):
        try:
            return counts.of("ann", asked(), WAIT)
        except Refusal:
            time.sleep(0.02)
    raise AssertionError


def test_questions_have_a_bound_and_do_not_mix(trace, counts):
    write_events(trace, "0", [sent(organization=f"o{number}") for number in range(8)])
    for number in range(8):
        question = asked(wanted=Wanted(f"o{number}"))
        assert carried(counts.of("ann", question, WAIT)) == 1
    assert len(counts._sums) <= module._KEPT


def test_many_at_once(trace, counts):
    write_events(trace, "0", [sent(organization=f"o{number}") for number in range(4)])
    found = []

    def ask(number):
        found.append(carried(counts.of("ann", asked(wanted=Wanted(f"o{number % 4}")), WAIT)))

    threads = [Thread(target=ask, args=(number,)) for number in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [1] * 12
