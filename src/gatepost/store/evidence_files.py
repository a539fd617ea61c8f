"""The evidence log: what is written to it in any engine, and how its files are read.

Files are `evidence/log/YYYY-MM-DD.<writer>.log` and `evidence/heads.log`. A file of a day that is over is compressed,
and then ends in `.log.gz`: the same lines. Read by `store.evidence_chain`, `analysis.reports.evidence_audit` and
`analysis.reports.evidence_export`, from a running gateway as from a copy on another machine (`EvidenceDirectory`);
`Storage.evidence` gives a gateway's own. Everything blocks.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.evidence.chain import LONGEST_LINE
from gatepost.store.evidence_keys import kept_keys
from gatepost.store.interface import StoreFailure, failing
from gatepost.store.sqlite.schema import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gatepost.store.evidence_log import EvidenceSource


ADMIN_WRITER: Final = "admin"
"""The writer whose chain commands continue, one after the other."""

HEADS_FILE: Final = "heads.log"

_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.([A-Za-z0-9_-]{1,32})\.log(\.gz)?", re.ASCII)
_LEFT: Final = re.compile(r"\.?(?P<day>\d{4}-\d\d-\d\d)\..+\.(torn|gz\.new)", re.ASCII)


class DayFile(msgspec.Struct, frozen=True):
    """The file of one writer and day."""

    path: Path
    day: str
    writer: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def is_empty(self) -> bool:
        """Whether a crash came before its first entry."""
        return not self.closed and not self.path.stat().st_size

    def lines(self) -> Iterator[bytes]:
        """See `read_lines`."""
        return read_lines(self.path)

    @property
    def closed(self) -> bool:
        """Whether it is compressed, so that no process writes to it any more."""
        return self.path.suffix == ".gz"


def evidence_directory(data_dir: Path) -> Path:
    """All evidence: the log, its heads, and the drills (`analysis.checks.evidence`). Keys: `store.evidence_keys`."""
    return data_dir / "evidence"


def log_directory(evidence: Path) -> Path:
    """The files of days and writers."""
    return evidence / "log"


def day_file(path: Path) -> DayFile | None:
    """Parse the name of a file, None if it is no file of the log."""
    match = _NAME.fullmatch(path.name)
    return DayFile(path, match[1], match[2]) if match else None


def day_files(evidence: Path, writer: str = "", *, since: str = "", until: str = "9999") -> list[DayFile]:
    """Files of a writer ("" for all) and of days from `since` to `until`, by writer and day.

    A plain file is left out where there is a compressed one of the same day: a crash came before it was removed. Raises
    StoreFailure if the directory cannot be read.
    """
    try:
        names = os.listdir(log_directory(evidence))  # noqa: PTH208 - Path.glob would take one we may not read for empty
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreFailure(f"{log_directory(evidence)}: {error.strerror}") from error
    found: dict[tuple[str, str], DayFile] = {}
    for name in sorted(names):  # ".log" before ".log.gz"
        file = day_file(log_directory(evidence) / name)
        if file is not None and writer in {"", file.writer} and since <= file.day <= until:
            found[file.writer, file.day] = file
    return [found[key] for key in sorted(found)]


def left_by_crashes(evidence: Path, *, before: str) -> list[Path]:
    """The torn ends and unfinished compressed files of days before one, such as "2026-11-30"."""
    matches = (_LEFT.fullmatch(path.name) for path in log_directory(evidence).glob("*"))
    return [log_directory(evidence) / match[0] for match in matches if match and match["day"] < before]


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, each with its LF if it has one; what is longer than a line may be comes in pieces.

    Raises StoreFailure if it cannot be read to its end. What is appended meanwhile may be seen or not.
    """
    with failing(path, OSError, EOFError, zlib.error), path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        while line := file.readline(LONGEST_LINE):
            yield line


def compress(path: Path) -> Path:
    """Replace a file of a day that is over by its compressed form, durably; returns that.

    Raises OSError, and changes nothing then.
    """
    target = path.with_name(f"{path.name}.gz")
    fresh = path.with_name(f".{target.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as raw, path.open("rb") as plain:
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
                while block := plain.read(1 << 20):
                    file.write(block)
            raw.flush()
            os.fsync(raw.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    remove_plain(target)
    return target


def remove_plain(compressed: Path) -> None:
    """Remove the file that was compressed, also where a crash came before that. Raises OSError."""
    plain = compressed.with_suffix("")
    if plain.exists():
        sync_directory(compressed.parent)
        plain.unlink()


class EvidenceDirectory:
    """A log in files, a gateway's own or a copy: implements `store.evidence_log.EvidenceSource`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = str(directory)

    def days(self, writer: str = "", *, since: str = "", until: str = "9999") -> list[DayFile]:
        """See `day_files`."""
        return day_files(self.directory, writer, since=since, until=until)

    def head_lines(self) -> Iterator[bytes]:
        """See `EvidenceSource.head_lines`."""
        path = self.directory / HEADS_FILE
        if path.exists():
            yield from read_lines(path)

    def public_keys(self) -> list[bytes]:
        """See `kept_keys`."""
        return kept_keys(self.directory)


def copy_log(
    log: EvidenceSource, directory: Path, creating: Callable[[], AbstractContextManager[None]] = nullcontext
) -> int:
    """Write a log as files into a new directory, as auditors and other machines read it; returns how many days' files.

    creating: within it files are made, for another account perhaps. Raises StoreFailure if the log cannot be read,
    OSError if the directory is there or cannot be written.
    """
    with creating():
        for path in (directory, log_directory(directory), directory / "keys"):
            path.mkdir(mode=0o700)
    _write_new(directory / HEADS_FILE, log.head_lines(), creating)
    days = log.days()  # after the heads: what they know of is among them
    for day in days:
        _write_new(log_directory(directory) / f"{day.day}.{day.writer}.log", day.lines(), creating)
    for number, pem in enumerate(log.public_keys(), 1):
        _write_new(directory / "keys" / f"{number:04}.pem", [pem], creating)
    return len(days)


def copy_results(
    directory: Path,
    results: Iterable[tuple[str, bytes | None]],
    creating: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Write results of drills beside a copy of the log, as a data directory has them. Raises OSError.

    results: names and contents; None for one that was removed meanwhile.
    """
    folder = directory / "drills"
    with creating():
        folder.mkdir(mode=0o700)
    for name, content in results:
        if content is not None:
            _write_new(folder / name, [content], creating)


def _write_new(path: Path, lines: Iterable[bytes], creating: Callable[[], AbstractContextManager[None]]) -> None:
    with creating():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
