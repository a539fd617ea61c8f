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
    first = behind.of("q", lambda: done.append(1) or "a", 10)
    assert (first.value, first.renewing) == ("a", False)
    assert abs(first.at - time.time()) < 60
    assert behind.of("q", lambda: done.append(2) or "b", 10).value == "a"
    assert done == [1]
    assert behind.of("other", lambda: "c", 10).value == "c"


def test_what_takes_long_is_asked_for_again_and_worked_out_once(behind):
    go, begun = threading.Event(), []

    def work():
        begun.append(1)
        assert go.wait(20)
        return "a"

    assert behind.of("q", work, 0) is None
    assert behind.of("q", work, 0.01) is None
    go.set()
    assert behind.of("q", work, 20).value == "a"
    assert begun == [1]


def test_an_old_answer_is_shown_while_a_newer_one_is_worked_out():
    behind = BackgroundResults(threading.Lock(), fresh=0.0)
    go = threading.Event()
    assert behind.of("q", lambda: "old", 20).value == "old"
    known = behind.of("q", lambda: go.wait(20) and "new", 0)
    assert (known.value, known.renewing) == ("old", True)
    go.set()
    end = time.monotonic() + 20
    while behind.of("q", lambda: "new", 0).value != "new":
        assert time.monotonic() < end
        time.sleep(0.001)


def test_an_answer_is_kept_as_long_as_it_was_dear():
    behind = BackgroundResults(threading.Lock(), fresh=0.0, worth=1000.0)
    done = []
    behind.of("q", lambda: time.sleep(0.05) or done.append(1), 20)
    time.sleep(0.1)
    assert behind.of("q", lambda: done.append(2), 0).renewing is False
    assert done == [1]


def test_a_refusal_is_raised_and_a_failure_is_told_without_its_text(behind, caplog):
    def refuse():
        raise Refusal(RefusalKind.MISSING, "it is gone")

    with pytest.raises(Refusal, match="it is gone"):
        behind.of("q", refuse, 20)
    with pytest.raises(Refusal, match="log says why") as raised:
        behind.of("other", lambda: 1 // 0, 20)
    assert "zero" not in raised.value.text
    assert "ZeroDivisionError" in caplog.text
    assert behind.of("third", lambda: 3, 20).value == 3


def test_questions_and_answers_are_bounded(monkeypatch):
    behind = BackgroundResults(threading.Lock(), kept=2)
    monkeypatch.setattr(module, "_WAITING", 3)
    go = threading.Event()
    behind.of(0, lambda: go.wait(20), 0)
    for number in range(1, 10):
        behind.of(number, lambda: 1, 0)
    assert len(behind._asked) <= 3
    go.set()
    assert behind.of("last", lambda: 1, 20).value == 1
    assert len(behind._known) <= 2


def test_one_thing_at_a_time_is_worked_out():
    turn = threading.Lock()
    with turn:
        behind = BackgroundResults(turn)
        assert behind.of("q", lambda: 1, 0.05) is None
    assert behind.of("q", lambda: 1, 20).value == 1


def test_a_thread_that_cannot_be_started_now_is_started_for_the_next_question(behind, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(module.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            behind.of("q", lambda: "a", 10)
    assert behind.of("q", lambda: "a", 10).value == "a"


def no_thread(_thread):
    raise RuntimeError("can't start new thread")
