"""Proves what somebody who has taken over a worker or the admin centre can still do: attempts to get out, from within.

The attempts run where the process's own work begins: in processes that the real `gatepost serve` has started, bound,
forked and confined, and which go on to serve. The same attempts with `confine = false` prove that they would work.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from support.admin import served
from support.gateway import Gateway
from support.postgres import sqlite_only
from support.scenes import contoso, send

from gatepost.node.landlock import landlock_version
from gatepost.node.system_calls import is_filter_known
from gatepost.testing.process import free_port, wait_until

VERSION = landlock_version()
pytestmark = pytest.mark.skipif(
    VERSION < 2 or not is_filter_known(), reason="this kernel confines no process (Landlock of Linux 5.19, seccomp)"
)

ATTEMPTS = r"""
import apsw, ctypes, errno, json, os, socket, subprocess, sys, threading
from contextlib import closing
from importlib import import_module
from pathlib import Path
from gatepost.net.named_files import FILE_HELP
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"

def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")

def append(path):
    with open(path, "ab"):
        pass

def in_thread(work):
    caught = []
    def run():
        try:
            work()
        except OSError as error:
            caught.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if caught:
        raise caught[0]

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "")

def program_in_memory():
    file = os.memfd_create("program")
    os.write(file, Path("/bin/true").read_bytes())
    os.execve(file, ["true"], {})

def listen(port):
    with socket.socket() as one:
        one.bind(("127.0.0.1", port))

def from_supervisor(path):
    line = getattr(FILE_HELP.ask, "__self__", None)
    if line is None:  # nothing is confined, so that nobody asks
        raise PermissionError(errno.EACCES, "")
    file = None if path is None else line.ask(path)
    for number in range(200) if path is None else ():
        line._child.send(number.to_bytes(2, sys.byteorder) + b"xx")
        answer, files, _, _ = socket.recv_fds(line._child, 4, 1)
        names = {os.readlink(f"/proc/self/fd/{one}") for one in files}
        file = file or any("/access.db" in name or "/admin/" in name or name == "/etc/passwd" for name in names)
    if not file:
        raise PermissionError(errno.EACCES, "")

def ask(settings, document, content=None):
    with closing(Storage.of(settings).configuration()) as store:
        try:
            store.apply(document, author="mallory", content=content or {})
        except StoreFailure as failure:
            raise PermissionError(errno.EACCES, str(failure)) from failure

def directly(settings):
    with closing(apsw.Connection(str(Path(settings.server.data_dir) / "config.db"))) as one:
        try:
            one.execute("UPDATE resource SET version = version")
        except apsw.Error as error:
            raise PermissionError(errno.EACCES, str(error)) from error

def on_configuration(settings, data):
    for name in ("config.db", "config.db-wal", "config.db-shm"):
        yield f"write {name}", lambda name=name: append(data / name)
    index, moved = data / "config.db-shm", data / "moved"
    yield "move the configuration", lambda: index.rename(moved).rename(index)
    yield "write the configuration by SQLite", lambda: directly(settings)
    for kind in ("certificate_directory", "certificate", "grant", "site_token"):
        yield f"ask for a change of {kind}", lambda kind=kind: ask(settings, {kind: {"mine": {"node": ""}}})
        yield f"ask to remove {kind}", lambda kind=kind: ask(settings, {kind: {"mine": None}})
    for place in ("password-secret", "srs", "acme/http-01/abcdefghijklmnopqrst", "certificate/0123456789abcdef/key"):
        yield f"ask to store {place}", lambda place=place: ask(settings, {}, {place: b"mine"})

def in_its_place(key, queue):
    mine = queue / "mine"
    mine.write_bytes(key.read_bytes())
    mine.rename(key)

def on_evidence_key(keys, queue):
    key, public = keys / "signing.key", keys / "mine.pem"
    yield "write the evidence key", lambda: append(key)
    yield "replace the evidence key", lambda: in_its_place(key, queue)
    yield "remove the evidence key", lambda: key.rename(queue / "moved").rename(key)
    yield "add a public key", lambda: (public.write_bytes(next(keys.glob("*.pem")).read_bytes()), public.unlink())
    yield "make a file beside the evidence key", lambda: ((keys / "mine").touch(), (keys / "mine").unlink())
    yield "make a link beside the evidence key", lambda: (public.symlink_to(key), public.unlink())
    yield "make a directory beside the evidence key", lambda: ((keys / "mine").mkdir(), (keys / "mine").rmdir())
    yield "move the evidence keys", lambda: keys.rename(keys.with_name("moved")).rename(keys)

