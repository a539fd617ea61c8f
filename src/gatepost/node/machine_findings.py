"""Findings about the machine that a gateway runs on: account, files, ports, disk, memory, limits, clock.

Made for `gatepost doctor`. Nothing is changed but a file of one page in data_dir, written, synchronized and removed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.machine_report import FEW_INODES, NEARLY_FULL
from gatepost.net.listener import parse_address
from gatepost.node.confinement import Means, runs_programs, unlisted_directories
from gatepost.node.listening import SYSTEMD, Holder, holder_of
from gatepost.node.privileges import PrivilegeError, foreign_files, gateway_account, may_make_in
from gatepost.policy.connectors.units import format_size, measured_size
from gatepost.quantity import quantity
from gatepost.store.queue_room import QUEUE_MARKS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gatepost.settings.model import Settings


_SYNCS: Final = 5
_HONEST: Final = 30e-6
"""Seconds. Flash whose cache outlives the power takes longer for the write alone; what ends sooner wrote nothing."""
_SLOW: Final = 0.05
_IN_MEMORY: Final = {0x01021994: "tmpfs", 0x858458F6: "ramfs"}  # linux/magic.h
_LEAST_MEMORY: Final = 192 << 20
_LEAST_DESCRIPTORS: Final = 4096
_STA_UNSYNC: Final = 0x0040  # sys/timex.h
_FIRST_YEAR: Final = 1_750_000_000.0  # a clock before 2025-06 was never set


class Level(StrEnum):
    """The gravity of a finding. UNKNOWN: it could not be told here."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    UNKNOWN = "unknown"
    FAIL = "fail"


class DoctorFinding(msgspec.Struct, frozen=True):
    """One thing that was looked at. area: such as "port 0.0.0.0:25". text: a sentence. fix: what to do, or ""."""

    area: str
    level: Level
    text: str
    fix: str = ""


def account_findings(settings: Settings) -> Iterator[DoctorFinding]:
    """The account that the gateway runs as, and whether its data belongs to it."""
    data_dir = Path(settings.server.data_dir)
    try:
        account = gateway_account(settings.server)
    except PrivilegeError as error:
        text, _, fix = " ".join(str(error).split()).partition(". ")
        yield DoctorFinding("account", Level.FAIL, text, fix)
        return
    if account.uid == 0:
        text = "the gateway would run as root: a fault in it gives away the machine"
        yield DoctorFinding("account", Level.WARN, text, 'write user = "gatepost" under [server]')
    else:
        yield DoctorFinding("account", Level.PASS, f"the gateway runs as {account.name}")
    try:
        owner = data_dir.stat().st_uid
    except OSError as error:
        yield _no_data_dir(data_dir, error)
        return
    chown = f"chown -R {account.name}: {data_dir}"
    if owner != account.uid and not (owner == 0 == os.getuid() and not any(data_dir.iterdir())):
        fix = chown
        if may_make_in(account, data_dir):
            fix = (
                f"name a directory in it, which the gateway makes: {data_dir}/data; or chown -R {account.name}: "
                f"{data_dir}"
            )
        yield DoctorFinding("data_dir", Level.FAIL, f"{data_dir} does not belong to {account.name}", fix)
    elif foreign := foreign_files(account, data_dir):
        text = f"{quantity(len(foreign), 'file', 'files')} in {data_dir} do not belong to {account.name}: {foreign[0]}"
        yield DoctorFinding("data_dir", Level.FAIL, text, chown)
    else:
        yield DoctorFinding("data_dir", Level.PASS, f"{data_dir} belongs to {account.name}")


def _no_data_dir(data_dir: Path, error: OSError) -> DoctorFinding:
    if isinstance(error, FileNotFoundError) and data_dir.parent.is_dir():
        return DoctorFinding(
            "data_dir", Level.PASS, f"{data_dir} does not exist yet; the gateway creates it when it starts"
        )
    made = f"make the directory above it: mkdir -p {data_dir.parent}"
    return DoctorFinding("data_dir", Level.FAIL, f"{data_dir}: {error.strerror}", made)


