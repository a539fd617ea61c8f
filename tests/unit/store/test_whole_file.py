from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gatepost.store import whole_file
from gatepost.store.whole_file import publish_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "key"


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def killed(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Do some work in a process that is killed right after a step of it."""
    child = os.fork()
    if not child:
        done = getattr(whole_file, step)
        monkeypatch.setattr(whole_file, step, lambda *given: (done(*given), os.kill(os.getpid(), signal.SIGKILL)))
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_file_is_its_owners_alone_and_stays(path: Path) -> None:
    publish_file(path, b"first")
    publish_file(path, b"second")
    assert files(path) == {"key": b"first"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    publish_file(path, b"third", replace=True)
    assert files(path) == {"key": b"third"}


def test_a_file_belongs_to_the_owner_of_its_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    if os.geteuid() == 0:
        os.chown(path.parent, 12345, 12346)
    owner = path.parent.stat()
    monkeypatch.setattr(whole_file.os, "geteuid", lambda: owner.st_uid + 1)  # an ordinary user may give it to itself
    publish_file(path, b"key")
    assert (path.stat().st_uid, path.stat().st_gid) == (owner.st_uid, owner.st_gid)


def test_of_several_at_once_the_first_one_counts(path: Path) -> None:
    def publish(number: int) -> bytes:
        publish_file(path, b"%d" % number)
        return path.read_bytes()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(publish, range(8)))) == 1
    assert len(files(path)) == 1


def test_what_a_kill_left_is_seen_by_nobody_and_goes_with_the_next_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_file(path, b"old")
    killed(lambda: publish_file(path, b"lost", replace=True), monkeypatch, "write_fresh")
    assert files(path) == {"key": b"old", ".key.new": b"lost"}
    publish_file(path.with_name("other"), b"another")
    assert files(path) == {"key": b"old", "other": b"another"}


def test_a_failure_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        publish_file(path, b"new", replace=True)
    assert files(path) == {"key": b"old"}
