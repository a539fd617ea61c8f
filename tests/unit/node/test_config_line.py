"""That a confined worker has the configuration written by it is tested in tests/system/test_confinement.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from gatepost.node import config_line as module
from gatepost.node.config_line import LARGEST, ConfigLine, ConfigWriter
from gatepost.node.lifeline import Lifeline
from gatepost.store.config_requests import WRITE_ACCESS, ConfigReply, ConfigRequest, ReplyKind

NAME = Path("/proc/self/comm")


def echo(request):
    return ConfigReply(ReplyKind.DONE, len(request.content), request.note)


@pytest.fixture
def sigio():
    """It does not end this process, which has both ends of a line."""
    before = signal.signal(signal.SIGIO, lambda *_: None)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def line(sigio):
    made = ConfigLine("worker 0")
    yield made
    made.close()
    made.release_child_end()


@pytest.fixture
def served(line):
    """Somebody who serves the line until the test ends."""
    ended = threading.Event()

    def serve():
        while not ended.is_set():
            line.serve(echo)

    thread = threading.Thread(target=serve)
    thread.start()
    yield line
    ended.set()
    thread.join()


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("octets", [0, 1, 32 << 10, (32 << 10) + 1, 1 << 20, LARGEST - 1000])
def test_a_request_is_answered_whatever_its_size(served, octets):
    request = ConfigRequest(
        {"kind": {"name": {"deep": [1.5, None]}, "gone": None}}, {"a": bytes(octets), "b": None}, "why"
    )
    assert served.ask(request) == ConfigReply(ReplyKind.DONE, 2, "why")


def test_one_that_is_too_large_is_not_sent(line):
    reply = line.ask(ConfigRequest(content={"a": bytes(LARGEST)}))
    assert reply.kind is ReplyKind.DENIED
    assert not line.is_due()


def test_threads_get_their_own_answers(served):
    replies = {}
    threads = [
        threading.Thread(target=lambda note=str(number): replies.update({note: served.ask(ConfigRequest(note=note))}))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {note: reply.text for note, reply in replies.items()} == {str(number): str(number) for number in range(20)}


@pytest.mark.parametrize("content", [b"\xc1", b"\x81\xa4note\x01", b"\x91" * 100_000, b"\x81\xa8document\x81\xa1a\x01"])
def test_what_cannot_be_read_is_denied(served, monkeypatch, content):
    monkeypatch.setattr(module, "_encode", lambda _: content)
    before = module.msgpack_decoder
    monkeypatch.setattr(module, "msgpack_decoder", lambda kind: before(kind) if kind is ConfigRequest else lambda _: 1)
    real = module._answered
    seen = []
    monkeypatch.setattr(module, "_answered", lambda *words: seen.append(real(*words)) or seen[-1])
    served.ask(ConfigRequest())
    assert [reply.kind for reply in seen] == [ReplyKind.DENIED]
    assert len(seen[0].text) <= 1000


HOSTILE = [
    [b""],
    [b"short"],
    [module._HEADER.pack(7, LARGEST + 1, 0) + b"x"],
    [module._HEADER.pack(7, 100, 50) + b"x" * 50],
    [module._HEADER.pack(7, 100, 0) + b"x" * 10],
    [module._HEADER.pack(7, 100, 0) + b"x" * 10, module._HEADER.pack(8, 100, 10) + b"x" * 90],
    [module._HEADER.pack(7, 10, 0)] * 20,
]


@pytest.mark.parametrize("packets", HOSTILE)
def test_what_is_no_whole_request_holds_nobody_up_for_long(line, monkeypatch, packets):
    monkeypatch.setattr(module, "_REST_SECONDS", 0.1)
    for packet in packets:
        line._child.send(packet)
    line.serve(lambda _: pytest.fail("there was no request"))
    while line.is_due():
        line.serve(echo)


def test_a_request_that_was_given_up_does_not_spoil_the_next(line, monkeypatch):
    line._child.send(module._HEADER.pack(9, 100_000, 0) + b"x" * 10)
    thread = threading.Thread(target=line.serve, args=[echo])
    thread.start()
    assert line.ask(ConfigRequest(note="next")).text == "next"
    thread.join()


def test_nobody_answers_a_supervisor_that_is_gone_or_busy(line, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    assert line.ask(ConfigRequest()) is None
    line.close()
    assert line.ask(ConfigRequest()) is None


async def asked_on_loop(line):
    """Seconds until the answer is given up."""
    begun = time.monotonic()
    assert line.ask(ConfigRequest()) is None
    return time.monotonic() - begun


def test_an_event_loop_waits_briefly_also_for_a_thread_that_waits(line, monkeypatch):
    """All mail of the process waits with it."""
    monkeypatch.setattr(module, "_SECONDS", 60.0)
    monkeypatch.setattr(line, "_loop_seconds", 0.05)
    assert asyncio.run(asked_on_loop(line)) < 30.0
    thread = threading.Thread(target=line.ask, args=[ConfigRequest()])
    thread.start()
    until(line._lock.locked)
    assert asyncio.run(asked_on_loop(line)) < 30.0
    line.close()  # it hears that nobody answers
    thread.join()


def test_the_event_loop_of_a_process_without_mail_waits_for_longer(sigio, monkeypatch):
    """Or a node that joins would be told to try again, with a token that was used up a moment later."""
    monkeypatch.setattr(module, "_LOOP_SECONDS", 0.0)
    monkeypatch.setattr(module, "_OTHER_LOOP_SECONDS", 0.2)
    with contextlib.closing(ConfigLine("the site", takes_mail=False)) as line:
        assert asyncio.run(asked_on_loop(line)) >= 0.2
        line.release_child_end()


def test_a_process_that_asks_on_and_on_leaves_others_their_turn(line, monkeypatch):
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.05)
    packet = module._encode(ConfigRequest())
    for number in range(10):
        line._child.send(module._HEADER.pack(number, len(packet), 0) + packet)
    answers = []

    def slow(request):
        answers.append(request)
        time.sleep(0.1)
        return echo(request)

    line.serve(slow)
    assert len(answers) == 1
    assert line.is_due()


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(line, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    assert line.ask(ConfigRequest(note="first")) is None
    monkeypatch.undo()
    thread = threading.Thread(target=line.serve, args=[echo])
    thread.start()
    assert line.ask(ConfigRequest(note="second")).text == "second"
    thread.join()


def test_nothing_is_due_before_something_comes_or_when_the_end_is_closed(line):
    assert not line.is_due()
    line._child.send(b"x")
    assert line.is_due()
    other = ConfigLine("worker 1")
    other.release_child_end()
    assert not other.is_due()
    other.close()


def test_a_process_that_was_killed_before_it_read_its_reply_is_no_fault_of_the_writer(line):
    line._own.send(b"a reply that nobody reads")
    line.release_child_end()
    line.serve(echo)


def test_a_process_does_not_have_writers_started_without_end(line, monkeypatch):
    line._child.send(b"x")
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    assert sum(line.is_due() for _ in range(2000)) == int(module._BURST)
    now += 1.0
    assert sum(line.is_due() for _ in range(2000)) == int(module._A_SECOND)


def test_descriptors_are_not_taken(line):
    ours, theirs = socket.socketpair()
    with contextlib.suppress(OSError):  # a kernel that refuses them
        socket.send_fds(line._child, [b"x"], [ours.fileno()])
    before = open_files()
    line.serve(echo)
    assert open_files() == before
    ours.close()
    theirs.close()


def test_who_is_denied_waits_for_the_next_writer(line):
    """Each leaves a line in the log."""
    packet = module._encode(ConfigRequest())
    for number in range(3):
        line._child.send(module._HEADER.pack(number, len(packet), 0) + packet)
    answers = []
    line.serve(lambda request: answers.append(request) or ConfigReply(ReplyKind.DENIED, text="no"))
    assert len(answers) == 1
    line.serve(lambda request: answers.append(request) or echo(request))
    assert len(answers) == 3


# the writer


@pytest.fixture
def writer():
    """Its answers say which process they come from."""
    return ConfigWriter(
        lambda who: lambda request: ConfigReply(ReplyKind.DONE, os.getpid(), f"{who}: {request.note}"), lambda: None
    )


def reaped(writer):
    pid, status = os.waitpid(-1, os.WNOHANG)
    return bool(pid) and writer.ended(pid, status)


def asked(line, note=""):
    replies = []
    thread = threading.Thread(target=lambda: replies.append(line.ask(ConfigRequest(note=note))))
    thread.start()
    return thread, replies


def test_another_process_answers_and_ends(line, writer):
    thread, replies = asked(line, "hello")
    until(lambda: writer.look([line], lambda: None) or writer._pid)
    until(lambda: reaped(writer))
    thread.join()
    assert replies[0].text == "worker 0: hello"
    assert replies[0].version != os.getpid()
    assert not writer.ended(os.getpid(), 0)


def test_one_writer_runs_at_a_time_and_each_line_has_its_turn(line, writer):
    other = ConfigLine("worker 1")
    both = [asked(line), asked(other)]
    until(lambda: all(one.is_due() for one in (line, other)))
    names = []
    for _ in both:
        writer.look([line, other], lambda: None)
        first = writer._pid
        writer.look([line, other], lambda: None)
        assert writer._pid == first
        until(lambda: reaped(writer))
    for thread, replies in both:
        thread.join()
        names.append(replies[0].text)
    assert sorted(names) == ["worker 0: ", "worker 1: "]
    other.close()
    other.release_child_end()


@pytest.mark.parametrize("fault", [ValueError("x"), SystemExit(3)])
def test_a_writer_that_cannot_confine_itself_reads_nothing(line, caplog, monkeypatch, fault):
    def limit():
        raise fault

    monkeypatch.setattr(module, "_SECONDS", 1.0)
    writer = ConfigWriter(lambda _: echo, limit)
    thread, replies = asked(line)
    until(lambda: writer.look([line], lambda: None) or writer._pid)
    until(lambda: reaped(writer))
    thread.join()
    assert replies == [None]
    assert "was not finished" in caplog.text


@pytest.mark.skipif(not NAME.exists(), reason="needs /proc of Linux")
def test_a_writer_has_a_name_in_the_list_of_processes(line):
    def named(_who):
        return lambda _request: ConfigReply(ReplyKind.DONE, text=NAME.read_text().strip())

    writer = ConfigWriter(named, lambda: None)
    thread, replies = asked(line)
    until(lambda: writer.look([line], lambda: None) or writer._pid)
    until(lambda: reaped(writer))
    thread.join()
    assert replies[0].text == module.WRITER_NAME


def test_no_process_to_be_had_is_said(line, writer, monkeypatch, caplog):
    def no_process():
        raise OSError(11, "Resource temporarily unavailable")

    line._child.send(b"x")
    monkeypatch.setattr(module.os, "fork", no_process)
    writer.look([line], lambda: None)
    assert "no process can be started" in caplog.text
    assert not writer._pid


def test_a_process_uses_its_line(line):
    lifeline = Lifeline(config=line)
    try:
        lifeline.use()
        assert WRITE_ACCESS.ask == line.ask
    finally:
        WRITE_ACCESS.ask = None
        os.close(lifeline.child_end)
        lifeline.close()
