from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from gatepost.store.sqlite import backup_archive
from gatepost.store.sqlite.backup_archive import (
    MANIFEST,
    BackupFile,
    DirectorySource,
    DirectoryTarget,
    HashedReader,
    TarSource,
    TarTarget,
    UnusableBackup,
    write_new,
)

CONTENT = b"hello" * 100


def directory(path):
    root = path / "backup"
    root.mkdir(mode=0o700)
    return DirectoryTarget(root), lambda: DirectorySource(root)


def tar(path):
    file, work = (path / "backup.tar").open("x+b"), path / "work"
    work.mkdir()
    return TarTarget(file, work), lambda: TarSource((path / "backup.tar").open("rb"))


@pytest.mark.parametrize("kind", [directory, tar])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_written_is_read(tmp_path, kind):
    target, source = kind(tmp_path)
    copy = target.database("queue/0/q.db")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copy.write_bytes(CONTENT)
    kept = target.keep_database("queue/0/q.db")
    added = target.add("a/b", io.BytesIO(CONTENT + b"later"), len(CONTENT))
    assert kept == BackupFile("queue/0/q.db", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert added == BackupFile("a/b", len(CONTENT), kept.sha256)
    target.finish(b"{}\n")
    opened = source()
    assert opened.manifest() == b"{}\n"
    assert sorted(opened.paths()) == ["a/b", "queue/0/q.db"]
    for path in opened.paths():
        with opened.open(path) as file:
            assert file.read() == CONTENT


@pytest.mark.parametrize("where", ["backup", "../backup"])
def test_a_place_may_be_named_from_the_working_directory(tmp_path, monkeypatch, where):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    root = Path(where)
    root.mkdir()
    target = DirectoryTarget(root)
    target.add("evidence/log/a", io.BytesIO(b"x"), 1)
    target.finish(b"{}")
    assert (root / MANIFEST).read_bytes() == b"{}"


def test_a_place_that_may_be_passed_and_not_listed_will_do(tmp_path, monkeypatch):
    def refuses(path):
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    synced = []
    monkeypatch.setattr(backup_archive, "sync_directory", refuses)
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    target, source = directory(tmp_path)
    target.finish(b"{}\n")
    assert (source().manifest(), synced) == (b"{}\n", ["all"])


@pytest.mark.parametrize("kind", [directory, tar])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_manifest_it_was_cut_off(tmp_path, kind):
    target, source = kind(tmp_path)
    target.add("a", io.BytesIO(CONTENT), len(CONTENT))
    if kind is tar:
        target._tar.close()
        target._file.close()
    with pytest.raises(UnusableBackup, match=r"there is no manifest\.json in it: the backup was cut off"):
        source().manifest()


def test_nothing_is_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", HashedReader(io.BytesIO(CONTENT), 3))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        write_new(tmp_path / "link", HashedReader(io.BytesIO(CONTENT), 3))


def test_a_file_that_became_shorter_is_an_error(tmp_path):
    reader = HashedReader(io.BytesIO(b"abc"), 5)
    assert reader.read(10) == b"abc"
    with pytest.raises(OSError, match="became shorter"):
        reader.read(10)


def test_links_pipes_and_directories_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    source = DirectorySource(tmp_path)
    assert sorted(source.paths()) == ["link", "pipe"]
    with pytest.raises(UnusableBackup, match="pipe is not a file"):
        source.open("pipe")
    with pytest.raises(OSError, match="link"):
        source.open("link")


def test_each_opening_is_guarded_and_what_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    times = []

    @contextlib.contextmanager
    def guard():
        times.append(1)
        yield

    (tmp_path / MANIFEST).write_bytes(b"{}")
    source = DirectorySource(tmp_path, guard)
    assert source.manifest() == b"{}"
    assert list(source.paths()) == []
    assert len(times) == 2
    with pytest.raises(FileNotFoundError):
        DirectorySource(tmp_path / "nowhere").paths()


def made_tar(*members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        for member in members:
            member.size = 3 if member.isreg() else 0
            opened.addfile(member, io.BytesIO(b"abc"))
    file.seek(0)
    return file


def test_other_members_are_refused():
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(UnusableBackup, match="link is not a file"):
        TarSource(made_tar(link))
    with pytest.raises(UnusableBackup, match="a file twice"):
        TarSource(made_tar(tarfile.TarInfo("a"), tarfile.TarInfo("a")))
    assert list(TarSource(made_tar(tarfile.TarInfo("a"))).paths()) == ["a"]


def test_a_tar_that_is_cut_off_or_none():
    content = made_tar(tarfile.TarInfo("a"), tarfile.TarInfo("b")).getvalue()
    for wrong in (b"", b"x" * 2000, content[:514]):
        with pytest.raises(UnusableBackup, match=r"it was cut off, or is not a \.tar file"):
            TarSource(io.BytesIO(wrong))
    with pytest.raises(UnusableBackup, match="the backup was cut off"):  # within the head of the second file
        TarSource(io.BytesIO(content[:1100])).manifest()


def test_a_large_file_is_copied_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(backup_archive, "_CHUNK", 7)
    write_new(tmp_path / "a", HashedReader(io.BytesIO(CONTENT), len(CONTENT)))
    assert (tmp_path / "a").read_bytes() == CONTENT
