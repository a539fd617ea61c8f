"""Landlock: the kernel's allow-list of files for a process and its children (landlock(7)).

Called by `node.confinement`. By system calls, as no library of Python's own has them. It holds for the calling thread
and all that it starts, so it is called before there are others. Nothing leads back.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from enum import IntFlag
from typing import Final

OLDEST: Final = 2
"""The version of Landlock that is needed (Linux 5.19): before it no file can go from one directory to another."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same on every architecture
_VERSION: Final = 1  # a flag: only ask
_BENEATH, _PORT = 1, 2  # kinds of rules: below a directory, of a TCP port
_BIND_TCP: Final = 1
_TCP_SINCE, _SCOPES_SINCE = 4, 6  # versions
_SCOPES: Final = 0b11  # no abstract sockets and no signals of processes outside


class Access(IntFlag):
    """Ways to use a file, as the kernel numbers them (linux/landlock.h)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    REFER = 1 << 13
    TRUNCATE = 1 << 14

    READ = READ_FILE | READ_DIR
    CHANGE = READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER


_ALL: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All accesses that exist, by the version since which they do: what no rule names is denied."""

_OF_FILES: Final = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """The version that the running kernel has; 0 for none, or where it is switched off."""
    return max(0, int(_libc.syscall(_CREATE, None, 0, _VERSION)))


def restrict_files(rules: Mapping[str, Access], *, isolated: bool = False, port: int = 0) -> None:
    """Deny this thread, and all that it starts, every access to files that no rule allows.

    rules: files, and directories with all below them. Paths that are not there are left out, and so are symbolic links,
    which anybody may have made. isolated: it binds no TCP port of its choice, only one that the kernel chooses, or
    `port`, and sends no signal to processes outside. Needs `OLDEST` and no_new_privs. Raises OSError.
    """
    version = landlock_version()
    handled = next(_ALL[since] for since in sorted(_ALL, reverse=True) if since <= max(version, 1))
    ports = _BIND_TCP if isolated and version >= _TCP_SINCE else 0
    attributes = struct.pack("=QQQ", handled, ports, _SCOPES if isolated and version >= _SCOPES_SINCE else 0)
    ruleset = _called(_CREATE, attributes, len(attributes), 0)
    try:
        for path, access in rules.items():
            with suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, access & handled)
        for allowed in {0, port} if ports else ():
            _called(_ADD, ruleset, _PORT, struct.pack("=QQ", _BIND_TCP, allowed), 0)
        _called(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    file = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(file).st_mode
        if not stat.S_ISDIR(mode):
            access &= _OF_FILES
        if access and not stat.S_ISLNK(mode):
            _called(_ADD, ruleset, _BENEATH, struct.pack("=Qi", access, file), 0)
    finally:
        os.close(file)


def _called(*words: int | bytes) -> int:
    result = int(_libc.syscall(*words))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
