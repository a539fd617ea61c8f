"""The nodes of a site: who they are, when they were heard of last, what they work by, and whether they are drained.

A node is entered once, before its workers start (`node.registration`); each worker beats (`node.heartbeat`). Times are
of the database's clock, so that a node with a wrong one is neither dead nor alive for it; how far it is off is measured
at each beat. With SQLite there is one node, in `nodes.db`. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.events.delivery_problems import DowngradedDestination, FailingPartner, UnsentNotice  # noqa: TC001 - msgspec reads annotations
from gatepost.events.machine_report import MachineReport  # noqa: TC001 - as above
from gatepost.mail.model.worker_load import WorkerLoad
from gatepost.store.interface import StoredTables, StoreFailure
from gatepost.store.leases import lease_holders

BEAT_SECONDS: Final = 3.0
"""Between two heartbeats."""

EXPIRY_SECONDS: Final = 15.0
"""After the last heartbeat a node counts as dead; or before it, as the clock of a promoted standby may be behind."""

_FORGET_SECONDS: Final = 30 * 86400.0  # a node that was not heard of for so long is forgotten when another one starts

_COLUMNS = "name, instance, origin, host, software, listeners, started, seen, state"
_ENTER = (
    f"INSERT INTO node ({_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, {{clock}}, {{clock}}, 'active')"  # noqa: S608 - ours
    " ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, origin = excluded.origin, host = excluded.host,"
    " software = excluded.software, listeners = excluded.listeners, started = excluded.started, seen = excluded.seen,"
    " state = excluded.state"
    " WHERE node.instance = excluded.instance OR node.origin = ?8 OR node.state = 'stopped'"
    " OR abs(excluded.seen - node.seen) >= ?7"
)
_BEAT = "UPDATE node SET seen = {clock} WHERE name = ? AND instance = ? RETURNING state, {clock}"
_WORKER = (
    "INSERT INTO node_worker (node, worker, instance, pid, seen, configuration, figures)"
    " VALUES (?, ?, ?, ?, {clock}, ?, ?) ON CONFLICT (node, worker) DO UPDATE SET instance = excluded.instance,"
    " pid = excluded.pid, seen = excluded.seen, configuration = excluded.configuration, figures = excluded.figures"
)
_STOP = "UPDATE node SET state = 'stopped' WHERE name = ? AND instance = ?"
_LIST = f"SELECT {_COLUMNS}, {{clock}} FROM node ORDER BY name"  # noqa: S608 - ours
_WORKERS = (
    "SELECT node, worker, instance, pid, {clock} - seen, configuration, figures FROM node_worker ORDER BY node, worker"
)
_SET_STATE = "UPDATE node SET state = ?1 WHERE name = ?2 AND state <> 'stopped' AND abs({clock} - seen) < ?3"
_REMOVE = "DELETE FROM node WHERE name = ?1 AND (state = 'stopped' OR abs({clock} - seen) >= ?2)"


class NodeState(StrEnum):
    """ACTIVE: it takes mail. DRAINING: it takes none, and delivers or hands over what it has. DRAINED: it has none.

    STOPPED: it ended in order. DEAD: it was not heard of for EXPIRY_SECONDS; others take over what it had.
    """

    ACTIVE = "active"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPED = "stopped"
    DEAD = "dead"

    @property
    def is_alive(self) -> bool:
        """Whether its processes run."""
        return self not in {NodeState.STOPPED, NodeState.DEAD}


class NodeProblems(msgspec.Struct, frozen=True):
    """Facts about a worker for alarms, as in `store.figures.WorkerFigures`."""

    failing: tuple[FailingPartner, ...] = ()
    dropped: tuple[DowngradedDestination, ...] = ()
    untold: tuple[UnsentNotice, ...] = ()
    load: WorkerLoad = WorkerLoad()


class ListenerObservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Handshakes with one listener, such as "mx 0.0.0.0:25".

    certificates: SHA-256 of those that were presented, in hexadecimal. trouble: why one could not be seen.
    """

    listener: str
    certificates: tuple[str, ...] = ()
    trouble: str = ""


class UnusableKey(msgspec.Struct, frozen=True):
    """A certificate that is to be presented, by its id, and why the node cannot use its key."""

    certificate: str
    why: str


class UnusableFile(msgspec.Struct, frozen=True):
    """A file that settings or resources name and a node cannot use. about: as `NamedFile.about`. why: the reason."""

    about: str
    why: str


class CertificateObservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The certificates that a node's listeners presented to itself. at: seconds since 1970, by the node's clock.

    files: that it cannot use; None if that is not known, as before the first look at them.
    """

    at: float
    listeners: tuple[ListenerObservation, ...] = ()
    unusable: tuple[UnusableKey, ...] = ()
    files: tuple[UnusableFile, ...] | None = None


class NodeFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Figures of a worker, as it gives them at a heartbeat.

    queue: deliveries in its part of the queue by state; None if they could not be counted. certificates: SHA-256 of
    those that it holds, the foremost first. offset: seconds by which its clock is ahead of the database's. drained: it
    took no mail any more, and has none. problems: for alarms, as is machine, which earlier versions do not send.
    observed: by the one worker of a node that looks at its listeners. settings: digests by key
    (`settings.comparison`), by the first worker.
    """

    active: int | None = None
    deferred: int | None = None
    held: int | None = None
    certificates: tuple[str, ...] = ()
    offset: float = 0.0
    drained: bool = False
    problems: NodeProblems = NodeProblems()
    machine: MachineReport | None = None
    observed: CertificateObservation | None = None
    settings: dict[str, str] | None = None


class NodeIdentity(msgspec.Struct, frozen=True):
    """A node that starts. instance: of this start. origin: of its data directory, which one node has at a time."""

    name: str
    instance: str
    origin: str
    host: str
    software: str
    listeners: tuple[str, ...] = ()


class WorkerBeat(msgspec.Struct, frozen=True):
    """A worker's last heartbeat. age: seconds since. configuration: the version in force in it."""

    worker: int
    pid: int
    age: float
    configuration: int
    figures: NodeFigures


class Node(msgspec.Struct, frozen=True):
    """A node as others see it. started: seconds since 1970. age: seconds since its last heartbeat."""

    name: str
    host: str
    software: str
    listeners: tuple[str, ...]
    started: float
    age: float
    state: NodeState
    workers: tuple[WorkerBeat, ...]
    leases: tuple[str, ...]

    @property
    def configuration(self) -> int:
        """The version in force in all its workers: the oldest of theirs; 0 if none is known."""
        return min((worker.configuration for worker in self.workers), default=0)

    @property
    def settings(self) -> dict[str, str] | None:
        """Digests of what it was started with, by key; None before it said so, or from an earlier version."""
        return next((worker.figures.settings for worker in self.workers if worker.figures.settings is not None), None)

    @property
    def observed(self) -> CertificateObservation | None:
        """The latest look at its listeners, by the database's clock; None before the first."""
        looks = [
            msgspec.structs.replace(worker.figures.observed, at=worker.figures.observed.at - worker.figures.offset)
            for worker in self.workers
            if worker.figures.observed is not None
        ]
        return max(looks, key=lambda look: look.at, default=None)


class NodeNameTaken(StoreFailure):
    """Another node of this name lives."""


