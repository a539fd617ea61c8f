"""The figures of each worker: a small file each, `workers/N.json` in the data directory.

Written whole by the worker (`node.figures`), read by `node.metrics_host`, `node.alarms` and, once, by the next
process of that worker, which counts on from there. It is not synced: after a power cut the numbers begin anew. Beside
them the supervisor notes which processes ended, and which do not answer, and `node.challenge_host` why it has no port.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from gatepost.decoding import json_decoder
from gatepost.events.delivery_problems import DowngradedDestination, FailingPartner, UnsentNotice  # noqa: TC001 - msgspec reads annotations
from gatepost.mail.model.slowed_next_hop import SlowedNextHop  # noqa: TC001 - as above
from gatepost.mail.model.worker_load import WorkerLoad

WORKERS_DIRECTORY = "workers"

_MOST_OCTETS = 8 << 20


class WorkerFigures(msgspec.Struct, omit_defaults=True):
    """One worker. at, started: seconds since 1970. version: of the resources it works by.

    numbers: a series (name and label values) and its count. histograms: a series, counts by bucket, sum. gauges: a
    series and what it is now, true only while the worker lives. slowed: next hops that it sends less to. load: whether
    its limits are tighter now. trouble: why it takes no mail, as it may be told to everybody, "" if it does; reason:
    the same for whoever runs the gateway.
    """

    worker: int
    pid: int = 0
    at: float = 0.0
    started: float = 0.0
    version: int = 0
    numbers: list[tuple[list[str], float]] = []
    histograms: list[tuple[list[str], list[int], float]] = []
    gauges: list[tuple[list[str], float]] = []
    failing: tuple[FailingPartner, ...] = ()
    dropped: tuple[DowngradedDestination, ...] = ()
    untold: tuple[UnsentNotice, ...] = ()
    slowed: tuple[SlowedNextHop, ...] = ()
    load: WorkerLoad = WorkerLoad()
    trouble: str = ""
    reason: str = ""


class ProcessEnd(msgspec.Struct, frozen=True):
    """A process of the gateway that ended unasked. how: its status or signal. at: seconds since 1970."""

    name: str
    how: str
    at: float


_ENDS = "ends"  # no figures of a worker
_SILENT = "silent-"  # and the process id
_UNSERVED = "acme-port"
_MOST_ENDS = 50
_ENDS_OCTETS = 64 << 10
_UNSERVED_OCTETS = 300
_UNREADABLE = (OSError, msgspec.DecodeError)  # a process that was taken over may write it
_decode = json_decoder(WorkerFigures)
_decode_ends = json_decoder(list[ProcessEnd])
_encode = msgspec.json.Encoder().encode


def read_figures(directory: Path, worker: int) -> WorkerFigures:
    """The figures that a worker wrote; none if there is no such file or it is of another version."""
    return _read(directory / f"{worker}.json") or WorkerFigures(worker)


def read_all(directory: Path) -> list[WorkerFigures]:
    """The figures of all workers, also of those that have ended: their counts remain."""
    figures = (_read(path) for path in sorted(directory.glob("*.json")))
    return [figure for figure in figures if figure is not None]


def write_figures(directory: Path, figures: WorkerFigures) -> None:
    """Put the file in place, whole. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{figures.worker}.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(_encode(figures))
    fresh.replace(path)


def _read(path: Path) -> WorkerFigures | None:
    try:
        if path.stat().st_size > _MOST_OCTETS:
            return None
        kept = _decode(path.read_bytes())
    except _UNREADABLE:
        return None
    return kept


def note_end(directory: Path, end: ProcessEnd) -> None:
    """Add it to the last ones, for alarms. Called by the supervisor. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = directory / f"{_ENDS}.new"
    fresh.write_bytes(_encode([*read_ends(directory), end][-_MOST_ENDS:]))
    fresh.replace(directory / _ENDS)


def read_ends(directory: Path) -> list[ProcessEnd]:
    """The processes that ended unasked, the latest last; none if that is not known."""
    try:
        with (directory / _ENDS).open("rb") as file:
            return _decode_ends(file.read(_ENDS_OCTETS))
    except _UNREADABLE:
        return []


def note_silent(directory: Path, pids: Collection[int]) -> None:
    """Say which processes have not answered for long. Called by the supervisor, when others do. Raises OSError.

    A file without content for each: a full disk takes it, and gives up that of a process that answers again.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = read_silent(directory)
    for pid in known.difference(pids):
        (directory / f"{_SILENT}{pid}").unlink(missing_ok=True)
    for pid in set(pids) - known:
        (directory / f"{_SILENT}{pid}").touch(mode=0o600)


def read_silent(directory: Path) -> frozenset[int]:
    """The process ids of those that do not answer; none if that is not known."""
    try:
        ends = [name.removeprefix(_SILENT) for name in os.listdir(directory) if name.startswith(_SILENT)]  # noqa: PTH208 - names
    except OSError:
        return frozenset()
    return frozenset(int(pid) for pid in ends if pid.isdecimal())


def note_unserved(directory: Path, why: str) -> None:
    """Say why the port of ACME is not served, "" if it is. Called by the process for it. Raises OSError."""
    path = directory / _UNSERVED
    if not why:
        path.unlink(missing_ok=True)
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(why, encoding="utf-8")
    fresh.replace(path)


def read_unserved(directory: Path) -> str:
    """Why the port of ACME is not served; "" if it is, or that is not known."""
    try:
        with (directory / _UNSERVED).open("rb") as file:
            return file.read(_UNSERVED_OCTETS).decode("utf-8", "replace")
    except OSError:
        return ""