def attempts(settings, data, config, port):
    supervisor = os.getppid()
    accounts = data / "access.db"
    yield "read the accounts", lambda: accounts.read_bytes()
    yield "write the accounts", lambda: append(accounts)
    yield "write the accounts in a thread", lambda: in_thread(lambda: append(accounts))
    yield "write the accounts in a child", lambda: in_child(lambda: append(accounts))
    yield "read the key of the admin centre", lambda: (data / "admin/key.pem").read_bytes()
    if WHERE.endswith(":run_worker"):  # the admin centre may change it, and workers begin with it at the same time
        yield from on_configuration(settings, data)
        yield from on_evidence_key(data / "evidence-keys", data / "queue")
        yield "read the evidence key", lambda: (data / "evidence-keys/signing.key").read_bytes()
    yield "write the settings", lambda: append(config)
    yield "write a program", lambda: append(data.parent / "program")
    yield "make a file in data_dir", lambda: (data / "mine").touch()
    yield "make a file beside data_dir", lambda: (data.parent / "mine").touch()
    yield "link the accounts into the queue", lambda: (data / "queue/accounts").hardlink_to(accounts)
    yield "move the accounts", lambda: accounts.rename(data / "moved.db")
    yield "remove the accounts", lambda: (data / "moved.db" if (data / "moved.db").exists() else accounts).unlink()
    yield "execute", lambda: subprocess.run(["/bin/true"], check=True)
    yield "execute in a child", lambda: in_child(lambda: os.execv("/bin/true", ["true"]))
    yield "execute a program in memory", lambda: in_child(program_in_memory)
    yield "trace the supervisor", lambda: call(101 if X86 else 117, 0x4206, supervisor, 0, 0)
    yield "read the supervisor's memory", lambda: open(f"/proc/{supervisor}/mem", "rb").close()
    yield "signal the supervisor", lambda: os.kill(supervisor, 0)
    yield "listen", lambda: listen(port)
    yield "make a namespace", lambda: in_child(lambda: call(272 if X86 else 97, 0x10000000))
    yield "make a ring of system calls", lambda: call(425, 1, ctypes.create_string_buffer(200))
    yield "write the queue", lambda: ((data / "queue/mine").touch(), (data / "queue/mine").unlink())
    yield "have the supervisor open the accounts", lambda: from_supervisor(accounts)
    yield "have the supervisor open a file of any number", lambda: from_supervisor(None)
    yield "read a file of the machine", lambda: Path("/etc/passwd").read_bytes()

def outcome(work):
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def first(settings):
    data, config, port = Path(settings.server.data_dir), Path(sys.argv[sys.argv.index("--config") + 1]), int(PORT)
    outcomes = {name: outcome(work) for name, work in attempts(settings, data, config, port)}
    print("ATTEMPTS", json.dumps(outcomes), flush=True)

