from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from gatepost.node import supervisor as module
from gatepost.node.supervisor import Supervisor
from gatepost.store.figures import WORKERS_DIRECTORY, read_ends, read_silent

# A supervisor in a process of its own. `say` writes at once and whole, from any process.
SCRIPT = """
import logging, os, signal, sys, time
from gatepost.node import supervisor

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)

def say(text):
    os.write(1, f"{text}\\n".encode())

def sleep(index, lifeline):
    say(f"worker {index} {os.getpid()}")
    while True:
        time.sleep(0.1)  # not pause(): a signal right before it would be handled after the next one only

def drains(index, lifeline):
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(3), say("drained"), os._exit(0)))
    sleep(index, lifeline)

exec(sys.argv[1])
workers, drain, supervisor._STABLE_SECONDS = int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
say(f"status {supervisor.Supervisor(workers, work, drain=drain).run()}")
"""


@pytest.fixture
def supervise(run):
    def start(work="work = sleep", workers=1, drain=10.0, stable=10.0):
        return run(SCRIPT, work, workers, drain, stable)

    return start


def pid(line):
    return int(line.split()[-1])


def open_files(process):
    """The number of open files once it stays the same: what a fork leaves in the parent is closed a moment later."""
    seen = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        seen.append(sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()))
        time.sleep(0.05)
    return seen[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_its_workers_until_it_is_told_to_stop(supervise, number):
    script = supervise(workers=3)
    workers = dict(script.expect("worker").split()[1:] for _ in range(3))
    assert sorted(workers) == ["0", "1", "2"]
    assert len(set(workers.values())) == 3
    script.signal(number)
    assert script.expect("status") == "status 0"
    assert script.ends() == 0


WRITER = """
import functools

class Writer:  # as `config_line.ConfigWriter`: a copy of the supervisor, with all that it has open
    without = ()
    pid = 0

    @property
    def is_running(self):
        return bool(self.pid)

    def look(self, lines, prepare):
        if lines and not self.pid:
            self.pid = os.fork()
            if not self.pid:
                say("writer begins")
                time.sleep(1)
                say("writer ends")
                os._exit(0)

    def ended(self, pid, status):
        is_ours, self.pid = pid == self.pid, 0 if pid == self.pid else self.pid
        return is_ours

work = sleep
supervisor.Supervisor = functools.partial(supervisor.Supervisor, writer=Writer())
"""


def test_a_change_of_the_configuration_ends_before_the_supervisor(supervise):
    """It has the sockets of the gateway, so that the next start could not listen."""
    script = supervise(WRITER)
    script.expect("writer begins")
    script.signal(signal.SIGTERM)
    script.expect("status")
    assert script.said[-2:] == ["writer ends", "status 0"]


def test_the_end_of_a_process_is_noted_for_alarms_in_a_few_words(supervise, tmp_path):
    """The alarm says what to do by itself, in the reader's language."""
    work = f"""
import functools, pathlib
supervisor.Supervisor = functools.partial(supervisor.Supervisor, data=pathlib.Path({str(tmp_path)!r}))
def work(index, lifeline):
    say(f"worker {{index}} {{os.getpid()}}")
    os._exit(7) if index else sleep(index, lifeline)
"""
    script = supervise(work, workers=2)
    while (line := script.expect("worker")).split()[1] != "0":
        pass
    os.kill(pid(line), signal.SIGKILL)
    script.expect("worker 0 ended")
    deadline = time.monotonic() + 10
    while len(ends := {end.name: end.how for end in read_ends(tmp_path / WORKERS_DIRECTORY)}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ends == {"worker 0": "signal 9 (SIGKILL)", "worker 1": "exit status 7"}
    script.signal(signal.SIGTERM)
    script.expect("status")


def test_a_worker_may_end_in_order(supervise):
    work = """
def work(index, lifeline):
    signal.signal(signal.SIGTERM, lambda *_: (say("drained"), os._exit(0)))
    sleep(index, lifeline)
"""
    script = supervise(work)
    script.expect("worker")
    script.signal(signal.SIGTERM)
    script.expect("drained")
    assert script.expect("status") == "status 0"


def test_what_runs_beside_the_workers_has_a_name_and_a_life_of_its_own(run):
    work = """
def beside(lifeline):
    say(f"beside {os.getpid()}")
    sleep(9, lifeline)
work = sleep
"""
    script = run(SCRIPT.replace("drain=drain)", "drain=drain, beside={'the side': beside})"), work, 1, 10.0, 0.0)
    lines = [script.expect(" ") for _ in range(3)]
    (first,) = [pid(line) for line in lines if line.startswith("beside")]
    os.kill(first, signal.SIGKILL)
    script.expect("ERROR the side ended with signal 9 (SIGKILL: the kernel does that when memory runs out")
    assert pid(script.expect("beside")) != first
    script.signal(signal.SIGTERM)
    assert script.expect("status") == "status 0"
    assert not any("worker 0 ended" in line for line in script.said)


def test_a_worker_that_dies_is_started_again_and_the_others_go_on(supervise):
    script = supervise(workers=2, stable=0.0)
    workers = {line.split()[1]: pid(line) for line in (script.expect("worker"), script.expect("worker"))}
    for _ in range(2):
        os.kill(workers["1"], signal.SIGKILL)
        assert re.fullmatch(
            r"ERROR worker 1 ended with signal 9 \(SIGKILL: .*journalctl -k\) after \d+ s; next start in 0 s",
            script.expect("ended with"),
        )
        line = script.expect("worker 1")
        assert pid(line) != workers["1"]
        workers["1"] = pid(line)
    script.signal(signal.SIGTERM)
    assert script.expect("status") == "status 0"
    assert script.ends() == 0
    assert not any("worker 0 ended" in line for line in script.said)


def test_a_worker_that_fails_is_logged_and_started_again_after_a_pause(supervise):
    work = """
def work(index, lifeline):
    say("worker")
    raise RuntimeError("on purpose")
"""
    script = supervise(work)
    script.expect("worker")
    begun = time.monotonic()
    script.expect("ERROR worker 0 failed")
    script.expect("RuntimeError: on purpose")
    assert re.search(r"worker 0 ended with 1 after \d+ s; next start in 1 s$", script.expect("ended with"))
    script.expect("worker")
    assert time.monotonic() - begun > 0.9
    script.signal(signal.SIGTERM)
    script.expect("status 0")


# (seconds lived, pause before) -> pause after
PAUSES = [
    ((0.1, 0.0), 1.0),
    ((0.1, 1.0), 2.0),
    ((9.9, 2.0), 4.0),
    ((0.1, 16.0), 30.0),
    ((0.1, 30.0), 30.0),
    ((10.1, 30.0), 0.0),
    ((1e6, 0.0), 0.0),
]


@pytest.mark.parametrize(("before", "pause"), PAUSES)
def test_who_dies_again_and_again_waits_longer_and_longer(before, pause):
    lived, paused = before
    supervisor = Supervisor(0, lambda _index, _lifeline: 0, drain=1)
    now = time.monotonic()
    worker = module._Worker("worker 0", lambda _lifeline: 0, pid=1, started=now - lived, pause=paused)
    supervisor._ended(worker, 1)
    assert (worker.pid, worker.pause) == (0, pause)
    assert abs(worker.restart_at - now - pause) < 1


def test_a_worker_that_the_system_has_no_process_for_is_tried_again(supervise, tmp_path):
    """Else the supervisor would end, and with it the workers that serve."""
    none_left = tmp_path / "none left"
    work = f"""
fork = os.fork

def limited():
    if os.path.exists({str(none_left)!r}):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = limited
work = sleep
"""
    script = supervise(work, workers=2)
    first, second = script.expect("worker"), script.expect("worker")
    none_left.touch()
    before = open_files(script.process.pid)
    os.kill(pid(first), signal.SIGKILL)
    for _ in range(2):
        script.expect("cannot be started: Resource temporarily unavailable")
    assert open_files(script.process.pid) == before - 1
    os.kill(pid(second), 0)
    none_left.unlink()
    assert script.expect("worker").split()[1] == first.split()[1]
    script.signal(signal.SIGTERM)
    assert script.ends() == 0


def test_settings_that_cannot_be_used_end_everything_with_2(supervise):
    work = """
begun = os.pipe()
def work(index, lifeline):
    if index == 0:
        say("worker 0")
        os.write(begun[1], b"12")
        time.sleep(600)
    os.read(begun[0], 1)  # one octet for each of the others
    return supervisor.CONFIGURATION_EXIT
"""
    script = supervise(work, workers=3)
    assert script.expect("worker") == "worker 0"
    assert script.expect("status") == "status 2"
    script.ends()
    assert len([line for line in script.said if line.startswith("worker")]) == 1


def test_what_breaks_later_does_not_end_those_that_serve(supervise, tmp_path):
    """A worker dies while a certificate is half renewed: the next one cannot start, and is tried again."""
    broken = tmp_path / "broken"
    work = f"""
def work(index, lifeline):
    if index == 1 and os.path.exists({str(broken)!r}):
        return supervisor.CONFIGURATION_EXIT
    sleep(index, lifeline)
"""
    script = supervise(work, workers=2, stable=0.0)
    workers = {line.split()[1]: pid(line) for line in (script.expect("worker"), script.expect("worker"))}
    broken.touch()
    os.kill(workers["1"], signal.SIGKILL)
    script.expect("ERROR worker 1 ended with 78 ")
    broken.unlink()
    while not (line := script.expect("worker 1 ")).startswith("worker 1 "):
        pass
    assert pid(line) != workers["1"]
    os.kill(workers["0"], 0)
    script.signal(signal.SIGTERM)
    assert script.expect("status") == "status 0"


STUBBORN = """
def work(index, lifeline):
    signal.signal(signal.SIGTERM, lambda *_: say("never"))
    sleep(index, lifeline)
"""


def test_a_worker_that_does_not_end_is_killed_when_its_time_is_over(supervise):
    script = supervise(STUBBORN, drain=0.3)
    script.expect("worker")
    begun = time.monotonic()
    script.signal(signal.SIGTERM)
    script.expect("never")
    script.expect("ERROR worker 0 did not end within 0 s, and is killed")
    script.expect("status 0")
    assert time.monotonic() - begun >= 0.3
    script.ends()


def test_who_asks_again_does_not_grant_more_time(supervise):
    script = supervise(STUBBORN, drain=0.5)
    script.expect("worker")
    deadline = time.monotonic() + 8
    while script.process.poll() is None and time.monotonic() < deadline:
        script.signal(signal.SIGTERM)
        time.sleep(0.1)
    assert script.process.poll() == 0


def test_sighup_reaches_every_worker_and_ends_none(supervise):
    work = """
def work(index, lifeline):
    signal.signal(signal.SIGHUP, lambda *_: say(f"again {index}"))
    sleep(index, lifeline)
"""
    script = supervise(work, workers=2)
    workers = [pid(script.expect("worker")) for _ in range(2)]
    script.signal(signal.SIGHUP)
    assert {script.expect("again"), script.expect("again")} == {"again 0", "again 1"}
    for one in workers:
        os.kill(one, 0)
    script.signal(signal.SIGTERM)
    script.expect("status 0")


def test_no_worker_outlives_a_supervisor_that_was_killed(supervise):
    work = """
def work(index, lifeline):
    say(f"worker {os.getpid()}")
    assert os.read(lifeline, 1) == b""
    say("alone")
    return 0
"""
    script = supervise(work, workers=2)
    script.expect("worker")
    script.expect("worker")
    script.signal(signal.SIGKILL)
    assert script.ends() == -signal.SIGKILL
    assert script.said.count("alone") == 2


def test_ports_are_closed_while_a_worker_drains(run):
    script = run(
        SCRIPT.replace("drain=drain)", "drain=drain, close_ports=lambda: say('closed'))"),
        "work = drains",
        1,
        10.0,
        10.0,
    )
    script.expect("worker")
    script.signal(signal.SIGTERM)
    script.expect("closed")
    assert script.expect("status") == "status 0"
    assert "drained" in script.said
    assert script.said.count("closed") == 1


# A supervisor that is a service: what it tells its manager goes to a socket that this test reads.
SERVICE = SCRIPT.replace(
    'say(f"status {supervisor.Supervisor(workers, work, drain=drain).run()}")',
    """
from pathlib import Path

from gatepost.node.lifeline import Sign, tell_supervisor
from gatepost.node.service_manager import ServiceManager

supervisor._SILENT_SECONDS = 0.6
manager = ServiceManager(sys.argv[5], watchdog=0.3)
watched = supervisor.Supervisor(
    workers, work, drain=drain, manager=manager, listening="mx at 127.0.0.1:25", on_reload=lambda: say("settings"),
    data=Path(sys.argv[5]).parent,
)
say(f"status {watched.run()}")
""",
)
OBEDIENT = """
def work(index, lifeline):
    signal.signal(signal.SIGHUP, lambda *_: (say(f"again {index}"), tell_supervisor(lifeline, Sign.RELOADED)))
    say(f"worker {index} {os.getpid()}")
    time.sleep(0.3 * index)
    tell_supervisor(lifeline, Sign.READY)
    while True:
        time.sleep(0.1)
        tell_supervisor(lifeline, Sign.ALIVE)
"""


BESIDE = """
logging.getLogger().setLevel(logging.INFO)

def slow(lifeline):
    time.sleep(0.7)
    say("the side answers")
    tell_supervisor(lifeline, Sign.READY)
    sleep(9, lifeline)

def silent(lifeline):
    sleep(9, lifeline)

def failing(lifeline):
    return 1
"""


# what runs beside the workers -> how long the line waits for it, whether it answers before, the line's end
@pytest.mark.parametrize(
    ("beside", "seconds", "answers", "end"),
    [("slow", 60, True, ""), ("silent", 1, False, "; not yet: the side"), ("failing", 1, False, "; not yet: the side")],
)
def test_the_log_says_ready_when_what_it_names_answers(run, tmp_path, beside, seconds, answers, end):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        script = run(
            SERVICE.replace("drain=drain,", f"drain=drain, beside={{'the side': {beside}}},"),
            "from gatepost.node.lifeline import Sign, tell_supervisor\n"
            + OBEDIENT
            + BESIDE
            + f"supervisor._ANNOUNCE_SECONDS = {seconds}\n",
            1,
            10.0,
            10.0,
            str(tmp_path / "notify"),
        )
        assert script.expect("ready: ") == f"INFO ready: mx at 127.0.0.1:25{end}"
        assert ("the side answers" in script.said) == answers
        script.signal(signal.SIGTERM)
        assert script.expect("status") == "status 0"


@pytest.fixture
def notified(run, tmp_path):
    """Starts a service; `heard` has every message to its manager, `until` waits for one that begins so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def start(work=OBEDIENT, workers=2, stable=10.0):
            script = run(SERVICE, work, workers, 5.0, stable, tmp_path / "notify")
            script.heard = []

            def until(text):
                while True:
                    script.heard.append(manager.recv(4096).decode())
                    if script.heard[-1].startswith(text):
                        return script.heard[-1]

            def silent(seconds):
                """No ping comes for so long, after those that were under way."""
                deadline = time.monotonic() + 15
                since = time.monotonic()
                manager.settimeout(0.1)
                while since + seconds > time.monotonic() < deadline:
                    with contextlib.suppress(TimeoutError):
                        if manager.recv(4096).startswith(b"WATCHDOG"):
                            since = time.monotonic()
                manager.settimeout(20)
                return time.monotonic() >= since + seconds

            script.until, script.silent = until, silent
            return script

        yield start


def test_the_service_manager_is_told_from_start_to_end(notified):
    script = notified()
    ready = script.until("READY=1")
    assert ready == "READY=1\nSTATUS=2 processes: mx at 127.0.0.1:25"
    starting = [text for text in script.heard if text.startswith("STATUS")]
    assert starting[0].endswith("worker 1 is starting")
    script.until("WATCHDOG=1")
    script.signal(signal.SIGHUP)
    reloading = script.until("RELOADING=1").split("\n")
    assert reloading[1].startswith("MONOTONIC_USEC=")
    assert script.until("READY=1") == ready
    script.expect("settings")
    assert {script.expect("again"), script.expect("again")} == {"again 0", "again 1"}
    script.signal(signal.SIGTERM)
    assert script.until("STOPPING=1") == "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping"
    assert script.expect("status") == "status 0"
    assert script.ends() == 0


def test_a_worker_that_hangs_ends_the_pings_and_is_known_to_status(notified, tmp_path):
    script = notified()
    hung = pid(script.expect("worker 1"))
    script.until("READY=1")
    script.until("WATCHDOG=1")
    os.kill(hung, signal.SIGSTOP)
    script.expect("ERROR worker 1 (process")
    assert script.until("STATUS=worker 1") == "STATUS=worker 1 does not answer"
    assert script.silent(1.5)
    assert read_silent(tmp_path / WORKERS_DIRECTORY) == {hung}
    os.kill(hung, signal.SIGCONT)
    script.until("WATCHDOG=1")
    assert read_silent(tmp_path / WORKERS_DIRECTORY) == frozenset()
    assert "STATUS=2 processes: mx at 127.0.0.1:25" in script.heard


def test_a_worker_that_starts_again_does_not_end_those_that_serve(notified):
    script = notified()
    died = pid(script.expect("worker 1"))
    script.until("READY=1")
    os.kill(died, signal.SIGKILL)
    script.until("STATUS=worker 1 ended and starts again")
    script.until("WATCHDOG=1")
    script.until("STATUS=2 processes")


def test_workers_that_all_end_again_and_again_end_the_pings(notified):
    work = "def work(index, lifeline):\n    time.sleep(0.1)\n    return 1\n"
    script = notified(work, workers=1)
    script.expect("worker 0 ended with 1")
    script.until("STATUS=worker 0 ended and starts again")
    assert script.silent(2.5)
    assert not any(text.startswith("READY") for text in script.heard)
