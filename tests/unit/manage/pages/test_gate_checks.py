"""Looks at gates that are made here: what they find, and when, is said by the test."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.pages import gate_checks
from gatepost.manage.pages.gate_checks import by_gate, followed, gate_items, keep, kept
from gatepost.manage.pages.gate_checks import checked_changeover as look_at
from gatepost.manage.use_cases.certificates import certificate as stored
from gatepost.manage.use_cases.changeover import ChangeoverCheck, GatesLimit
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.newest import Newest
from gatepost.pki.certificates.entry import Purpose
from gatepost.values import replace

from .conftest import MARKUP, OWNER, certificate

RECORD = f"_25._tcp.mx.a.example. IN TLSA 3 1 1 {'ab' * 32}"


class Threads:
    """Threads that were started, and what they ended with: joined, so that none outlives its test."""

    def __init__(self):
        self.errors, self._started = [], []

    def __call__(self, target, args=(), **named):
        def run():
            try:
                target(*args)
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.errors.append(error)

        self._started.append(Thread(target=run, **named))
        return self._started[-1]

    def join(self):
        for one in self._started:
            one.join(20)
            assert not one.is_alive()


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    made = Threads()
    monkeypatch.setattr(gate_checks, "Thread", made)
    yield made
    made.join()


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    monkeypatch.setattr(gate_checks, "_checks", Newest(gate_checks._KEPT))


@pytest.fixture
def looked(monkeypatch):
    """looked(*findings): what a look finds from then on, gate by gate. An error among them ends it."""

    def find(*found):
        def look(_, context, request):
            one = stored(context.gateway, request.certificate).entry
            for each in found:
                if isinstance(each, BaseException):
                    raise each
                if isinstance(each, Event):
                    assert each.wait(20)
                else:
                    context.on_progress(each.gate, [each])
            report = GateReport(one, time.time(), tuple(each for each in found if isinstance(each, GateFinding)))
            return ChangeoverCheck(one, {one.id: one}, report, None, (), report.at)

        monkeypatch.setattr(gate_checks, "execute", look)

    return find


def finding(gate=GateCheck.KEY, verdict=Mark.PASS, text="a text", **more):
    return GateFinding(gate, verdict, text, **more)


def gateway(path="/a"):
    return SimpleNamespace(data=path)


def look_of(entry, at=None):
    return ChangeoverCheck(entry, {}, None, None, (), time.time() if at is None else at)


# what is kept


def test_a_look_is_kept_for_an_hour_and_for_its_gateway(entry):
    one = entry("a")
    assert kept(gateway(), one.id) is None
    found = keep(gateway(), look_of(one))
    assert kept(gateway(), one.id) is found
    assert kept(gateway("/b"), one.id) is None
    assert kept(gateway(), entry("b").id) is None
    keep(gateway(), look_of(one, time.time() - 3601))
    assert kept(gateway(), one.id) is None


def test_of_very_many_the_oldest_are_forgotten(entry):
    many = [replace(entry("a"), id=f"{number:016}") for number in range(70)]
    for one in many[:60]:
        keep(gateway(), look_of(one))
    keep(gateway(), look_of(many[0]))  # looked at again
    for one in many[60:]:
        keep(gateway(), look_of(one))
    known = [kept(gateway(), one.id) is not None for one in many]
    assert sum(known) == 64
    assert (known[0], known[1], known[-1]) == (True, False, True)


# as items of a page


def test_gates_stand_in_their_order_whatever_is_known(entry):
    one = entry("a")
    assert [item["key"] for item in gate_items(one, {})] == list(map(str, GateCheck))
    assert {item["level"] for item in gate_items(one, {})} == {"waiting"}
    items = gate_items(one, {GateCheck.KEY: [finding()]}, running=True)
    assert [item["level"] for item in items] == ["pass", *["running"] * 6]
    client = replace(one, purpose=Purpose.CLIENT)
    assert [item["key"] for item in gate_items(client, by_gate([finding(GateCheck.TLSA)]))] == [
        "key", "chain", "names", "partners"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "level", "text"),
    [
        ((), "info", "Nothing to check."),
        ((Mark.PASS,), "pass", "Text 0"),
        ((Mark.PASS, Mark.INFO, Mark.PASS), "pass", "3 checks passed."),
        ((Mark.INFO, Mark.INFO), "info", "Text 0 (and 1 more)"),
        ((Mark.PASS, Mark.WARN, Mark.UNKNOWN), "unknown", "Text 2"),
        ((Mark.PASS, Mark.FAIL, Mark.FAIL, Mark.UNKNOWN), "fail", "Text 1 (and 1 more)"),
    ],
)
def test_the_worst_of_a_gate_counts(entry, verdicts, level, text):
    found = [finding(verdict=verdict, text=f"text {place}") for place, verdict in enumerate(verdicts)]
    item = gate_items(entry("a"), by_gate(found))[0]
    assert (item["level"], item["text"]) == (level, text)
    assert len(item["findings"]) == len(verdicts)


def test_records_are_taken_out_of_the_text_to_be_copied(entry):
    other = RECORD.replace("ab", "cd")
    one = finding(
        GateCheck.TLSA, Mark.FAIL, f"there is {RECORD}", evidence=RECORD, fix=f"Add {RECORD} {other}", until=7.0
    )
    (shown,) = gate_items(entry("a"), by_gate([one]))[3]["findings"]
    assert shown["records"] == [RECORD, other], "each once"
    assert (shown["fix"], shown["until"]) == ("Add", 7.0)
    (plain,) = gate_items(entry("a"), by_gate([finding()]))[0]["findings"]
    assert (plain["records"], plain["fix"], plain["until"]) == ([], "", None)


# looking


def context_of(centre):
    return Context(centre.gateway, OWNER, lambda: centre.accounts)


def test_one_waits_for_a_look_and_it_is_kept(sealing, looked):
    one = certificate(sealing)
    looked(finding())
    assert look_at(context_of(sealing), one.id) is kept(sealing.gateway, one.id)


@pytest.mark.parametrize("error", [Refusal(RefusalKind.MISSING, "gone"), OSError("disk")])
def test_a_look_that_fails_leaves_room_for_others(sealing, looked, error):
    one = certificate(sealing)
    looked(error)
    for _ in range(6):
        with pytest.raises(type(error)):
            look_at(context_of(sealing), one.id)
    looked(finding())
    assert look_at(context_of(sealing), one.id).report is not None


def test_few_run_at_a_time(sealing):
    one, gates = certificate(sealing), sealing.gateway.kept(GatesLimit)
    others = [replace(OWNER, name=name) for name in "aabb"]
    with ExitStack() as stack:
        for other in others:
            stack.enter_context(gates.slot(other.name))
        with pytest.raises(BusyRefusal):
            look_at(context_of(sealing), one.id)
        assert sealing.post(f"/certificates/{one.id}/gates").status == 429
        stream = sealing.get(f"/certificates/{one.id}/gates")
    assert "try again when one of them has finished" in stream.words
    assert stream.text.endswith("event: done\ndata: \n\n")


def test_who_follows_sees_each_gate_when_it_was_looked_at(sealing, looked):
    one = certificate(sealing)
    looked(finding(text="opens"), finding(GateCheck.CHAIN, Mark.FAIL, "is broken"))
    answer = sealing.get(f"/certificates/{one.id}/gates")
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, key, chain, whole, done = answer.text.split("\n\n")[:5]
    assert ("Opens" in first, "Opens" in key, "Is broken" in key) == (False, True, False)
    assert "Is broken" in chain
    assert "Nothing to check." in whole
    assert done == "event: done\ndata: "
    assert all(line.startswith("data: ") for part in (first, key, chain, whole) for line in part.splitlines())
    assert kept(sealing.gateway, one.id).report.light == "red"


@pytest.mark.parametrize(
    ("accepted", "begin", "end"),
    [
        ("sv-SE", ("Privat nyckel", "Körs"), ("Privat nyckel", "Underkänd", "Inget att kontrollera.")),
        ("de-DE", ("Privater Schlüssel", "Läuft"), ("Privater Schlüssel", "Nicht bestanden", "Nichts zu prüfen.")),
    ],
)
def test_a_stream_is_in_the_language_of_who_follows(sealing, looked, accepted, begin, end):
    """From the first event, which the event loop writes, to the last, which the thread does."""
    one = certificate(sealing)
    looked(finding(text="opens"), finding(GateCheck.CHAIN, Mark.FAIL, "is broken"))
    stream = sealing.get(f"/certificates/{one.id}/gates", accept_language=accepted)
    first, *_, whole, _done, _end = stream.text.split("\n\n")
    assert [text for text in begin if text not in first] == []
    assert [text for text in end if text not in whole] == []
    english = ("Private key", "Running", "Passed", "Failed", "Nothing to check")
    assert [text for text in english if text in stream.text] == []


def test_words_of_strangers_are_text_in_a_stream_too(sealing, looked):
    one = certificate(sealing)
    evil = f"{MARKUP}\n\nevent: done\ndata: x"
    looked(finding(GateCheck.CHAIN, Mark.FAIL, evil, evidence=evil, fix=evil))
    text = sealing.get(f"/certificates/{one.id}/gates").text
    assert "<script>" not in text
    assert text.count("\nevent: ") == 1, "nobody but us ends the stream"


def test_a_refusal_is_said_and_a_mistake_of_ours_is_not(sealing, looked, threads):
    one = certificate(sealing)
    looked(finding(text="opens"), Refusal(RefusalKind.UNREADABLE, f"the store {MARKUP}"))
    answer = sealing.get(f"/certificates/{one.id}/gates")
    assert "The store" in answer.words
    assert "<script>" not in answer.text
    assert kept(sealing.gateway, one.id) is None
    looked(finding(text="opens"), ValueError("secret=hunter2"))
    answer = sealing.get(f"/certificates/{one.id}/gates")
    assert "An internal error occurred. See the gateway's log." in answer.words
    assert "hunter2" not in answer.text
    assert answer.text.endswith("event: done\ndata: \n\n")
    threads.join()
    assert [str(error) for error in threads.errors] == ["secret=hunter2"], "for the log"


def request_of(centre):
    """What a handler would be given, as far as a stream looks at it."""
    accounts = centre.accounts
    app = SimpleNamespace(state=SimpleNamespace(gateway=centre.gateway, accounts=accounts))
    return SimpleNamespace(
        app=app,
        state=SimpleNamespace(csrf="", principal=OWNER),
        scope={"raw_path": b"/x", "client": ("127.0.0.1", 1), "state": {}},
        query_params=_Query(),
        cookies={},
    )


class _Query(dict):
    def multi_items(self):
        return []


def test_a_silent_look_says_that_it_is_there(sealing, looked, monkeypatch):
    monkeypatch.setattr(gate_checks, "_PULSE", 0.001)
    one, go = certificate(sealing), Event()
    looked(go, finding())

    async def follow():
        events = followed(request_of(sealing), one).body_iterator
        await anext(events)
        assert await anext(events) == b": still looking\n\n"
        go.set()
        return [event async for event in events]

    assert asyncio.run(follow())[-1] == b"event: done\ndata: \n\n"


def test_a_look_ends_though_whoever_followed_has_gone(sealing, looked, threads):
    one, go = certificate(sealing), Event()
    looked(go, finding())

    async def leave():
        events = followed(request_of(sealing), one).body_iterator
        await anext(events)
        with suppress(TimeoutError):
            async with asyncio.timeout(0):  # the thread begins, and there is nothing to wait for
                await anext(events)

    asyncio.run(leave())
    go.set()
    threads.join()
    assert threads.errors == [], "that the loop is closed is no mistake"
    assert kept(sealing.gateway, one.id) is not None
