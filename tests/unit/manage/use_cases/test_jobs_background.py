from __future__ import annotations

import threading
import time

import pytest

from gatepost.manage.use_cases import jobs as module
from gatepost.manage.use_cases.jobs import BackgroundResults
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind


@pytest.fixture
def behind():
    return BackgroundResults(threading.Lock())


def test_what_is_quick_is_there_at_once_and_is_not_worked_out_again(behind):
    done = []
    first = behind.of("ann", "q", lambda: done.append(1) or "a", 10)
    assert (first.value, first.renewing) == ("a", False)
    assert abs(first.at - time.time()) < 60
    assert behind.of("ann", "q", lambda: done.append(2) or "b", 10).value == "a"
    assert done == [1]
    assert behind.of("ann", "other", lambda: "c", 10).value == "c"


def test_what_takes_long_is_asked_for_again_and_worked_out_once(behind):
    go, begun = threading.Event(), []

    def work():
        begun.append(1)
        assert go.wait(20)
        return "a"

    assert behind.of("ann", "q", work, 0) is None
    assert behind.of("ann", "q", work, 0.01) is None
    go.set()
    assert behind.of("ann", "q", work, 20).value == "a"
    assert begun == [1]


def test_an_old_answer_is_shown_while_a_newer_one_is_worked_out():
    behind = BackgroundResults(threading.Lock(), fresh=0.0)
    go = threading.Event()
    assert behind.of("ann", "q", lambda: "old", 20).value == "old"
    known = behind.of("ann", "q", lambda: go.wait(20) and "new", 0)
    assert (known.value, known.renewing) == ("old", True)
    go.set()
    end = time.monotonic() + 20
    while behind.of("ann", "q", lambda: "new", 0).value != "new":
        assert time.monotonic() < end
        time.sleep(0.001)


def test_an_answer_is_kept_as_long_as_it_was_dear():
    behind = BackgroundResults(threading.Lock(), fresh=0.0, worth=1000.0)
    done = []
    behind.of("ann", "q", lambda: time.sleep(0.05) or done.append(1), 20)
    time.sleep(0.1)
    assert behind.of("ann", "q", lambda: done.append(2), 0).renewing is False
    assert done == [1]


def test_a_refusal_is_raised_and_a_failure_is_told_without_its_text(behind, caplog):
    def refuse():
        raise Refusal(RefusalKind.MISSING, "it is gone")

    with pytest.raises(Refusal, match="it is gone"):
        behind.of("ann", "q", refuse, 20)
    with pytest.raises(Refusal, match="log says why") as raised:
        behind.of("ann", "other", lambda: 1 // 0, 20)
    assert "zero" not in raised.value.text
    assert "ZeroDivisionError" in caplog.text
    assert behind.of("ann", "third", lambda: 3, 20).value == 3


def test_questions_and_answers_are_bounded(monkeypatch):
    behind = BackgroundResults(threading.Lock(), kept=2)
    monkeypatch.setattr(module, "_WAITING", 3)
    go = threading.Event()
    behind.of("ann", 0, lambda: go.wait(20), 0)
    for number in range(1, 10):
        behind.of("ann", number, lambda: 1, 0)
    assert len(behind._asked) <= 3
    go.set()
    assert behind.of("ann", "last", lambda: 1, 20).value == 1
    assert len(behind._known) <= 2


def test_one_thing_at_a_time_is_worked_out():
    turn = threading.Lock()
    with turn:
        behind = BackgroundResults(turn)
        assert behind.of("ann", "q", lambda: 1, 0.05) is None
    assert behind.of("ann", "q", lambda: 1, 20).value == 1


def test_a_thread_that_cannot_be_started_now_is_started_for_the_next_question(behind, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(module.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            behind.of("ann", "q", lambda: "a", 10)
    assert behind.of("ann", "q", lambda: "a", 10).value == "a"


def no_thread(_thread):
    raise RuntimeError("can't start new thread")


def test_who_asks_much_delays_nobody_else_and_takes_no_answers_from_them():
    turn, done = threading.Lock(), []
    behind = BackgroundResults(turn, kept=4)

    def asked(user, number):
        return behind.of(user, (user, number), lambda: done.append(user) or number, 0)

    with turn:
        for number in range(50):
            asked("of fabrikam", number)
        asked("of contoso", 1)
        for number in range(50, 100):
            asked("of fabrikam", number)
    assert behind.of("of contoso", ("of contoso", 1), lambda: 2, 20).value == 1
    assert done.index("of contoso") <= 1
    for number in range(100, 110):
        assert behind.of("of fabrikam", ("of fabrikam", number), lambda: 3, 20).value == 3
    assert ("of contoso", 1) in behind._known


def test_what_two_ask_is_worked_out_once():
    turn, done = threading.Lock(), []
    behind = BackgroundResults(turn)
    with turn:
        for user in ("ann", "bob", "ann"):
            assert behind.of(user, "q", lambda: done.append(1) or "a", 0) is None
    assert behind.of("cleo", "last", lambda: "b", 20).value == "b"
    assert done == [1]
