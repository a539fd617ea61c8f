"""Leases: what runs once for the whole site is done by the process that holds its lease.

Made by `store.storage`, one `DutyLeases` for each worker. With SQLite there is one node, and the duties are its worker
0's (`FixedLeases`). In PostgreSQL a lease is a row with a holder, an epoch that grows with each new holder, and the
time at which it expires, by the server's clock. A thread renews what this process holds and takes what has expired. The
holder counts from before it asked, and stops MARGIN_SECONDS before anybody else may begin: a node that is cut off, or
whose clock is wrong, does nothing twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from gatepost.store.interface import Database, DatabaseConnection, OnFirstUse, StoreFailure

LEASE_SECONDS: Final = 15.0
"""Between a holder's last renewal and the moment at which another process may take its lease."""

MARGIN_SECONDS: Final = 4.0
"""Before that moment the holder stops, if it could not renew."""

RENEWAL_SECONDS: Final = 3.0
"""Between two renewals."""

_BEYOND: Final = 60.0  # seconds for which nobody takes a lease: the server's clock was set back since, or is another's
_SHORTEST_WAIT: Final = 0.2

_STATE = "SELECT name, holder, expires - {clock} FROM lease"
# One statement, and names in order: no two processes wait for each other.
_TAKE = (
    "INSERT INTO lease (name, node, holder, epoch, expires) VALUES {rows} ON CONFLICT (name) DO UPDATE SET"
    " node = excluded.node, holder = excluded.holder, expires = excluded.expires,"
    " epoch = lease.epoch + CASE WHEN lease.holder = excluded.holder THEN 0 ELSE 1 END"
    " WHERE lease.holder = excluded.holder OR lease.expires <= {clock} OR lease.expires > {clock} + {beyond}"
    " RETURNING name, epoch"
)
_GIVE_BACK = "UPDATE lease SET expires = 0 WHERE holder = ?"
_HOLDERS = "SELECT name, node FROM lease WHERE expires > {clock} AND expires <= {clock} + {beyond} ORDER BY name"

_OWN: Final = "node "

_log = logging.getLogger(__name__)


class SiteDuty(StrEnum):
    """Duties that one process of the site has for all."""

    ACME = "acme"
    ALARMS = "alarms"
    CHANGEOVER = "changeover"
    EVIDENCE = "evidence"
    QUARANTINE = "quarantine"
    REPORT_IMPORT = "report-import"
    REPORT_SENDING = "report-sending"
    RETENTION = "retention"


ACME_REQUESTS: Final = "acme requests"
"""The lease of whoever requests certificates just now: the holder of SiteDuty.ACME, or a command."""

_LABELS: Final = {
    SiteDuty.ACME: "renews certificates (ACME)",
    ACME_REQUESTS: "requests a certificate now",
    SiteDuty.ALARMS: "raises alarms",
    SiteDuty.CHANGEOVER: "switches certificates",
    SiteDuty.EVIDENCE: "signs the evidence log",
    SiteDuty.QUARANTINE: "looks after the quarantine",
    SiteDuty.REPORT_IMPORT: "imports TLS reports",
    SiteDuty.REPORT_SENDING: "sends TLS reports",
    SiteDuty.RETENTION: "deletes expired data",
}


def duty_label(lease: str) -> str:
    """Name in words what the holder of a lease does for the site: "imports TLS reports".

    "" for its own upkeep, and the lease's own name where another version gave it.
    """
    return "" if lease.startswith(_OWN) else _LABELS.get(lease, lease)


def node_duty(node: str) -> str:
    """The lease for what one worker of a node does for the node, such as watching its files."""
    return f"{_OWN}{node}"


class Lease(Protocol):
    """One duty, as seen by one process."""

    @property
    def is_lasting(self) -> bool:
        """Whether it can neither be taken nor lost while this process lives."""

    @property
    def held(self) -> bool:
        """Whether this process may do it now. Cheap, and for any thread; asked before each step that others see."""


class DutyLeases(Protocol):
    """All duties, as seen by one process."""

    @property
    def may_hold(self) -> bool:
        """Whether this process can ever hold one."""

    def lease(self, duty: str) -> Lease:
        """The lease of a duty. Asked for before `start`."""

    def round(self) -> float:
        """Take and renew them now, before `start`; returns the seconds until that is to be done again. Blocks."""

    def start(self) -> None:
        """Begin to take and to renew them."""

    def pause(self) -> None:
        """Give back all and take none until `resume`, as this node is drained. Blocks no longer than a statement."""

    def resume(self) -> None:
        """Take some again."""

    def close(self) -> None:
        """Give back all; others take them within RENEWAL_SECONDS. Blocks."""


class FixedLease:
    """One that nobody else can take."""

    is_lasting = True

    def __init__(self, *, held: bool) -> None:
        self.held = held


