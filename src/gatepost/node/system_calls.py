"""A filter of system calls (seccomp(2)) that answers EPERM to those that no process of the gateway has a use for.

Called by `node.confinement`. It is a list of what is denied: what an attacker would do next after a fault in a process,
and where faults of the kernel were found. It holds for the calling thread and all that it starts. Nothing leads back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

import msgspec

from gatepost.node.privileges import forbid_new_privileges

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW: Final = 0x7FFF0000  # SECCOMP_RET_ALLOW
_ERROR: Final = 0x00050000  # SECCOMP_RET_ERRNO, with the number of the error
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_X32: Final = 0x40000000  # numbers of a second set of calls on x86-64 begin here
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW… of clone(2)
_NONE: Final = 1 << 31  # a number that no call has


class _Machine(msgspec.Struct, frozen=True):
    """architecture: AUDIT_ARCH of linux/audit.h. numbers: of the denied calls, in the order of `_DENIED`."""

    architecture: int
    execute: tuple[int, ...]
    clone: int
    numbers: tuple[int, ...]


_DENIED: Final = (
    *(
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kcmp",
        "pidfd_getfd",
        "bpf",
        "perf_event_open",
        "userfaultfd",
    ),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("pivot_root", "chroot", "open_by_handle_at", "unshare", "setns", "personality", "swapon", "swapoff", "acct"),
    *("quotactl", "syslog", "settimeofday", "clock_settime", "sethostname", "setdomainname", "iopl", "ioperm"),
)

_CLONE3: Final = 435  # its flags are out of a filter's sight: libraries go on with clone where it is not there

_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        (59, 322),
        56,
        (
            *(101, 310, 311, 312, 438, 321, 298, 323, 425, 426, 427, 250, 248, 249, 175, 313, 176, 246, 320, 169),
            *(165, 166, 429, 428, 430, 431, 432, 433, 442, 155, 161, 304, 272, 308, 135, 167, 168, 163, 179, 103),
            *(164, 227, 170, 171, 172, 173),
        ),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (221, 281),
        220,
        (
            *(117, 270, 271, 272, 438, 280, 241, 282, 425, 426, 427, 219, 217, 218, 105, 273, 106, 104, 294, 142),
            *(40, 39, 429, 428, 430, 431, 432, 433, 442, 41, 51, 265, 97, 268, 92, 224, 225, 89, 60, 116),
            *(170, 112, 161, 162, _NONE, _NONE),
        ),
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_filter_known() -> bool:
    """Whether there is a filter for this architecture."""
    return os.uname().machine in _MACHINES


def deny_system_calls(*, execute: bool) -> None:
    """Deny the calls of `_DENIED` to this thread and all that it starts. execute: programs may still be started.

    Raises OSError where the kernel has no filters, PrivilegeError without no_new_privs.
    """
    forbid_new_privileges()  # else the kernel wants root for a filter
    code = _filter(_MACHINES[os.uname().machine], execute=execute)
    program = _Program(len(code) // 8, code)
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def _filter(machine: _Machine, *, execute: bool) -> bytes:
    """The program: calls of another architecture and denied ones get EPERM, all others pass."""
    denied = (*machine.numbers, *(() if execute else machine.execute))
    refuse, missing = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine.architecture),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.architecture == _MACHINES["x86_64"].architecture:
        lines += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, refuse)]
    for number in denied:
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    lines += [
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, missing),
        (_EQUAL, 0, 3, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
