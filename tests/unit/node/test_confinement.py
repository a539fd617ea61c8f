"""Which processes are confined, and how. What that stops is proved in tests/system/test_confinement.py."""

from __future__ import annotations

import errno
import io
import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from gatepost.net.named_files import open_to_read
from gatepost.node import confinement
from gatepost.node.confinement import Confinement, Means, runs_programs
from gatepost.node.file_line import FileLine
from gatepost.node.landlock import Access
from gatepost.node.machine_findings import Level, confinement_findings
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

FULL = Means(7, filters=True)
needs_all = pytest.mark.skipif(bool(Means.here().missing), reason=f"this kernel lacks: {Means.here().missing}")

HOOK = {"acme": {"agree_tos": True, "challenge": "dns-01", "dns_hook": ["/bin/true"]}, "store": {"master_key": "env:K"}}
TOKENS = {"pkcs11": {"module": "/usr/lib/token.so"}}
SHARED = {"store": {"url": "postgresql://a@127.0.0.1/b", "master_key": "env:K"}}


@pytest.fixture
def settings(home):
    made = home.settings()
    home.data.mkdir(mode=0o700)
    Storage.of(made).configuration().close()
    (home.data / "access.db").touch()
    return made


@pytest.fixture
def applied(monkeypatch):
    """What the kernel would be told: (executes, rules, isolated); rules None where files are free."""
    calls = []
    monkeypatch.setattr(Means, "here", lambda: FULL)
    monkeypatch.setattr(confinement, "deny_system_calls", lambda *, execute: calls.append([execute, None, None]))

    def restrict(rules, *, isolated, port):
        calls[-1][1:] = [{Path(path): access for path, access in rules.items()}, isolated]

    monkeypatch.setattr(confinement, "restrict_files", restrict)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("SQLITE_TMPDIR", "")
    return calls


def confined(settings):
    return Confinement(settings, withheld=["access.db"])


def below(call, folder):
    """A call without what lies beside the folder of this test, which other tests change meanwhile."""
    executes, rules, isolated = call
    return executes, {path: access for path, access in rules.items() if path.is_relative_to(folder)}, isolated


def changed(rules, data):
    return {str(path.relative_to(data)) for path, access in rules.items() if access == Access.CHANGE}


def test_a_worker_changes_what_it_writes_and_nothing_else(settings, home, applied):
    confined(settings).worker(0)
    ((executes, rules, isolated),) = applied
    assert (executes, isolated) == (False, True)
    data = home.data.resolve()
    assert changed(rules, data) >= {
        "queue",
        "trace",
        "evidence",
        "maildir",
        "cache",
        "made",
    }
    assert {rules[data / name] for name in ("config.db", "config.db-wal", "config.db-shm")} == {Access.READ}
    assert data not in rules
    assert data / "access.db" not in rules
    assert rules[home.file.resolve()] == rules[home.key.resolve()] == Access.READ
    assert rules[Path("/")] == Access.READ_DIR
    assert all(path.exists() for path, access in rules.items() if access == Access.CHANGE)
    assert tempfile.gettempdir() == str(data / "made")


def test_a_host_may_bind_the_one_port_that_it_waits_for(settings, monkeypatch, applied):
    ports = []
    monkeypatch.setattr(confinement, "restrict_files", lambda _, *, isolated, port: ports.append((isolated, port)))
    made = confined(settings)
    made.host()
    made.host(80)
    assert ports == [(True, 0), (True, 80)]


def test_the_writer_changes_the_configuration_and_nothing_else(settings, home, applied, monkeypatch):
    made = confined(settings)
    made.writer()
    ((executes, rules, isolated),) = applied
    assert (executes, isolated) == (False, True)
    assert changed(rules, home.data.resolve()) == {"config.db", "config.db-wal", "config.db-shm"}
    assert home.data.resolve() / "access.db" not in rules
    assert made.withholds_configuration
    monkeypatch.setattr(Means, "here", lambda: Means(0, filters=True))
    assert not confined(settings).withholds_configuration


def test_secrets_of_the_other_role_are_for_the_writer_alone(settings, home, applied):
    (home.data / "owner.pgpass").touch(0o600)
    made = Confinement(settings, withheld=["access.db"], secrets=["owner.pgpass"])
    for confine in (lambda: made.worker(0), made.host, made.writer):
        confine()
    secret = home.data.resolve() / "owner.pgpass"
    assert [secret in rules for _, rules, _ in applied] == [False, False, True]


