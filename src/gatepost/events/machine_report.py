"""The machine of a node as a worker sees it, for alarms: the disk, ended processes, why no mail is taken. Pure.

`node.machine_report` looks. A heartbeat carries it to other nodes, and `analysis.alarms.machine` judges it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

NEARLY_FULL: Final = 4
"""Times `store.free_space`; with less than that on the disk an administrator is told, as limits become tighter."""

FEW_INODES: Final = 10_000

_RECOVERED: Final = 1.1
"""Times what is too little, until there is enough again: so a disk at the mark raises and ends no alarm each minute."""


MOST: Final = (1 << 62) - 1
"""The largest number in a report: file systems of clouds say that they have more bytes or inodes."""

MOST_ENDED: Final = 50
"""Ended processes in a report."""

type _Count = Annotated[int, Meta(ge=0, le=MOST)]  # a worker that was taken over may write any number
type _Time = Annotated[float, Meta(ge=0, lt=1 << 33)]


class DiskRoom(msgspec.Struct, frozen=True):
    """The disk of `directory`. free: bytes. mark: `store.free_space`, at which no mail is taken. inodes: that are free.

    inodes: None where the file system does not count them. was_low: at the look before.
    """

    directory: str
    free: _Count
    mark: _Count
    inodes: _Count | None = None
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
    at: _Time
    times: _Count


class MachineReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """refusal: why the worker takes no mail, "" if it does. disk: None if it cannot be looked at. ended: in an hour.

    unserved: why ACME challenges are not served here though the settings ask for it, "" if they are.
    """

    refusal: str = ""
    disk: DiskRoom | None = None
    ended: Annotated[tuple[EndedProcess, ...], Meta(max_length=MOST_ENDED)] = ()
    unserved: str = ""
