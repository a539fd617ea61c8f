"""Alarms about what mail needs of this gateway: room on its disk, a store that can be written, nodes that live. Pure.

Called by `analysis.alarms.mail_flow`, which has the other facts; `node.site_duties` and `analysis.reports.mail_facts`
gather these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.events.machine_report import FEW_INODES, DiskRoom, EndedProcess
from gatepost.policy.connectors.units import format_size, measured_size
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.times import second_text

_WRONG_CLOCK = 300.0  # seconds from which on the clock of a node is an alarm


class SilentNode(msgspec.Struct, frozen=True):
    """A node that did not end in order and is not heard of. seen: seconds since 1970, of its last heartbeat."""

    name: str
    host: str
    seen: float


class OldPrimary(msgspec.Struct, frozen=True):
    """A server of PostgreSQL that takes writes though another took over from it. timeline: its own; newest: of that."""

    place: str
    timeline: int
    newest: int


class MachineFacts(msgspec.Struct, frozen=True):
    """The machine of a node. refusals: why workers take no mail, one text for each that takes none. workers: of it.

    disk: None if it cannot be looked at. ended: in the last hour. node: its name, "" if there is no other. ahead: how
    far its clock is ahead of the database's, seconds; 0.0 if that is not known, or is an alarm already. unserved: why
    it does not serve ACME challenges, "" if it does.
    """

    refusals: tuple[str, ...] = ()
    workers: int = 0
    disk: DiskRoom | None = None
    ended: tuple[EndedProcess, ...] = ()
    node: str = ""
    ahead: float = 0.0
    unserved: str = ""


def judge_machine(facts: MachineFacts) -> Iterator[Alarm]:
    """All that is wrong with it."""
    yield from _refusals(facts)
    yield from _disk(facts)
    yield from _ended(facts)
    yield from _clock(facts)
    yield from _unserved(facts)


def _refusals(facts: MachineFacts) -> Iterator[Alarm]:
    """One for all workers: they share the disk or the database."""
    if not facts.refusals:
        return
    some = f"{len(facts.refusals)} of {quantity(facts.workers, 'worker')} cannot store mail, and accept none"
    no_mail = some if len(facts.refusals) < facts.workers else "no mail is accepted, as it cannot be stored"
    yield make_alarm(
        Kind.MAIL_REFUSED,
        Severity.CRITICAL,
        facts.node,
        f"on {facts.node}, {no_mail}" if facts.node else no_mail,
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
    free = measured_size(disk.free)
    yield make_alarm(
        Kind.DISK_LOW,
        Severity.ERROR,
        facts.node,
        f"the disk of {facts.node or 'the gateway'} is nearly full",
        f"Less than {quantity(FEW_INODES, 'file', 'files')} can still be made at {disk.directory} (inodes); when there "
        "are none, no large message is accepted, and no mailbox takes mail."
        if few
        else f"{free} are free at {disk.directory}; with less than {format_size(disk.mark)} (store.free_space) no mail "
        "is accepted. With less than twice that, mail for mailboxes there and, with SQLite, mail to be held in "
        "quarantine waits.",
        "Find what fills it, and make room or enlarge it:",
        command_line("du", "-x", "--inodes" if few else "-h", "--max-depth=2", named=disk.directory),
    )


def judge_silence(silent: Sequence[SilentNode]) -> Iterator[Alarm]:
    """One for each node that is silent."""
    for node in silent:
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


def judge_old_primaries(primaries: Sequence[OldPrimary]) -> Iterator[Alarm]:
    """One for each of them."""
    for old in primaries:
        yield make_alarm(
            Kind.OLD_PRIMARY,
            Severity.CRITICAL,
            old.place,
            f"an old primary takes writes: {old.place}",
            f"Another server took over from it (timeline {old.newest}, it has {old.timeline}). Running nodes do not "
            "use it. A node that starts while it alone can be reached does: then mail that it has is sent a second "
            "time, and mail that it takes is missing elsewhere.",
            "Stop that server, and let it come back only as a standby (pg_rewind). Mail that it took after the other "
            "was promoted is in its database alone:",
            "gatepost node list",
        )


def _clock(facts: MachineFacts) -> Iterator[Alarm]:
    """Nodes have the database's clock in common: which of the two is wrong, the time service there says."""
    if abs(facts.ahead) < _WRONG_CLOCK:
        return
    off, node = quantity(round(abs(facts.ahead)), "second"), facts.node
    yield make_alarm(
        Kind.CLOCK_JUMPED,
        Severity.ERROR,
        node,
        f"the clock of {node} is wrong",
        (f"It is {off} ahead of the database's. " if facts.ahead > 0 else f"It is {off} behind the database's. ")
        + "Mail that waits is tried at the right time, but certificates, tokens and signatures are judged by the wrong "
        "one there, and log and trace have it.",
        "Correct the clock there, or that of the database if it is the wrong one:",
        "timedatectl",
        "gatepost node list",
    )


def _ended(facts: MachineFacts) -> Iterator[Alarm]:
    for process in facts.ended:
        yield make_alarm(
            Kind.PROCESS_ENDED,
            Severity.ERROR,
            f"{process.name} of {facts.node}" if facts.node else process.name,
            f"{process.name} of {facts.node or 'the gateway'} ended unexpectedly",
            f"In the last hour it ended {quantity(process.times, 'time')}, at last at {second_text(process.at)} with "
            f"{process.how}. The gateway starts it again; mail that was accepted is not lost. This alarm ends "
            "after an hour without another such end.",
            "See what the kernel says. If memory ran out, give the machine more, or set server.workers lower:",
            "journalctl -k --since -2h",
            "gatepost doctor",
        )


def _unserved(facts: MachineFacts) -> Iterator[Alarm]:
    if not facts.unserved:
        return
    yield make_alarm(
        Kind.ACME_PORT,
        Severity.WARNING,
        facts.node,
        f"{facts.node or 'the gateway'} does not serve ACME challenges",
        f"The reason: {own(facts.unserved)}. No certificate can be requested or renewed there. Mail goes on.",
        "Free the port; the gateway tries it every five seconds. If its account lacks the permission, give it "
        "that, or start the gateway as root once the port is free:",
        "gatepost doctor",
    )
