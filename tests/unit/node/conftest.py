"""What the tests of processes share: scripts in a process of their own, and settings in tmp_path."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
import time
import traceback

import pytest
import tomlkit
from support.fork_server import fork_server

from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load

PATIENCE = 60.0


class Script:
    """A Python program that says lines; it is killed at the end with all that it started, whatever they do.

    It is forked from a process that has imported gatepost: to start Python took most of what these tests cost.
    """

    def __init__(self, text, *arguments):
        given, stdin = os.pipe()
        stdout, says = os.pipe()
        self.process = fork_server().fork(["-c", text, *map(str, arguments)], (given, says, says), os.environ)
        os.close(given)
        os.close(says)
        self.stdin, self._stdout = os.fdopen(stdin, "w"), os.fdopen(stdout)
        self.said = []
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def expect(self, text):
        """The next line that has the text in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no {text!r} in {self.said}"
            self.said.append(line)
            if text in line:
                return line

    def signal(self, number):
        os.kill(self.process.pid, number)

    def ends(self):
        """The exit status, when no process is left that could say something; all that was said is in `said`."""
        code = self.process.wait(PATIENCE)
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.said.append(line)
        return code

    def close(self):
        with contextlib.suppress(ProcessLookupError):  # what it started holds its output open: nobody may be left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # it may not lead a group yet
        self.process.wait()
        self.stdin.close()
        self._reader.join(PATIENCE)
        self._stdout.close()


@pytest.fixture
def run():
    """Starts scripts."""
    running = []

    def start(text, *arguments):
        running.append(Script(text, *arguments))
        return running[-1]

    yield start
    for script in running:
        script.close()


class Home:
    """A settings file with a data directory beside it, and the certificate it names."""

    def __init__(self, path, authority):
        self.path = path
        self.file = path / "gatepost.toml"
        self.data = path / "data"
        self.authority = authority
        self.chain, self.key, self.anchors = path / "mx.pem", path / "mx.key", path / "anchors.pem"
        self.anchors.write_bytes(authority.certificate_pem)
        self.issue()

    def issue(self, name="mx.gate.example"):
        chain, key = self.authority.issue([name])
        self.chain.write_bytes(chain)
        self.key.touch(0o600)
        self.key.write_bytes(key)

    def settings(self, **sections):
        document = {
            "server": {"hostname": "mx.gate.example", "data_dir": "data", "drain": 2},
            "tls": {"trust_anchors": "anchors.pem"},
            "certificate": [{"chain": "mx.pem", "key": "mx.key"}],
            "store": {"free_space": 0},
            **sections,
        }
        self.file.write_text(tomlkit.dumps(document), encoding="utf-8")
        return load(str(self.file), {})


@pytest.fixture
def forked():
    """Calls a function in a process of its own, whose confinement ends with it; returns what it returned, or raised."""

    def call(work):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                result = work()
            except OSError as error:
                result = error.errno
            except BaseException:  # noqa: BLE001 - the child ends here
                result = traceback.format_exc()
            os.write(theirs, pickle.dumps(result))
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            result = pickle.loads(file.read())  # noqa: S301 - our own
        os.waitpid(child, 0)
        return result

    return call


@pytest.fixture(scope="session")
def authority():
    return Authority("Node Root")


@pytest.fixture
def home(tmp_path, authority):
    return Home(tmp_path, authority)
