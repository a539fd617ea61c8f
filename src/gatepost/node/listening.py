"""Find the process that listens on a port, by the kernel's tables (proc(5)): no privilege is needed to see the port."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

_INIT: Final = 1
_LISTEN: Final = "0A"
_PROC: Final = Path("/proc")
_TABLES: Final = (_PROC / "net/tcp", _PROC / "net/tcp6")


class Holder(msgspec.Struct, frozen=True):
    """pid: 0 where this account may not see it. name: of its program, as the kernel keeps it."""

    pid: int = 0
    name: str = ""


SYSTEMD: Final = Holder(_INIT, "systemd")
"""Who has a port of a socket unit whose service does not run."""


def holder_of(address: str, port: int) -> Holder | None:
    """The process that keeps others from listening on an IP address and port; None if nobody does."""
    inodes = {inode for host, number, inode in _listening() if number == port and _collides(host, address)}
    return _process(inodes) if inodes else None


def _listening() -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of each listening socket of this network namespace."""
    for table in _TABLES:
        with suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    host, _, port = fields[1].partition(":")
                    yield _address(host), int(port, 16), fields[9]


def _address(text: str) -> str:
    """An address as the kernel writes it: words of 32 bits in the machine's order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def _collides(held: str, wanted: str) -> bool:
    """Whether both cannot be listened on: the same address, or one of them is every address of its family."""
    mine, theirs = ipaddress.ip_address(wanted), ipaddress.ip_address(held)
    return mine == theirs or (mine.version == theirs.version and (mine.is_unspecified or theirs.is_unspecified))


def _process(inodes: set[str]) -> Holder:
    """Of the processes that have one of the sockets open, the one that the others were forked from.

    systemd, which keeps the sockets that it passes to services, counts only where nobody else has it.
    """
    links = {f"socket:[{inode}]" for inode in inodes}
    parents = {pid: parent for pid in _processes() if links & _links(pid) and (parent := _parent(pid)) is not None}
    if len(parents) > 1 and _name(_INIT) == SYSTEMD.name:
        parents.pop(_INIT, None)
    for pid in sorted(pid for pid, parent in parents.items() if parent not in parents):
        if name := _name(pid):
            return Holder(pid, name)
    return Holder()


def _name(pid: int) -> str:
    """Its name; nothing if it has just ended."""
    with suppress(OSError):
        return (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _processes() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def _parent(pid: int) -> int | None:
    """None if it has just ended. A child may have the lower number: numbers begin anew where the system says."""
    with suppress(OSError):
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(") ")[2].split()[1])
    return None


def _links(pid: int) -> set[str]:
    """What its descriptors lead to; nothing where this account may not look."""
    with suppress(OSError):
        return {_link(entry) for entry in (_PROC / str(pid) / "fd").iterdir()}
    return set()


def _link(path: Path) -> str:
    with suppress(OSError):
        return str(path.readlink())
    return ""
