"""A clean Debian 13 to install a package in: a copy of what mmdebstrap made, and commands that run in it by chroot.

The system is made once (network, root, mmdebstrap) and kept in the user's cache folder; GATEPOST_FRESH names another.
Commands see this machine's network, /dev, and a /proc of their own; there is no systemd.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from support.debian import MARK, need
from support.process import ROOT, Child

from gatepost.testing.process import FixtureError, Folder

PACKAGES = (
    "python3,ca-certificates,dns-root-data,libunbound8,openssl,systemd-standalone-sysusers,systemd-standalone-tmpfiles"
)
_INSIDE = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


def base(name: str = "trixie-package", packages: str = PACKAGES) -> Path:
    """The clean system, which is made if it is not there. Skips the test, loudly, where it cannot be."""
    need("root")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("GATEPOST_FRESH") or cache / "gatepost-fresh") / name
    if not root.exists():
        if shutil.which("mmdebstrap") is None:
            pytest.skip(f"{MARK}: mmdebstrap")
        new = root.with_name(f"{root.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={packages}", "trixie", new]
        if subprocess.run(command, check=False, capture_output=True, timeout=600).returncode:
            shutil.rmtree(new, ignore_errors=True)
            pytest.skip(f"{MARK}: Debian's archive, for a clean system")
        new.rename(root)
    return root


def with_venv() -> Path:
    """The clean system that scripts/fresh_machine.sh keeps, which can make environments. Skips the test without it."""
    need("root")
    root = base().with_name("trixie")
    if not root.exists():
        pytest.skip(f"{MARK}: the clean system of scripts/fresh_machine.sh")
    return root


def built_package(folders: pytest.TempPathFactory) -> Path:
    """The Debian package, built once for all processes of the run, or the one that GATEPOST_DEB names.

    Skips the test, loudly, where it cannot be built.
    """
    if named := os.environ.get("GATEPOST_DEB"):
        return Path(named)
    own = folders.getbasetemp()
    output = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "package"
    output.mkdir(exist_ok=True)
    with (output / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(output.glob("*.deb"), None) or _build(output)


def _build(output: Path) -> Path:
    if not Path("/usr/bin/python3.13").exists():
        pytest.skip(f"{MARK}: python3.13, as Debian 13 has it")
    command = [sys.executable, ROOT / "scripts/debian_package.py", "--fast", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    if "error sending request" in done.stderr or "dns error" in done.stderr:
        pytest.skip(f"{MARK}: the libraries of the lock, which no cache has")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


class CleanRoot:
    """A copy of the clean system, or of another folder, removed at the end."""

    def __init__(self, source: Path | None = None) -> None:
        source = source or base()
        self.folder = Folder("clean-root")
        self.path = self.folder.path / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", source, self.path], check=True)
        self._child: Child | None = None
        self.notified: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.folder.remove()

    def __truediv__(self, inside: str) -> Path:
        return self.path / inside.removeprefix("/")

    def run(self, *command: str, expect: int | None = 0) -> str:
        """What a command of root's in it prints. expect: its exit status, None for any."""
        done = subprocess.run(self.command(*command), capture_output=True, env=_environment(), check=False, timeout=300)
        text = (done.stdout + done.stderr).decode(errors="replace")
        if expect is not None and done.returncode != expect:
            raise FixtureError(f"{' '.join(command)}: exit {done.returncode}, not {expect}\n{text}")
        return text

    def lend_network(self) -> None:
        """Let commands in it reach archives of packages as this machine does."""
        for name in ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt"):
            if Path("/", name).is_file():
                (self / name).unlink(missing_ok=True)
                shutil.copy(Path("/", name), self / name)

    def start_unit(self, name: str) -> None:
        """Run the unit's ExecStart as its User with its capabilities, and wait until it says that it is ready."""
        unit = self.unit(name)
        capability = unit["AmbientCapabilities"].lower().replace("cap_", "+")
        user = ["setpriv", f"--reuid={unit['User']}", f"--regid={unit['Group']}", "--init-groups", "--no-new-privs"]
        user += [f"--inh-caps=-all,{capability}", f"--bounding-set=-all,{capability}", f"--ambient-caps={capability}"]
        place = self / "run/notify"
        place.unlink(missing_ok=True)
        self.notified.clear()  # an earlier start said so, too
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(place))
        self._manager.setblocking(False)
        place.chmod(0o777)
        variables = {**_environment(), "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "60000000"}
        command = self.command(*user, *unit["ExecStart"].split())
        self._child = Child(command, self.folder.path / "log.txt", variables)
        self._child.wait_ready(lambda: self.has_said("READY=1"), timeout=300)

    def unit(self, name: str) -> dict[str, str]:
        """The last value of each key of an installed unit."""
        places = [self / f"{folder}/systemd/system/{name}" for folder in ("etc", "usr/lib")]
        lines = next(filter(Path.exists, places)).read_text().splitlines()
        return {key: value for key, equals, value in (line.partition("=") for line in lines) if equals}

    def has_said(self, line: str) -> bool:
        """Whether the service told its manager this."""
        while True:
            try:
                self.notified += self._manager.recv(4096).decode().split("\n")
            except BlockingIOError:
                return line in self.notified

    def stop(self) -> int:
        """SIGTERM to the service; its exit status."""
        child, self._child = self._child, None
        if child is None:
            return 0
        status = child.stop(grace=60)
        self.has_said("")
        self._manager.close()
        return status

    @property
    def service(self) -> Child:
        assert self._child is not None
        return self._child

    def log(self) -> str:
        """What the service printed so far."""
        log = self.folder.path / "log.txt"
        return log.read_text(errors="replace") if log.exists() else ""

    def command(self, *words: str) -> list[str]:
        """What runs a command of root's in it."""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _INSIDE, str(self.path), *words]


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }
