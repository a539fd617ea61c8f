"""A clean Debian 13 that systemd has booted, in namespaces of its own: units and what packages do with them are real.

It has loopback and no other network, and a cgroup of its own, which is removed with it. Skips the test where a process
may not make cgroups.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from support.clean_root import CleanRoot, base
from support.debian import MARK
from support.process import Child

from gatepost.testing.process import wait_until

PACKAGES = "python3,ca-certificates,dbus,dns-root-data,iproute2,libunbound8,openssl,postfix,systemd,systemd-sysv"
_BOOT = r"""
set -e
ip link set lo up
mount --bind "$0" "$0"
cd "$0"
ln -sf /dev/null etc/systemd/system/systemd-sysctl.service # kernel variables are this machine's
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for place in run tmp; do mount -t tmpfs tmpfs $place; done
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do : >dev/$device; mount --bind /dev/$device dev/$device; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none dev/pts
pivot_root . mnt
umount -l /mnt
mount --make-rshared / # what systemd mounts for one service, such as its credentials, is seen by that service
exec env -i container=other /sbin/init --log-target=null
"""
_SPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net")


class BootedRoot(CleanRoot):
    """A copy of a clean system with systemd as its first process."""

    def __init__(self) -> None:
        super().__init__(base("trixie-booted-postfix", PACKAGES))
        self._cgroup = _new_cgroup(self.folder.path.name)
        join = f"echo $$ >{self._cgroup}/cgroup.procs; exec unshare --fork --kill-child --propagation private "
        boot = ["sh", "-c", f'{join} {" ".join(_SPACES)} sh -c "$1" "$0"', str(self.path), _BOOT]
        self._booted = Child(boot, self.folder.path / "boot.txt")
        self._first = 0

    def __enter__(self) -> Self:
        try:
            wait_until(self._has_booted, "a system that has booted", timeout=120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._booted.kill()
        populated = lambda: "populated 1" in (self._cgroup / "cgroup.events").read_text()  # noqa: E731
        wait_until(lambda: not populated(), "the end of all processes", timeout=60)
        for folder in sorted(self._cgroup.rglob("*/"), reverse=True):
            folder.rmdir()
        self._cgroup.rmdir()
        super().__exit__()

    def command(self, *words: str) -> list[str]:
        """What runs a command of root's in it."""
        return ["nsenter", f"--target={self._first}", *_SPACES, "--root", "--wd", *words]

    def _has_booted(self) -> bool:
        """Whether its targets are reached; which service failed to start does not matter."""
        pid = self._booted.pid  # sh, which became unshare
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) != 1 or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self._first = int(children[0])
        done = subprocess.run(
            self.command("systemctl", "is-system-running"), capture_output=True, text=True, check=False
        )
        return done.stdout.strip() in {"running", "degraded"}


def _new_cgroup(name: str) -> Path:
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            folder = Path(place, name)
            with suppress(OSError):
                folder.mkdir()
                return folder
    pytest.skip(f"{MARK}: a cgroup of its own for systemd")
