"""The address of the admin centre, and the one-time one at which the first owner is made.

The latter is shown to who started the gateway, and to nobody else. Whoever has it becomes the owner, so it is never
logged: a log goes to journald, to files and to other machines. It is shown on the terminal if there is one, else it is
in a file for the gateway's account alone.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gatepost.manage.use_cases.times import stamp as moment
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.settings.model import Settings


SETUP_FILE: Final = "setup-address"
"""In data_dir, where there is no terminal; gone at the next start once there is an owner."""
_LONGEST: Final = 4096  # characters that are read of it

_log = logging.getLogger(__name__)


def show_setup(data_dir: Path, address: str, *, until: float, replaced: bool = False) -> None:
    """Show the address on the terminal, or put it into a file and log where that is.

    until: seconds since 1970. replaced: an address that was shown before, and was still valid, is so no more.
    """
    forget_setup(data_dir)
    minutes = _minutes(until)
    if replaced:
        _log.warning("admin centre: the set-up address shown before is no longer valid; a new one replaces it")
    terminal = next((stream for stream in (sys.stderr, sys.stdout) if stream is not None and stream.isatty()), None)
    if terminal is not None:
        print(f"admin centre: create the owner account at {address} (valid once, {minutes})", file=terminal, flush=True)
        return
    file = data_dir / SETUP_FILE
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "w", encoding="ascii") as opened:
            opened.write(f"{address}\n# valid once, until {moment(until)}; a new one: gatepost user setup\n")
    except OSError as error:
        _log.warning("%s: %s; to get the address for the owner account: gatepost user setup", file, error.strerror)
        return
    _log.info(
        "admin centre: create the owner account at the address in %s within %s, or run gatepost user setup",
        file,
        minutes,
    )


def tell_of_setup_elsewhere(data_dir: Path, until: float) -> None:
    """Log that another node of the site showed the address that is valid. until: seconds since 1970."""
    forget_setup(data_dir)
    _log.warning(
        "admin centre: another node showed the set-up address, which is valid for %s more; it works on this node too, "
        "and without a master key ([store] master_key) only that node can show it. To replace it: gatepost user setup",
        _minutes(until),
    )


def _minutes(until: float) -> str:
    return quantity(max(1, round((until - time.time()) / 60)), "minute")


def known_setup(data_dir: Path) -> str:
    """The code in the file that an earlier start left; "" if there is none."""
    try:
        number = os.open(data_dir / SETUP_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, encoding="ascii", errors="replace") as opened:
            return opened.read(_LONGEST).partition("\n")[0].partition("/setup?code=")[2]
    except OSError:
        return ""


def forget_setup(data_dir: Path) -> None:
    """Remove the file with an address that is of no use any more."""
    with suppress(OSError):
        (data_dir / SETUP_FILE).unlink()


_EVERYWHERE: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not listened on


def admin_url(settings: Settings, port: int = 0, *, local: bool) -> str:
    """Its address. port: 0 for that of the settings. local: on this machine, since nobody else is answered yet."""
    host, _, written = settings.admin.address.rpartition(":")
    if host in _EVERYWHERE:
        host = "127.0.0.1" if local else settings.server.hostname
    return f"https://{host}:{port or written}"


def setup_url(settings: Settings, code: str, port: int = 0) -> str:
    """Where the first owner is made."""
    return f"{admin_url(settings, port, local=True)}/setup?code={code}"