class FixedLeases:
    """All duties are those of one process, or of another: with one node, of worker 0."""

    def __init__(self, *, held: bool) -> None:
        self.may_hold = held

    def lease(self, duty: str) -> FixedLease:  # noqa: ARG002 - all are alike
        """The lease of a duty."""
        return FixedLease(held=self.may_hold)

    def round(self) -> float:
        """There is nothing to renew."""
        return RENEWAL_SECONDS

    def start(self) -> None:
        """There is nothing to renew."""

    def pause(self) -> None:
        """Nobody else could do it meanwhile."""

    def resume(self) -> None:
        """It never paused."""

    def close(self) -> None:
        """There is nothing to give back."""


class HeldLease:
    """One that is held until `_until`, by `clock`, which no change of the time of day moves."""

    is_lasting = False

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.epoch = 0
        self._clock = clock
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether this process may do it now."""
        return self._clock() < self._until

    def take(self, epoch: int, until: float) -> None:
        """It was taken or renewed."""
        if not self.held:
            _log.info("this process does what the lease %s is for (epoch %d)", self.name, epoch)
        self.epoch, self._until = epoch, until

    def lose(self) -> None:
        """It is another's, or was given back."""
        if self.held:
            _log.info("the lease %s is given up", self.name)
        self._until = 0.0


def boot_time() -> float:
    """Seconds since the machine started, also those for which it slept: a lease runs out meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SharedLeases:
    """DutyLeases in a database that several nodes use. node, worker: who asks."""

    may_hold = True

    def __init__(
        self,
        opened: Callable[[], Database],
        node: str,
        worker: int,
        *,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """opened: opens the database, on the thread. seconds: for which a lease is taken."""
        self._node = node
        self._holder = f"{node}/{worker} {secrets.token_hex(8)}"
        self._seconds = seconds
        self._clock = clock
        self._database = OnFirstUse(opened)
        self._leases: dict[str, HeldLease] = {}
        self._turn = threading.Lock()  # for a round, and for giving back
        self._paused = False
        self._failing = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def lease(self, duty: str) -> HeldLease:
        """The lease of a duty."""
        return self._leases.setdefault(duty, HeldLease(duty, self._clock))

    def start(self) -> None:
        """Begin to take and to renew them, on a thread."""
        self._thread.start()

    def pause(self) -> None:
        """Give back all, and take none until `resume`."""
        self._paused = True
        self._give_back()

    def resume(self) -> None:
        """Take some again."""
        self._paused = False

    def close(self) -> None:
        """Give back all and end the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._give_back()

    def round(self) -> float:
        """Renew what is held, and take what has expired; returns the seconds until the next round."""
        with self._turn:
            if self._paused or not self._leases:
                return RENEWAL_SECONDS
            try:
                wait = self._renew()
                self._failing = False
            except StoreFailure as failure:
                if not self._failing:
                    _log.warning("leases are not renewed, and what they are for rests: %s", failure)
                self._failing = True
                wait = 1.0
            return wait

    def _renew(self) -> float:
        with self._database.single() as connection:
            begun = self._clock()
            rows = connection.rows(_STATE.format(clock=connection.clock))
            others = {name: left for name, holder, left in rows if holder != self._holder and 0 < left <= _BEYOND}
            mine = sorted(self._leases.keys() - others.keys())
            taken: dict[str, int] = {}
            if mine:
                row = f"(?, ?, ?, 1, {connection.clock} + {self._seconds})"
                sql = _TAKE.format(rows=", ".join([row] * len(mine)), clock=connection.clock, beyond=_BEYOND)
                values = [value for name in mine for value in (name, self._node, self._holder)]
                taken = dict(connection.rows(sql, values))
        until = begun + self._seconds - min(MARGIN_SECONDS, self._seconds / 3)
        for name, lease in self._leases.items():
            if name in taken:
                lease.take(int(taken[name]), until)
            else:
                lease.lose()
        soonest = min((left for name, left in others.items() if name in self._leases), default=RENEWAL_SECONDS)
        return max(_SHORTEST_WAIT, min(RENEWAL_SECONDS, self._seconds / 5, soonest))

    def _give_back(self) -> None:
        """What cannot be given back expires."""
        for lease in self._leases.values():
            lease.lose()  # before anybody else may take it
        with self._turn:
            for lease in self._leases.values():
                lease.lose()  # a round may have been under way
            try:
                if self._database.is_open:
                    with self._database.single() as connection:
                        connection.execute(_GIVE_BACK, (self._holder,))
            except StoreFailure as failure:
                _log.info("leases could not be given back, and expire in %.0f s: %s", self._seconds, failure)

    def _run(self) -> None:
        wait = 0.0
        while not self._ending.wait(wait):
            wait = self.round()


def lease_holders(connection: DatabaseConnection) -> list[tuple[str, str]]:
    """The leases that are held, by name, each with its node. Raises StoreFailure."""
    rows = connection.rows(_HOLDERS.format(clock=connection.clock, beyond=_BEYOND))
    return [(str(name), str(node)) for name, node in rows]
