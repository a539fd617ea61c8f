"""Rules of the kernel about files, in a process of its own each, as they do not come off."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from gatepost.node import landlock
from gatepost.node.landlock import OLDEST, Access, landlock_version, restrict_files
from gatepost.node.privileges import forbid_new_privileges

needs_landlock = pytest.mark.skipif(landlock_version() < OLDEST, reason="this kernel has no Landlock")


@pytest.fixture
def place(tmp_path):
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    return tmp_path


def inside(place, work, *, rules=None, **options):
    def run():
        forbid_new_privileges()
        default = {place / "mine": Access.CHANGE, place / "theirs": Access.READ}
        restrict_files(default if rules is None else rules, **options)
        return work()

    return run


def result_of(work):
    """The name of the error, or "done"."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


ATTEMPTS = {
    "read mine": (lambda at: (at / "mine/file").read_text(), "done"),
    "write mine": (lambda at: (at / "mine/file").write_text("x"), "done"),
    "make mine": (lambda at: (at / "mine/new").touch(), "done"),
    "make a directory in mine": (lambda at: (at / "mine/folder").mkdir(), "done"),
    "remove mine": (lambda at: (at / "mine/file").unlink(), "done"),
    "list theirs": (lambda at: list((at / "theirs").iterdir()), "done"),
    "read theirs": (lambda at: (at / "theirs/file").read_text(), "done"),
    "write theirs": (lambda at: (at / "theirs/file").write_text("x"), "EACCES"),
    "truncate theirs": (lambda at: os.truncate(at / "theirs/file", 0), "EACCES"),
    "make in theirs": (lambda at: (at / "theirs/new").touch(), "EACCES"),
    "remove theirs": (lambda at: (at / "theirs/file").unlink(), "EACCES"),
    "move mine to theirs": (lambda at: (at / "mine/file").rename(at / "theirs/new"), "EACCES"),
    "move theirs to mine": (lambda at: (at / "theirs/file").rename(at / "mine/new"), "EACCES"),
    "link theirs into mine": (lambda at: (at / "mine/new").hardlink_to(at / "theirs/file"), "EACCES"),
    "write theirs over a link": (lambda at: (at / "link/file").write_text("x"), "EACCES"),
    "make a link": (lambda at: (at / "mine/new").symlink_to("/"), "EACCES"),
    "make a device": (lambda at: os.mkfifo(at / "mine/new"), "EACCES"),
    "make above": (lambda at: (at / "new").touch(), "EACCES"),
    "list above": (lambda at: list(at.iterdir()), "EACCES"),
    "read elsewhere": (lambda _: Path("/etc/passwd").read_bytes(), "EACCES"),
}


@needs_landlock
@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_no_rule_names_is_denied(place, forked, name):
    attempt, expected = ATTEMPTS[name]
    found = forked(inside(place, lambda: result_of(lambda: attempt(place))))
    assert found in ({expected, "EXDEV"} if expected == "EACCES" else {expected})
    if expected == "EACCES":
        assert forked(lambda: result_of(lambda: attempt(place))) == "done", "else it would prove nothing"


@needs_landlock
def test_children_and_threads_are_held_too(place, forked):
    def work():
        results = []
        thread = threading.Thread(target=lambda: results.append(result_of((place / "new").touch)))
        thread.start()
        thread.join()
        child = os.fork()
        if child == 0:
            os._exit(result_of((place / "new").touch) == "EACCES")
        return [*results, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

    assert forked(inside(place, work)) == ["EACCES", 1]


@needs_landlock
def test_links_and_missing_paths_are_left_out(place, forked):
    rules = {place / "link": Access.CHANGE, place / "nothing": Access.CHANGE, place / "mine/file": Access.CHANGE}
    work = inside(
        place,
        lambda: [result_of((place / name).read_bytes) for name in ("theirs/file", "mine/file")],
        rules=rules,
    )
    assert forked(work) == ["EACCES", "done"]


@needs_landlock
@pytest.mark.skipif(landlock_version() < 4, reason="this version knows nothing of ports")
@pytest.mark.parametrize(
    ("isolated", "allowed", "result"),
    [(False, False, "done"), (True, False, "EACCES"), (True, True, "done")],
)
def test_a_process_that_does_not_listen_has_no_port_of_its_choice(place, forked, isolated, allowed, result):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    def work():
        results = []
        for number in (port, 0):
            with socket.socket() as one:
                results.append(result_of(lambda number=number, one=one: one.bind(("127.0.0.1", number))))
        return results

    confined = inside(place, work, isolated=isolated, port=port if allowed else 0)
    assert forked(confined) == [result, "done"]


@needs_landlock
@pytest.mark.skipif(landlock_version() < 6, reason="this version knows nothing of signals")
def test_no_signal_reaches_a_process_outside(place, forked):
    outside = os.getppid()
    assert forked(inside(place, lambda: result_of(lambda: os.kill(outside, 0)), isolated=True)) == "EPERM"
    assert forked(inside(place, lambda: result_of(lambda: os.kill(outside, 0)))) == "done"
    assert forked(inside(place, lambda: os.kill(os.getpid(), 0), isolated=True)) is None


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7, 99])
def test_each_version_is_told_only_what_it_knows(monkeypatch, version):
    calls = []
    monkeypatch.setattr(landlock, "landlock_version", lambda: version)
    monkeypatch.setattr(landlock, "_called", lambda *words: calls.append(words) or os.open("/dev/null", os.O_RDONLY))
    restrict_files({}, isolated=True)
    (_, attributes, size, _), *_ = calls
    handled, ports, scopes = (int.from_bytes(attributes[at : at + 8], "little") for at in (0, 8, 16))
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    assert (handled, ports, scopes, size) == ((1 << bits) - 1, int(version >= 4), 3 * (version >= 6), 24)


def test_a_kernel_without_it_is_said(monkeypatch, forked, tmp_path):
    class Without:
        @staticmethod
        def syscall(*_):
            return -1

    monkeypatch.setattr(landlock, "_libc", Without)
    assert landlock_version() == 0
    with pytest.raises(OSError, match="Landlock"):
        restrict_files({tmp_path: Access.READ})