class NodeRegistry(StoredTables):
    """The table. Every method raises StoreFailure."""

    def enter(self, node: NodeIdentity, *, sleep: Callable[[float], object] = time.sleep) -> None:
        """Enter a node that starts. Waits for one of this name that has died to expire.

        Raises NodeNameTaken if that one lives: it is heard of again while we wait.
        """
        first = self._seen(node.name)
        while not self._entered(node, origin=node.origin):
            latest = self._seen(node.name)
            if latest != first:
                raise NodeNameTaken(
                    f"server.node: another node named {node.name!r} is running, on {self._host(node.name)}: "
                    "give each node its own name, or stop the other one first"
                )
            sleep(1.0)
        self._forget_lost()

    def beat(self, node: NodeIdentity, worker: int, pid: int, configuration: int, figures: NodeFigures) -> NodeState:
        """A worker's heartbeat; returns what the node is to be: ACTIVE or DRAINING.

        A node that was removed meanwhile is entered again. Raises NodeNameTaken if another one has its name.
        """
        with self._database.single() as connection:
            beat, values = _BEAT.format(clock=connection.clock), (node.name, node.instance)
            begun = time.time()
            rows = connection.rows(beat, values)
            ended = time.time()
        if not rows:
            if not self._entered(node):
                raise NodeNameTaken(f"another node is named {node.name!r} by now; this one is in no list")
            return self.beat(node, worker, pid, configuration, figures)
        state, server = str(rows[0][0]), float(rows[0][1])
        figures = msgspec.structs.replace(figures, offset=round((begun + ended) / 2 - server, 3))
        document = msgspec.json.encode(figures).decode()
        with self._database.single() as connection:
            row = (node.name, worker, node.instance, pid, configuration, document)
            connection.execute(_WORKER.format(clock=connection.clock), row)
        return NodeState.DRAINING if state == NodeState.DRAINING else NodeState.ACTIVE

    def stop(self, node: NodeIdentity) -> None:
        """It ends in order: its name is free at once."""
        with self._database.single() as connection:
            connection.execute(_STOP, (node.name, node.instance))

    def nodes(self) -> list[Node]:
        """All nodes by name, also those that are dead or stopped."""
        with self._database.reading() as connection:
            rows = connection.rows(_LIST.format(clock=connection.clock))
            beats = connection.rows(_WORKERS.format(clock=connection.clock))
            holders = lease_holders(connection)
        nodes = []
        for name, instance, _, host, software, listeners, started, seen, state, now in rows:
            workers = tuple(_beat(row) for row in beats if row[0] == name and row[2] == instance)
            age = min(_FORGET_SECONDS, abs(now - seen))
            leases = tuple(lease for lease, node in holders if node == name)
            nodes.append(
                Node(
                    name,
                    host,
                    software,
                    _listeners(listeners),
                    started,
                    age,
                    _state(state, age, workers),
                    workers,
                    leases,
                )
            )
        return nodes

    def drain(self, name: str, *, undo: bool = False) -> bool:
        """Let a node take no mail any more, or, with undo, take some again; False if there is none that lives."""
        state = NodeState.ACTIVE if undo else NodeState.DRAINING
        with self._database.single() as connection:
            sql = _SET_STATE.format(clock=connection.clock)
            return connection.execute(sql, (state.value, name, EXPIRY_SECONDS)) > 0

    def remove(self, name: str) -> bool:
        """Forget a node that is dead or stopped; False if there is none."""
        with self._database.single() as connection:
            gone = connection.execute(_REMOVE.format(clock=connection.clock), (name, EXPIRY_SECONDS)) > 0
            if gone:
                connection.execute("DELETE FROM node_worker WHERE node = ?", (name,))
        return gone

    def _entered(self, node: NodeIdentity, *, origin: str = "") -> bool:
        """Whether its name is free, or was that of a node of this origin, which has the data directory no more."""
        listeners = msgspec.json.encode(node.listeners).decode()
        row = (node.name, node.instance, node.origin, node.host, node.software, listeners, EXPIRY_SECONDS, origin)
        with self._database.single() as connection:
            return connection.execute(_ENTER.format(clock=connection.clock), row) > 0

    def _seen(self, name: str) -> float | None:
        with self._database.reading() as connection:
            seen: float | None = connection.value("SELECT seen FROM node WHERE name = ?", (name,))
        return seen

    def _host(self, name: str) -> str:
        with self._database.reading() as connection:
            return str(connection.value("SELECT host FROM node WHERE name = ?", (name,)))

    def _forget_lost(self) -> None:
        with self._database.single() as connection:
            connection.execute(f"DELETE FROM node WHERE seen < {connection.clock} - ?", (_FORGET_SECONDS,))  # noqa: S608
            connection.execute("DELETE FROM node_worker WHERE node NOT IN (SELECT name FROM node)")


def _listeners(text: str) -> tuple[str, ...]:
    try:
        return from_json(text, tuple[str, ...])
    except msgspec.DecodeError:
        return ()  # a worker that was taken over may write anything


def _beat(row: Sequence[object]) -> WorkerBeat:
    _, worker, _, pid, age, configuration, figures = row
    try:
        said = from_json(str(figures), NodeFigures)
    except msgspec.MsgspecError:
        said = NodeFigures()  # of another version
    return WorkerBeat(int(str(worker)), int(str(pid)), max(0.0, float(str(age))), int(str(configuration)), said)


def _state(state: str, age: float, workers: Sequence[WorkerBeat]) -> NodeState:
    if state == NodeState.STOPPED:
        return NodeState.STOPPED
    if age >= EXPIRY_SECONDS:
        return NodeState.DEAD
    if state != NodeState.DRAINING:
        return NodeState.ACTIVE
    is_done = bool(workers) and all(worker.figures.drained for worker in workers)
    return NodeState.DRAINED if is_done else NodeState.DRAINING