PORT = sys.argv.pop(1)
WHERE = sys.argv.pop(1)
module = import_module(WHERE.partition(":")[0])
real = getattr(module, WHERE.partition(":")[2])
setattr(module, WHERE.partition(":")[2], lambda settings, *words: (first(settings), real(settings, *words))[1])
from gatepost.manage.cli import main
main(prog_name="gatepost")
"""
WORKER = "gatepost.manage.cli.serve:run_worker"
ADMIN_CENTRE = "gatepost.manage.cli.admin_centre:run_admin_centre"

ALLOWED = {"write the queue", "read a file of the machine", "read the evidence key"}
BY_FILTER = {
    "execute",
    "execute in a child",
    "execute a program in memory",
    "trace the supervisor",
    "make a namespace",
    "make a ring of system calls",
}
FOR_THE_ADMIN_CENTRE = {
    "read the accounts", "write the accounts", "write the accounts in a thread", "write the accounts in a child",
    "read the key of the admin centre", "make a file in data_dir", "link the accounts into the queue",
    "move the accounts", "remove the accounts", "listen", "signal the supervisor",
}  # fmt: skip
NEWER = {"listen": 4, "signal the supervisor": 6}  # versions of Landlock


@pytest.fixture
def attempted(gateway: Callable[..., Gateway]) -> Callable[..., tuple[Gateway, dict[str, str]]]:
    """A gateway that serves, and what came of each attempt from within one of its processes."""

    def run(where: str, **server: Any) -> tuple[Gateway, dict[str, str]]:
        made = gateway(
            contoso(),
            settings={"server": server, "admin": {"address": f"127.0.0.1:{free_port()}"}},
        )
        made.cli("user", "setup", expect=None)
        wait_until((made.data_dir / "admin/key.pem").exists, "the admin centre")
        made.stop()
        for path in (made.folder / "program", made.data_dir / "access.db"):
            path.touch()
        made._program = [sys.executable, "-c", ATTEMPTS, str(free_port()), where]
        made.start()
        found = wait_until(lambda: re.search(r"^ATTEMPTS (.*)$", made.log(), re.MULTILINE), "the attempts")
        return made, json.loads(found[1])

    return run


def expected(name: str, allowed: set[str]) -> set[str]:
    if name in allowed or NEWER.get(name, 0) > VERSION:
        return {"done"}
    return {"EPERM"} if name in BY_FILTER else {"EACCES", "EPERM", "EXDEV"}


@sqlite_only("accounts are in a file")
def test_nothing_leads_out_of_a_worker(attempted: Callable[..., tuple[Gateway, dict[str, str]]]) -> None:
    server, outcomes = attempted(WORKER)
    assert len(outcomes) > 20
    assert {name: found for name, found in outcomes.items() if found not in expected(name, ALLOWED)} == {}
    send(server.port, "ann@contoso.example")
    assert server.wait_maildir("ann@contoso.example")


@sqlite_only("accounts are in a file")
def test_the_admin_centre_changes_what_is_stored_and_nothing_else(
    attempted: Callable[..., tuple[Gateway, dict[str, str]]],
) -> None:
    _, outcomes = attempted(ADMIN_CENTRE)
    allowed = ALLOWED | FOR_THE_ADMIN_CENTRE
    assert {name: found for name, found in outcomes.items() if found not in expected(name, allowed)} == {}


@sqlite_only("accounts are in a file")
def test_the_attempts_succeed_where_nothing_is_confined(
    attempted: Callable[..., tuple[Gateway, dict[str, str]]],
) -> None:
    """Else the tests above would prove nothing. What other settings of the machine may deny is left out."""
    server, outcomes = attempted(WORKER, confine=False)
    others = {"trace the supervisor", "read the supervisor's memory", "make a namespace", "make a ring of system calls"}
    others |= {name for name in outcomes if name.startswith("have the supervisor open")}
    assert {name: found for name, found in outcomes.items() if found != "done" and name not in others} == {}
    if os.geteuid() == 0:
        assert outcomes["trace the supervisor"] == outcomes["read the supervisor's memory"] == "done"
    assert "processes are not confined, because server.confine is false" in server.log()
    found = {one["area"]: one for one in server.cli("doctor", "--offline", json=True, expect=None).data["findings"]}
    assert found["confinement"]["level"] == "warn"


def test_every_process_but_the_supervisor_is_confined(gateway: Callable[..., Gateway]) -> None:
    centre = served(gateway, contoso())
    server = centre.gateway
    supervisor, *others = server.family()
    assert len(others) == 2
    filters = {pid: _status(pid)["Seccomp"] for pid in server.family()}
    assert filters == {supervisor: _status(os.getpid())["Seccomp"], **dict.fromkeys(others, "2")}
    there = {one["area"]: one for one in server.cli("doctor", "--offline", json=True, expect=None).data["findings"]}
    assert there["confinement"]["level"] == "pass"
    here = {one["area"]: one for one in centre.call("/api/v1/doctor?offline=true", centre.token())[2]["findings"]}
    ports = [area for area in there if area.startswith("port ")]
    assert len(ports) == 2
    assert {area: here[area] for area in ports} == {area: there[area] for area in ports}, "it may not look at others"


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:  # noqa: PTH123 - of another process
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
