"""The PostgreSQL server of the demonstration: the installed programs, with data of its own.

It listens on a Unix socket in a folder that only its account and root may enter. The machine's own clusters are neither
read nor changed.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from gatepost.manage.cli.demo_partner import wait_for_start
from gatepost.manage.cli.output import _

_DEBIAN: Final = "/usr/lib/postgresql"
_ACCOUNT: Final = "postgres"  # of Debian's package, and of most others
_PORT: Final = 5432  # part of the socket's name; nothing listens on it


class PostgresMissingError(Exception):
    """There is no PostgreSQL that can be used; the text says what to install."""


def find_postgres(debian: str = _DEBIAN) -> tuple[Path, str]:
    """The folder of the newest server's programs, and its version. Raises PostgresMissingError.

    debian: where Debian has a folder for each version. That of `initdb` on the PATH counts too.
    """
    if find_spec("asyncpg") is None:
        raise PostgresMissingError(_("several nodes need the Python package asyncpg: install gatepost[postgres]"))
    folders = [path.parent for path in Path(debian).glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    versions = [(version, folder) for folder in folders if (version := _version(folder / "postgres"))]
    if not versions:
        raise PostgresMissingError(
            _("PostgreSQL is not installed; several nodes need it. Debian: apt install postgresql")
        )
    version, folder = max(versions, key=lambda pair: int(pair[0].partition(".")[0]))
    if os.geteuid() == 0 and not _has_account():
        text = _("PostgreSQL does not run as root, and there is no account %(account)s", account=_ACCOUNT)
        raise PostgresMissingError(
            _(
                "%(text)s: install it from a package that makes one (Debian: postgresql), or run the command as "
                "another user",
                text=text,
            )
        )
    return folder, version


def _version(program: Path) -> str:
    """Of a server, such as "17.6"; "" if the program is none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - an installed program
    except OSError:
        return ""
    version = re.search(r"\d+(\.\d+)?", done.stdout)
    return version[0] if version else ""


def _has_account() -> bool:
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return False
    return True


class DemoPostgres:
    """home: a new folder for it. programs: of `find_postgres`. Run by root, it becomes the account `postgres`."""

    def __init__(self, home: Path, programs: Path) -> None:
        self._home = home
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(0o700)
        if os.geteuid() == 0:
            home.parent.chmod(0o711)  # its account passes through, and sees nothing else
            shutil.chown(home, _ACCOUNT, _ACCOUNT)

    @property
    def url(self) -> str:
        """For `store.url`."""
        return f"postgresql:///gatepost?user=gatepost&host={quote(str(self._home))}&port={_PORT}"

    def start(self) -> None:
        """Make its data and an empty database, and start. Raises RuntimeError with what it said if it does not."""
        data = str(self._home / "data")
        self._run("initdb", "-D", data, "-U", _ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = {"listen_addresses": "", "unix_socket_directories": str(self._home), "port": str(_PORT)}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self._home / "log").open("wb") as log:
            self._process = self._popen(["postgres", "-D", data, *words], log)
        self._wait()
        self._run("createuser", *self._address(), "gatepost")
        self._run("createdb", *self._address(), "-O", "gatepost", "gatepost")

    def stop(self) -> None:
        """End it: clients are cut off, all is written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # its processes end with it, as they would not by SIGKILL
                self._process.wait()

    def _wait(self) -> None:
        assert self._process is not None  # noqa: S101 - called by `start`
        ready = [str(self._programs / "pg_isready"), "-q", *self._address()]

        def is_ready() -> bool:
            return subprocess.run(ready, check=False).returncode == 0  # noqa: S603 - an installed program

        wait_for_start("answer of PostgreSQL", is_ready, self._process, self._home / "log")

    def _address(self) -> list[str]:
        return ["-h", str(self._home), "-p", str(_PORT), "-U", _ACCOUNT]

    def _run(self, program: str, *words: str) -> None:
        with self._popen([program, *words], subprocess.PIPE) as process:
            said, _errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{program} ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")

    def _popen(self, words: list[str], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        account = _ACCOUNT if os.geteuid() == 0 else None
        return subprocess.Popen(  # noqa: S603 - an installed program
            [str(self._programs / words[0]), *words[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends this after the nodes
            user=account,
            group=account,
            extra_groups=[] if account else None,
        )
