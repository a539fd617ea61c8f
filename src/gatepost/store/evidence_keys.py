"""The directory of the evidence log's keys: `evidence-keys` beside `evidence`, which no worker may write.

It has the key that signs (`pki.certificates.evidence_key`), and each public key that there was, by which a log is
verified. Earlier versions had them in `evidence`, where workers write: `move_keys` brings them here, once. What lies
there afterwards is not believed, as whoever has taken over a worker may have put it there. Blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from gatepost.store.sqlite.schema import make_directory, sync_directory
from gatepost.store.whole_file import write_fresh

PLAIN_KEY: Final = "signing.key"
SEALED_KEY: Final = "signing.key.sealed"

_FORMER_FOLDER: Final = "keys"
_PRIVATE: Final = (PLAIN_KEY, SEALED_KEY)
_CUT_OFF: Final = tuple(f".{name}.new" for name in _PRIVATE)
_LIMIT: Final = 65536


def keys_directory(evidence: Path) -> Path:
    """The directory of keys. evidence: the directory of all evidence."""
    return evidence.with_name("evidence-keys")


def has_signing_key(evidence: Path) -> bool:
    """Whether there is a key that signs."""
    return any((keys_directory(evidence) / name).exists() for name in _PRIVATE)


def known_keys(evidence: Path) -> Path:
    """The directory with the public keys of a log: of a gateway's own, of one before its first start, or of a copy."""
    keys = keys_directory(evidence)
    return keys if evidence.name == "evidence" and keys.is_dir() else evidence / _FORMER_FOLDER


def kept_keys(evidence: Path) -> list[bytes]:
    """The public keys of a log, PEM, by their names. Raises OSError."""
    return [path.read_bytes()[:_LIMIT] for path in sorted(known_keys(evidence).glob("*.pem"))]


def move_keys(evidence: Path) -> list[Path]:
    """Make the directory of keys with all keys that earlier versions had; returns what lies there and is not used.

    The keys are copied, then the whole directory gets its name, then the old ones are removed: whoever is killed leaves
    all keys there, or all here. Once the directory is there, nothing is brought into it. No link is followed. For one
    process at a time (`whole_file.locked_directory`). Raises OSError, with what to do.
    """
    keys = keys_directory(evidence)
    with _former_folders(evidence) as folders:
        if not os.path.lexists(keys):
            _copy(folders, keys)
        sync_directory(keys.parent)  # also of a start that was killed before it did: what goes now is the other copy
        unused = [path for folder in folders for path in folder.without_moved(keys)]
    with suppress(OSError):
        (evidence / _FORMER_FOLDER).rmdir()
    return unused


class _FormerFolder(NamedTuple):
    """A directory where earlier versions had keys. directory: open; None if it is none, or a link."""

    path: Path
    directory: int | None

    @property
    def names(self) -> list[str]:
        """Of the keys that lie there. It must be open."""
        assert self.directory is not None  # noqa: S101 - None would list the working directory
        there = sorted(os.listdir(self.directory))  # noqa: PTH208 - of an open directory
        return [name for name in there if name in _PRIVATE or (self.path.name == _FORMER_FOLDER and _is_public(name))]

    def content(self, name: str) -> bytes:
        """A key. Raises OSError for a link, and for what is not a file."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=self.directory)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "no file")
            if name == PLAIN_KEY and mode & 0o077:
                raise PermissionError(
                    f"{self.path / name} has mode {mode & 0o777:04o}, and others may read it; chmod 600 it"
                )
            return file.read(_LIMIT)

    def without_moved(self, keys: Path) -> Iterator[Path]:
        """Remove the keys that lie in their new directory; the paths of others."""
        if self.directory is None:
            yield self.path
            return
        for name in self.names:
            if self._is_moved(name, keys):
                os.unlink(name, dir_fd=self.directory)
            else:
                yield self.path / name
        for name in _CUT_OFF:  # they may be the plain text of a key that is sealed
            with suppress(OSError):
                os.unlink(name, dir_fd=self.directory)
        os.fsync(self.directory)

    def _is_moved(self, name: str, keys: Path) -> bool:
        try:
            return (keys / name).read_bytes() == self.content(name)
        except OSError:
            return False


@contextmanager
def _former_folders(evidence: Path) -> Iterator[list[_FormerFolder]]:
    """Those that there are. The operator may have made a link of `evidence`; below it, workers may."""
    folders: list[_FormerFolder] = []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with ExitStack() as stack:
        for path, further in ((evidence, 0), (evidence / _FORMER_FOLDER, os.O_NOFOLLOW)):
            directory = None
            try:
                directory = os.open(path, flags | further)
                stack.callback(os.close, directory)
            except FileNotFoundError:
                continue
            except OSError:
                directory = None
            folders.append(_FormerFolder(path, directory))
        yield folders


def _copy(folders: list[_FormerFolder], keys: Path) -> None:
    fresh = keys.with_name(f"{keys.name}.new")
    with suppress(FileNotFoundError):  # of a process that was killed
        shutil.rmtree(fresh)
    make_directory(fresh)
    for folder in folders:
        if folder.directory is None:
            raise OSError(_refused(folder.path, keys))
        for name in folder.names:
            if folder.path.name == _FORMER_FOLDER and not _is_public(name):
                continue  # no version had a private key there
            try:
                content = folder.content(name)
            except PermissionError:
                raise
            except OSError as error:
                raise OSError(_refused(folder.path / name, keys)) from error
            write_fresh(fresh / name, content)
    sync_directory(fresh)
    fresh.rename(keys)


def _is_public(name: str) -> bool:
    return name.endswith(".pem")


def _refused(path: Path, keys: Path) -> str:
    return (
        f"{path}: keys are moved from here to {keys}, but this is a link, or no file; put what it leads to in its place"
    )
