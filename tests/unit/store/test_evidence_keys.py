from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from gatepost.store import evidence_keys as module
from gatepost.store.evidence_keys import has_signing_key, kept_keys, keys_directory, known_keys, move_keys

KILLED = """
import os, sys
from pathlib import Path
from gatepost.store.evidence_keys import move_keys

left = int(sys.argv[2])
def count(event, _):
    global left
    if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir"}:
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(count)
move_keys(Path(sys.argv[1]))
"""


@pytest.fixture
def evidence(tmp_path):
    """Of a gateway that an earlier version started."""
    path = tmp_path / "evidence"
    (path / "keys").mkdir(parents=True)
    write(path / "signing.key", b"private")
    write(path / "keys/a.pem", b"first")
    write(path / "keys/b.pem", b"second")
    (path / "heads.log").touch()
    return path


def write(path, content, mode=0o600):
    path.touch(mode)
    path.write_bytes(content)


def files(path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


MOVED = {"evidence-keys/signing.key": b"private", "evidence-keys/a.pem": b"first", "evidence-keys/b.pem": b"second"}


def test_all_keys_are_moved_once(evidence):
    assert kept_keys(evidence) == [b"first", b"second"]
    assert not has_signing_key(evidence), "what workers may write signs nothing"
    assert move_keys(evidence) == []
    assert has_signing_key(evidence)
    assert files(evidence.parent) == MOVED | {"evidence/heads.log": b""}
    assert keys_directory(evidence).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys_directory(evidence).iterdir()} == {0o600}
    assert kept_keys(evidence) == [b"first", b"second"]
    assert move_keys(evidence) == []
    assert files(evidence.parent) == MOVED | {"evidence/heads.log": b""}


def test_the_directory_is_made_where_there_was_no_key(tmp_path):
    assert move_keys(tmp_path / "evidence") == []
    assert (known_keys(tmp_path / "evidence"), files(tmp_path)) == (tmp_path / "evidence-keys", {})


def test_a_kill_at_any_moment_leaves_all_keys_in_one_place(tmp_path):
    steps = 0
    while True:
        path = tmp_path / str(steps) / "evidence"
        (path / "keys").mkdir(parents=True)
        write(path / "signing.key", b"private")
        write(path / "keys/a.pem", b"first")
        end = subprocess.run([sys.executable, "-c", KILLED, path, str(steps)], check=False).returncode
        keys = keys_directory(path)
        place = keys if keys.is_dir() else path
        assert (place / "signing.key").read_bytes() == b"private", steps
        assert kept_keys(path) == [b"first"], steps
        assert move_keys(path) == [], steps
        assert files(path.parent) == {"evidence-keys/signing.key": b"private", "evidence-keys/a.pem": b"first"}, steps
        if end == 0:
            break
        assert end == 9
        steps += 1
    assert steps > 15


def test_what_is_there_is_not_overwritten_and_what_workers_write_later_not_used(evidence):
    move_keys(evidence)
    (evidence / "keys").mkdir()
    write(evidence / "signing.key", b"mine")
    write(evidence / "keys/mine.pem", b"mine")
    write(evidence / "keys/a.pem", b"mine")
    unused = [evidence / "signing.key", evidence / "keys/a.pem", evidence / "keys/mine.pem"]
    assert move_keys(evidence) == unused
    assert kept_keys(evidence) == [b"first", b"second"]
    assert {name: content for name, content in files(evidence.parent).items() if name in MOVED} == MOVED


@pytest.mark.parametrize("name", ["signing.key", "signing.key.sealed", "keys/c.pem", "keys"])
@pytest.mark.parametrize("later", [False, True])
def test_no_link_is_followed(evidence, name, later):
    """A worker could make one to what it may not read: the copy would lie where it reads."""
    outside = evidence.parent / "access.db"
    write(outside, b"accounts")
    if later:
        move_keys(evidence)
    elif name == "keys":
        (evidence / "keys").rename(evidence.parent / "elsewhere")
    else:
        (evidence / name).unlink(missing_ok=True)
    (evidence / name).parent.mkdir(exist_ok=True)
    (evidence / name).symlink_to(evidence.parent / "elsewhere" if name == "keys" else outside)
    if later:
        assert move_keys(evidence) == [evidence / name], "a gateway that has its keys starts"
    else:
        with pytest.raises(OSError, match=f"{name}: keys are moved from here"):
            move_keys(evidence)
        assert not keys_directory(evidence).exists()
    assert b"accounts" not in [content for path, content in files(evidence.parent).items() if "evidence-keys" in path]
    assert outside.read_bytes() == b"accounts"


def test_a_link_to_the_new_keys_takes_none_away(evidence):
    move_keys(evidence)
    (evidence / "keys").symlink_to(keys_directory(evidence))
    (evidence / "signing.key").symlink_to(keys_directory(evidence) / "signing.key")
    assert move_keys(evidence) == [evidence / "signing.key", evidence / "keys"]
    assert files(keys_directory(evidence)) == files(evidence.parent / "evidence-keys")
    assert kept_keys(evidence) == [b"first", b"second"]


def test_what_is_no_file_does_not_keep_a_start_waiting(evidence):
    (evidence / "signing.key").unlink()
    os.mkfifo(evidence / "signing.key", 0o600)
    with pytest.raises(OSError, match="no file"):
        move_keys(evidence)


def test_a_key_that_others_may_read_is_refused(evidence):
    (evidence / "signing.key").chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        move_keys(evidence)


def test_evidence_may_be_a_link_to_another_file_system(evidence):
    evidence.rename(evidence.parent / "elsewhere")
    evidence.symlink_to(evidence.parent / "elsewhere")
    move_keys(evidence)
    assert files(evidence.parent) == MOVED | {"elsewhere/heads.log": b""}


@pytest.mark.parametrize("name", [".signing.key.new", ".signing.key.sealed.new"])
def test_what_a_killed_process_left_of_a_key_goes(evidence, name):
    write(evidence / name, b"private")
    move_keys(evidence)
    assert not (evidence / name).exists()


@pytest.mark.parametrize("name", ["signing.key", "signing.key.sealed"])
def test_a_private_key_among_the_public_ones_is_not_used(evidence, name):
    """No version put one there: it must neither keep the gateway from starting nor take the place of its key."""
    write(evidence / "keys" / name, b"planted")
    assert move_keys(evidence) == [evidence / "keys" / name]
    assert {path: content for path, content in files(evidence.parent).items() if "evidence-keys" in path} == MOVED


def test_no_key_is_removed_before_its_new_place_lasts(evidence, monkeypatch):
    """Of a start that was killed as soon as the directory had its name, too."""
    shutil.copytree(evidence / "keys", keys_directory(evidence))
    shutil.copy2(evidence / "signing.key", keys_directory(evidence))
    done = []
    sync, unlink = module.sync_directory, os.unlink
    monkeypatch.setattr(module, "sync_directory", lambda path: (done.append(path), sync(path)))
    monkeypatch.setattr(os, "unlink", lambda path, **given: (done.append(path), unlink(path, **given)))
    assert move_keys(evidence) == []
    assert done.index(evidence.parent) < done.index("signing.key")
    assert files(evidence.parent) == MOVED | {"evidence/heads.log": b""}


def test_a_copy_of_a_log_has_its_keys_in_it(evidence):
    copy = evidence.with_name("copy")
    evidence.rename(copy)
    keys_directory(evidence).mkdir()
    assert kept_keys(copy) == [b"first", b"second"]