def confinement_findings(settings: Settings) -> Iterator[DoctorFinding]:
    """The confinement of processes that talk to the network (`node.confinement`), as this kernel and settings allow."""
    means = Means.here()
    if not settings.server.confine:
        text = "a fault in a process gives away all that the gateway's account may do"
        yield DoctorFinding("confinement", Level.WARN, text, "remove confine = false under [server]")
    elif means.missing:
        text = f"processes are not confined in their use of {means.missing}"
        yield DoctorFinding("confinement", Level.WARN, text, "use a kernel that has it; docs/service.md says what for")
    elif runs_programs(settings):
        text = "system calls are denied, files are not: the module of [pkcs11] uses files of its own"
        yield DoctorFinding("confinement", Level.PASS, text)
    elif runs_programs(settings, 0):
        text = "files (Landlock) and system calls, but for files in the worker that runs acme.dns_hook"
        yield DoctorFinding("confinement", Level.PASS, text)
    elif unlisted := unlisted_directories(Path(settings.server.data_dir)):
        text = f"the gateway's account cannot list {unlisted[0]}, so files there that resources name cannot be read"
        fix = f"chmod o+r {unlisted[0]}, or keep data_dir below directories that it may list"
        yield DoctorFinding("confinement", Level.WARN, text, fix)
    else:
        yield DoctorFinding(
            "confinement", Level.PASS, "files (Landlock) and system calls that nothing needs are denied"
        )


def port_findings(settings: Settings, own: Collection[int]) -> Iterator[DoctorFinding]:
    """Whether each address that is to be served is free, or held by this gateway. own: its process ids."""
    addresses = [listener.address for listener in settings.listeners]
    addresses += settings.public_addresses.values()
    addresses += [settings.acme.served_at, settings.site.address, settings.metrics_address, settings.admin.address]
    parsed = {address: parse_address(address) for address in filter(None, addresses)}
    held = {address: _holder_finding(address, *place, own) for address, place in parsed.items() if place[1]}
    is_up = any(finding is not None and finding.level is Level.PASS for finding in held.values())
    for address, finding in held.items():
        yield finding or _free_finding(address, is_up=is_up)


def _free_finding(address: str, *, is_up: bool) -> DoctorFinding:
    """is_up: the gateway serves another one. Another program may have had this one at its start: `manage.cli.ports`."""
    if is_up:
        text = (
            "free, and the gateway, which runs, does not serve it: another program had it at the start, or the "
            "gateway's account may not bind it"
        )
        fix = "restart the gateway, or let its account bind the port (sysctl net.ipv4.ip_unprivileged_port_start)"
        return DoctorFinding(f"port {address}", Level.WARN, text, fix)
    return DoctorFinding(f"port {address}", Level.PASS, "nothing else uses it")


