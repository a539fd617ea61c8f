"""Alarms about what mail needs of this gateway: room on its disk, a store that can be written, nodes that live. Pure.

Called by `analysis.alarms.mail_flow`, which has the other facts; `node.site_duties` and `analysis.reports.mail_facts`
gather these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.policy.connectors.units import format_size
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Iterator


NEARLY_FULL: Final = 4
"""Times `store.free_space`; with less than that on the disk an administrator is told, as limits become tighter."""

FEW_INODES: Final = 10_000

_RECOVERED: Final = 1.1
"""Times what is too little, until there is enough again: so a disk at the mark raises and ends no alarm each minute."""


class SilentNode(msgspec.Struct, frozen=True):
    """A node that did not end in order and is not heard of. seen: seconds since 1970, of its last heartbeat."""

    name: str
    host: str
    seen: float


class DiskRoom(msgspec.Struct, frozen=True):
    """The disk of `directory`. free: bytes. mark: `store.free_space`, at which no mail is taken. inodes: that are free.

    inodes: None where the file system does not count them. was_low: at the look before.
    """

    directory: str
    free: int
    mark: int
    inodes: int | None = None
    was_low: bool = False

    @property
    def has_few_inodes(self) -> bool:
        """Whether few files can still be made."""
        return self.inodes is not None and self.inodes < FEW_INODES * self._factor

    @property
    def is_low(self) -> bool:
        """Whether an administrator is told."""
        return self.free < NEARLY_FULL * self.mark * self._factor or self.has_few_inodes

    @property
    def _factor(self) -> float:
        return _RECOVERED if self.was_low else 1.0


class EndedProcess(msgspec.Struct, frozen=True):
    """A process of this node that ended unasked. times: in the last hour. at: the last time. how: then."""

    name: str
    how: str
    at: float
    times: int


class MachineFacts(msgspec.Struct, frozen=True):
    """refusals: why workers take no mail, one text for each worker that takes none. workers: how many there are.

    disk: None if it cannot be looked at. silent: None if the nodes are not known. ended: in the last hour.
    """

    refusals: tuple[str, ...] = ()
    workers: int = 0
    disk: DiskRoom | None = None
    silent: tuple[SilentNode, ...] | None = ()
    ended: tuple[EndedProcess, ...] = ()


def judge_machine(facts: MachineFacts) -> Iterator[Alarm]:
    """All that is wrong with it."""
    yield from _refusals(facts)
    yield from _disk(facts)
    yield from _silent_nodes(facts)
    yield from _ended(facts)


def _refusals(facts: MachineFacts) -> Iterator[Alarm]:
    """One for all workers: they share the disk or the database."""
    if not facts.refusals:
        return
    all_of_them = len(facts.refusals) >= facts.workers
    yield make_alarm(
        Kind.MAIL_REFUSED,
        Severity.CRITICAL,
        "",
        "no mail is accepted, as it cannot be stored"
        if all_of_them
        else f"{len(facts.refusals)} of {quantity(facts.workers, 'worker')} cannot store mail, and accept none",
        f"The reason: {own(facts.refusals[0])}. Clients are asked to try again later (451 or 452). This alarm is not "
        "mailed while nothing can be stored; the log and the webhook have it.",
        "Make room on the disk, or repair it or the database; the gateway then takes mail again by itself:",
        "gatepost doctor",
        "gatepost status",
    )


def _disk(facts: MachineFacts) -> Iterator[Alarm]:
    disk = facts.disk
    if disk is None or not disk.is_low:
        return
    few = disk.has_few_inodes
    free = format_size(disk.free >> 20 << 20)
    yield make_alarm(
        Kind.DISK_LOW,
        Severity.ERROR,
        "",
        "the disk of the gateway is nearly full",
        f"Less than {quantity(FEW_INODES, 'file', 'files')} can still be made at {disk.directory} (inodes); when there "
        "are none, no large message is accepted, and no mailbox takes mail."
        if few
        else f"{free} are free at {disk.directory}; with less than {format_size(disk.mark)} (store.free_space) no mail "
        "is accepted.",
        "Find what fills it, and make room or enlarge it:",
        command_line("du", "-x", "--inodes" if few else "-h", "--max-depth=2", named=disk.directory),
    )


def _silent_nodes(facts: MachineFacts) -> Iterator[Alarm]:
    for node in facts.silent or ():
        yield make_alarm(
            Kind.NODE_SILENT,
            Severity.ERROR,
            node.name,
            f"the node {node.name} is not heard of",
            f"Its last heartbeat came at {second_text(node.seen)}, from {node.host}. Other nodes deliver the mail that "
            "it had in the shared queue.",
            "Start it again, or see why it does not reach the database; if it is gone for good, remove it:",
            "gatepost node list",
            command_line("gatepost", "node", "remove", named=node.name),
        )


def _ended(facts: MachineFacts) -> Iterator[Alarm]:
    for process in facts.ended:
        yield make_alarm(
            Kind.PROCESS_ENDED,
            Severity.ERROR,
            process.name,
            f"{process.name} of the gateway ended unexpectedly",
            f"In the last hour it ended {quantity(process.times, 'time')}, at last at {second_text(process.at)} with "
            f"{process.how}. The gateway starts it again; mail that was accepted is not lost. This alarm ends "
            "after an hour without another such end.",
            "See what the kernel says. If memory ran out, give the machine more, or set server.workers lower:",
            "journalctl -k --since -2h",
            "gatepost doctor",
        )
