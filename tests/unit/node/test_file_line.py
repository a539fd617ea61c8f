"""That a confined process reads files by it is tested in test_confinement.py, here and in tests/system."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from gatepost.node import file_line as module
from gatepost.node.file_line import FileLine, SettingsFiles
from gatepost.node.lifeline import Lifeline


@pytest.fixture
def place(tmp_path):
    """Files of settings, beside and in data_dir."""
    (tmp_path / "data").mkdir()
    for name in ("key", "other", "data/accounts"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("data/accounts")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture
def line(place):
    """Both ends in this process, which SIGIO must not end."""
    before = signal.signal(signal.SIGIO, lambda *_: None)
    names = ("key", "data/accounts", "link", "pipe", "missing")
    made = FileLine(SettingsFiles([str(place / name) for name in names], str(place / "data")))
    yield made
    made.close()
    made.release_child_end()
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def answered(line):
    """The supervisor, while a process asks."""
    ended = threading.Event()

    def answer():
        while not ended.wait(0.002):
            line.answer()

    thread = threading.Thread(target=answer)
    thread.start()
    yield line
    ended.set()
    thread.join()


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def as_many_files(before, timeout=30.0):
    """Whether so many are open again: who answers closes its own copy a moment after the asker has one."""
    end = time.monotonic() + timeout
    while open_files() != before and time.monotonic() < end:
        time.sleep(0.005)
    return open_files() == before


def test_the_file_that_is_there_now_is_handed_over(answered, place):
    before = open_files()
    for text in ("key", "new"):
        file = answered.ask(place / "key")
        assert not os.get_inheritable(file)
        with os.fdopen(file) as opened:
            assert opened.read() == text
        (place / "fresh").write_text("new")
        (place / "fresh").replace(place / "key")
    assert as_many_files(before)


@pytest.mark.parametrize("name", ["other", "data/accounts", "link", "pipe", "missing", "data", "."])
def test_others_are_not(answered, place, name):
    """What the settings do not name, what is in data_dir, whatever leads there, and what is not a file."""
    before = open_files()
    assert answered.ask(place / name) is None
    assert as_many_files(before)


def test_a_process_asks_by_number_alone(line, place):
    process = line._child
    for number in (5, 65535):
        process.send(module._REQUEST.pack(number, 1))
    line.answer()
    for _ in range(2):
        assert socket.recv_fds(process, 10, 1)[1] == []
    for nonsense in (b"", b"x", b"12345678", str(place / "key").encode()):
        process.send(nonsense)
    line.answer()
    process.setblocking(False)
    with pytest.raises(BlockingIOError):
        process.recv(10)


def test_a_process_that_floods_its_line_and_reads_nothing_holds_nobody_up(line):
    before = open_files()
    line._child.setblocking(False)
    request, sent = module._REQUEST.pack(0, 7), 0
    for _ in range(50):
        try:
            while True:
                line._child.send(request)
                sent += 1
        except BlockingIOError:
            line.answer()
    assert sent > 50 * module._AT_A_TIME / 2
    assert open_files() == before


def test_an_answer_that_came_too_late_is_not_taken_for_another(line, place, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    line._child.settimeout(0.05)
    assert line.ask(place / "key") is None, "nobody answers"
    line._child.settimeout(30)
    monkeypatch.setattr(module, "_SECONDS", 30)
    before = open_files()
    line.answer()
    late = threading.Timer(0.05, line.answer)
    late.start()
    (place / "key").write_text("new")
    with os.fdopen(line.ask(place / "key")) as opened:
        assert opened.read() == "new"
    late.join()
    assert open_files() == before


def test_without_a_supervisor_there_is_no_answer(line, place):
    line.close()
    line._child.settimeout(60)
    begun = time.monotonic()
    assert line.ask(place / "key") is None
    assert time.monotonic() - begun < 30, "nobody is waited for"


def test_the_supervisor_is_woken(line, place):
    woken = []
    signal.signal(signal.SIGIO, lambda *_: woken.append(True))
    line._child.send(module._REQUEST.pack(0, 1))
    for _ in range(500):
        if woken:
            break
        time.sleep(0.01)
    assert woken


def test_the_supervisor_takes_no_descriptors(line):
    """Closing one may take as long as whoever made it wants."""
    try:
        line._own.getsockopt(socket.SOL_SOCKET, module._PASS_RIGHTS)
    except OSError:
        pytest.skip("Linux before 6.16 knows no SO_PASSRIGHTS")
    with pytest.raises(PermissionError):
        socket.send_fds(line._child, [module._REQUEST.pack(0, 1)], [0])
    lifeline = Lifeline()
    with socket.socket(fileno=lifeline.child_end) as process, pytest.raises(PermissionError):
        socket.send_fds(process, [b"."], [0])
    lifeline.close()


def test_a_file_has_one_number_however_often_it_is_named(place):
    files = SettingsFiles(["/a/b", "/a//b", "/c"], str(place))
    assert [files.number(Path(name)) for name in ("/a/b", "/c", "/d")] == [0, 1, None]