def test_a_large_file_beside_is_left_out(settings, home, applied):
    """A process would keep its room on the disk after it was deleted."""
    large, small = home.data.parent / "large", home.data.parent / "small"
    for file, size in ((large, (16 << 20) + 1), (small, 16 << 20)):
        with file.open("wb") as opened:
            opened.truncate(size)
    confined(settings).worker(0)
    ((_, rules, _),) = applied
    assert (large.resolve() in rules, rules[small.resolve()]) == (False, Access.READ)


def test_files_of_the_settings_are_opened_for_confined_processes(home, applied, monkeypatch):
    home.data.mkdir(mode=0o700)
    secret = home.file.parent / "master.key"
    settings = home.settings(store={"master_key": f"file:{secret}"}, otel={"secret": "env:SECRET"})
    files = confined(settings).files
    numbers = [files.number(file) for file in (home.chain, home.key, home.anchors, secret)]
    assert len({*numbers} - {None}) == 4
    assert [files.number(Path(name)) for name in (str(home.file), "SECRET", "env:SECRET", "system", "")] == [None] * 5
    monkeypatch.setattr(Means, "here", lambda: Means(0, filters=True))
    assert confined(settings).files is None


def test_a_host_is_a_worker_and_the_admin_centre_changes_all_of_data_dir(settings, home, applied):
    made = confined(settings)
    made.worker(0)
    made.host()
    made.admin_centre()
    worker, host, centre = applied
    assert below(host, home.file.parent) == below(worker, home.file.parent)
    assert centre[0] is False
    assert changed(centre[1], home.data.resolve()) == {"."}
    assert centre[2] is False


@pytest.mark.parametrize(
    ("sections", "index", "free"),
    [
        ({}, 0, False),
        (HOOK, 0, True),
        (HOOK, 1, False),
        (HOOK, None, False),
        (HOOK | SHARED, 1, True),
        (TOKENS, 1, True),
        (TOKENS, None, True),
    ],
)
def test_a_process_that_runs_programs_keeps_files_and_may_run_them(home, applied, sections, index, free):
    settings = home.settings(**sections)
    home.data.mkdir(mode=0o700)
    assert runs_programs(settings, index) is free
    made = confined(settings)
    made.host() if index is None else made.worker(index)
    ((executes, rules, _),) = applied
    assert executes is free
    assert (rules is None) is free


def test_it_can_be_switched_off(home, applied, caplog):
    settings = home.settings(server={"hostname": "mx.gate.example", "data_dir": "data", "confine": False})
    confined(settings).worker(0)
    assert applied == []
    assert "not confined, because server.confine is false" in caplog.text


@pytest.mark.parametrize(
    ("means", "text"),
    [
        (Means(0, filters=True), "files (no Landlock"),
        (Means(7, filters=False), "system calls (no filter"),
        (Means(0, filters=False), "lsm=) and system calls"),
    ],
)
def test_what_the_kernel_lacks_is_said_and_left_out(settings, applied, monkeypatch, caplog, means, text):
    monkeypatch.setattr(Means, "here", lambda: means)
    monkeypatch.setattr(confinement, "restrict_files", lambda *_, **__: applied.append("files"))
    confined(settings).worker(0)
    assert text in caplog.text
    assert len(applied) == bool(means.landlock) + means.filters
    (finding,) = confinement_findings(settings)
    assert (str(finding.level), text in finding.text) == ("warn", True)


@pytest.mark.parametrize(
    ("sections", "level", "text"),
    [({}, "pass", "are denied"), (TOKENS, "pass", "pkcs11"), (HOOK, "pass", "acme.dns_hook")],
)
def test_the_doctor_says_what_holds(home, applied, sections, level, text):
    (finding,) = confinement_findings(home.settings(**sections))
    assert (str(finding.level), text in finding.text) == (level, True)


def test_the_doctor_says_that_it_is_off(home, applied):
    settings = home.settings(server={"hostname": "mx.gate.example", "data_dir": "data", "confine": False})
    (finding,) = confinement_findings(settings)
    assert (str(finding.level), finding.fix) == ("warn", "remove confine = false under [server]")


def test_files_that_cannot_be_made_leave_mail_as_it_is(settings, applied, monkeypatch, caplog):
    def fail(_):
        raise StoreFailure("usage.db: the disk is full")

    monkeypatch.setattr(Storage, "prepare_worker_files", fail)
    confined(settings).worker(0)
    assert "not confined in their use of files: usage.db: the disk is full; the next start" in caplog.text
    assert applied == [[False, None, None]]