def _holder_finding(address: str, host: str, port: int, own: Collection[int]) -> DoctorFinding | None:
    """None if nobody has it."""
    area = f"port {address}"
    try:
        targets = {str(target[4][0]) for target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        return DoctorFinding(area, Level.FAIL, f"{host}: {error.strerror}", "write an IP address of this machine")
    for target in sorted(targets):
        holder = holder_of(target, port)
        if holder is None:
            if _is_elsewhere(target):
                text = f"{target}: {os.strerror(errno.EADDRNOTAVAIL)}"
                return DoctorFinding(area, Level.FAIL, text, "write an IP address of this machine")
            continue
        return _held_finding(area, port, holder, own)
    return None


def _held_finding(area: str, port: int, holder: Holder, own: Collection[int]) -> DoctorFinding:
    """Whether who has it is this gateway, or may be."""
    # The admin centre sees itself alone, and has the settings by which its supervisor bound the ports.
    pid = os.getppid() if holder.pid in {0, os.getpid()} else holder.pid
    if pid in own:
        return DoctorFinding(area, Level.PASS, f"served by this gateway, process {pid}")
    if own and not holder.pid:  # started by root, it became another account, which may not look at it
        text = "taken by a program that only root may see, which may be this gateway"
        return DoctorFinding(area, Level.UNKNOWN, text, "run gatepost doctor as root")
    if holder == SYSTEMD:
        fix = "see that the unit belongs to the gateway: systemctl list-sockets"
        return DoctorFinding(area, Level.WARN, "systemd listens there for a socket unit", fix)
    who = f"{holder.name}, process {holder.pid}" if holder.pid else "a program that only root may see"
    fix = f"stop it, or give the listener another address: ss -ltnp 'sport = :{port}' shows it"
    return DoctorFinding(area, Level.FAIL, f"taken by {who}", fix)


def _is_elsewhere(address: str) -> bool:
    """Whether this machine lacks an IP address, so that nothing can listen there. False if that is not known."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def disk_refusal(settings: Settings) -> str:
    """Why the disk of data_dir lets no mail be stored, "" if it does: seen from outside of the worker.

    A worker on a full disk cannot even write down that it takes no mail. Just above this mark it can.
    """
    if not settings.store.url.startswith("sqlite:"):
        return ""
    try:
        disk = os.statvfs(settings.server.data_dir)
    except OSError:
        return ""
    if disk.f_flag & os.ST_RDONLY:
        return "the disk of data_dir is read-only"
    if disk.f_bavail * disk.f_frsize < settings.store.free_space // 4:
        return "the disk of data_dir has no more room than store.free_space"
    return ""


def disk_findings(settings: Settings) -> Iterator[DoctorFinding]:
    """Room in data_dir, and whether a synchronized write is on disk when the call returns."""
    data_dir = Path(settings.server.data_dir)
    try:
        disk = os.statvfs(data_dir)
        seconds = _sync_time(data_dir)
    except OSError as error:
        yield _unwritable(data_dir, error)
        return
    free, mark = disk.f_bavail * disk.f_frsize, settings.store.free_space
    text = f"{measured_size(free)} free at {data_dir}"
    if free <= mark:
        full = f"{text}, not more than store.free_space ({format_size(mark)}): mail is answered 452"
        yield DoctorFinding("disk", Level.FAIL, full, f"make room there: du -xh {data_dir}")
    elif free < QUEUE_MARKS * mark:
        waits = (
            f"{text}, less than twice store.free_space ({format_size(mark)}): mail for mailboxes there and, with "
            "SQLite, mail to be held in quarantine waits"
        )
        yield DoctorFinding("disk", Level.WARN, waits, f"make room there: du -xh {data_dir}")
    elif free < NEARLY_FULL * mark or (disk.f_files and disk.f_favail < FEW_INODES):
        yield DoctorFinding("disk", Level.WARN, f"{text}, {disk.f_favail} inodes", "make room, or a larger file system")
    else:
        yield DoctorFinding("disk", Level.PASS, text)
    yield _sync_finding(data_dir, seconds)


def _unwritable(data_dir: Path, error: OSError) -> DoctorFinding:
    text = f"{data_dir} cannot be written: {error.strerror}"
    if error.errno in {errno.EROFS, errno.EIO}:
        fix = f"see what the kernel says of the disk (dmesg), and how it is mounted: findmnt -T {data_dir}"
        return DoctorFinding("disk", Level.FAIL, f"{text}; mail is answered 451", fix)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        fix = f"make room, or free inodes: df -h {data_dir}; df -i {data_dir}"
        return DoctorFinding("disk", Level.FAIL, f"{text}; mail is answered 452", fix)
    return DoctorFinding("disk", Level.UNKNOWN, text)


def _sync_finding(data_dir: Path, seconds: float) -> DoctorFinding:
    took = f"a synchronized write takes {1000 * seconds:.2g} ms"
    if kind := _IN_MEMORY.get(_file_system(data_dir), ""):
        text = f"{data_dir} is in memory ({kind}): all mail in it is lost when the machine stops"
        return DoctorFinding("syncs", Level.FAIL, text, "set server.data_dir to a directory on a disk")
    if seconds < _HONEST:
        text = f"{took}: the disk says that data is safe before it is, and a power cut loses accepted mail"
        return DoctorFinding("syncs", Level.WARN, text, "turn off the volatile cache of the disk or of the hypervisor")
    if seconds > _SLOW:
        text = f"{took}: messages wait for it before 250"
        return DoctorFinding("syncs", Level.WARN, text, "move server.data_dir to a faster disk")
    return DoctorFinding("syncs", Level.PASS, took)


def _sync_time(data_dir: Path) -> float:
    """Seconds that the fastest of some synchronized writes takes."""
    path = data_dir / f".doctor-{os.getpid()}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        times = []
        for place in range(_SYNCS):
            begun = time.perf_counter()
            os.pwrite(file, bytes(4096), 4096 * place)
            os.fdatasync(file)
            times.append(time.perf_counter() - begun)
        return min(times)
    finally:
        os.close(file)
        path.unlink()


def _file_system(path: Path) -> int:
    """The number of the kind of file system (statfs(2)); 0 if it cannot be told."""
    words = (ctypes.c_long * 32)()
    return words[0] if ctypes.CDLL(None).statfs(os.fsencode(path), words) == 0 else 0


def machine_findings(now: float) -> Iterator[DoctorFinding]:
    """Memory, open files and the clock. now: seconds since 1970."""
    with suppress(OSError, ValueError):
        available = _available_memory()
        text = f"{measured_size(available)} available"
        if available < _LEAST_MEMORY:
            yield DoctorFinding("memory", Level.WARN, text, "give the machine more memory, or set server.workers lower")
        else:
            yield DoctorFinding("memory", Level.PASS, text)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{most} for each process" if most != resource.RLIM_INFINITY else "no limit"
    if most != resource.RLIM_INFINITY and most < _LEAST_DESCRIPTORS:
        fix = f"a worker needs two for each session: LimitNOFILE={_LEAST_DESCRIPTORS} in the unit, or ulimit -n"
        yield DoctorFinding("open files", Level.WARN, text, fix)
    else:
        yield DoctorFinding("open files", Level.PASS, text)
    yield _clock_finding(now)


def _available_memory() -> int:
    """Bytes."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise ValueError("no MemAvailable")


def _clock_finding(now: float) -> DoctorFinding:
    """The clock: certificates, log-ins and reports go by it."""
    if now < _FIRST_YEAR:
        text = "the clock was never set: every certificate is not valid yet"
        return DoctorFinding("clock", Level.FAIL, text, "timedatectl set-ntp true")
    kept = _is_kept_right()
    if kept is None:
        text = "whether a time service keeps the clock right is unknown: the call that says so is denied here"
        return DoctorFinding("clock", Level.UNKNOWN, text, "timedatectl")
    if not kept:
        text = "nothing keeps the clock right: certificates, log-ins and reports go by it"
        return DoctorFinding("clock", Level.WARN, text, "timedatectl set-ntp true, or install chrony")
    return DoctorFinding("clock", Level.PASS, "kept right by a time service")


def _is_kept_right() -> bool | None:
    """Whether the kernel says that something keeps its clock right (adjtimex(2)); None where a unit denies the call."""
    fields = (ctypes.c_long * 64)()  # modes is 0: nothing is set
    if ctypes.CDLL(None).adjtimex(fields) < 0:
        return None
    status = ctypes.cast(ctypes.byref(fields, 5 * ctypes.sizeof(ctypes.c_long)), ctypes.POINTER(ctypes.c_int))[0]
    return not status & _STA_UNSYNC