def test_what_the_kernel_refuses_is_logged(settings, applied, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(errno.E2BIG, "Landlock: too many")

    monkeypatch.setattr(confinement, "restrict_files", refuse)
    with caplog.at_level(logging.ERROR):
        confined(settings).worker(0)
    assert "is not confined: [Errno 7] Landlock: too many" in caplog.text


@needs_all
def test_the_kernel_does_it(settings, home, forked):
    made = confined(settings)

    def work():
        made.worker(0)
        results = []
        for attempt in (
            (home.data / "queue/mine").touch,
            home.file.read_bytes,
            lambda: home.file.write_bytes(b""),
            (home.data / "access.db").read_bytes,
            (home.data / "mine").touch,
            lambda: tempfile.TemporaryFile().close(),
            lambda: os.close(os.open("/dev/null", os.O_RDWR)),
            lambda: subprocess.run(["/bin/true"], check=True),
        ):
            try:
                attempt()
                results.append(0)
            except OSError as error:
                results.append(error.errno)
        return results

    no, not_permitted = errno.EACCES, errno.EPERM
    assert forked(work) == [0, 0, no, no, no, 0, 0, not_permitted]


@needs_all
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_beside_a_directory_that_cannot_be_listed_the_program_and_files_of_the_settings_are_read(
    home, forked, caplog, monkeypatch
):
    account = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        top.chmod(0o711)
        for name in ("data", "tls", "program", "more"):
            (top / name).mkdir()
            (top / name / "file").write_text("it")
        shutil.chown(top / "data", account.pw_uid)
        pair = {"chain": str(top / "tls" / "file"), "key": str(top / "tls" / "file")}
        server = {"hostname": "mx.gate.example", "data_dir": str(top / "data")}
        made = home.settings(server=server, certificate=[pair])
        monkeypatch.syspath_prepend(str(top / "program"))

        def work():
            os.setgroups([])
            os.setresgid(*[account.pw_gid] * 3)
            os.setresuid(*[account.pw_uid] * 3)
            logged, level = io.StringIO(), []
            logging.getLogger(confinement.__name__).addHandler(logging.StreamHandler(logged))
            limits = Confinement(made, withheld=["access.db"])
            level = [finding.level for finding in confinement_findings(made)]
            (top / "data" / "access.db").touch()
            limits.worker(0)
            results = []
            for name in ("tls/file", "program/file", "more/file", "data/access.db"):
                try:
                    (top / name).read_bytes()
                    results.append(0)
                except OSError as error:
                    results.append(error.errno)
            return results, logged.getvalue(), level

        results, logged, level = forked(work)
    assert results == [0, 0, errno.EACCES, errno.EACCES]
    assert f"this account cannot list {top}" in logged
    assert level == [Level.WARN]


@needs_all
def test_a_file_that_took_the_place_of_one_of_the_settings_is_read_through_the_supervisor(settings, home, forked):
    """Landlock denies it: without help it could not be read before the next start."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    made = confined(settings)
    line = FileLine(made.files)
    replaced = [home.chain, home.file]

    def work():
        made.worker(0)
        for _ in replaced:
            os.write(ready, b".")
            os.read(go, 1)
        results = []
        for use in (lambda: None, line.use):
            use()
            for file in replaced:
                try:
                    with os.fdopen(open_to_read(file)) as opened:
                        results.append(opened.read())
                except OSError as error:
                    results.append(error.errno)
        return results

    (told, ready), (go, go_on) = os.pipe(), os.pipe()
    ended = threading.Event()
    helper = threading.Thread(target=replace_and_answer, args=(replaced, line, told, go_on, ended))
    helper.start()
    try:
        assert forked(work) == [errno.EACCES, errno.EACCES, "new", errno.EACCES]
    finally:
        ended.set()
        helper.join()
        line.close()
        line.release_child_end()
        signal.signal(signal.SIGIO, before)
        for end in (told, ready, go, go_on):
            os.close(end)


def replace_and_answer(replaced, line, told, go_on, ended):
    for file in replaced:
        os.read(told, 1)
        fresh = file.with_name("fresh")
        fresh.write_text("new")
        fresh.replace(file)
        os.write(go_on, b".")
    while not ended.wait(0.01):
        line.answer()


def test_links_of_data_dir_are_followed_and_those_beside_it_are_not(settings, home, applied, tmp_path):
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (home.data / "queue").symlink_to(elsewhere)
    confined(settings).worker(0)
    ((_, rules, _),) = applied
    assert rules[elsewhere.resolve()] == Access.CHANGE
