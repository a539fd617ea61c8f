"""What the Debian package does with the service, under systemd: upgrade with mail in the queue, removal, purge.

GATEPOST_DEB names a package that is built already. GATEPOST_DEB_FROM names one of an older version: the upgrade begins
there, and a roll-back leads back to it and up again. What to do before a release.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.booted_root import BootedRoot
from support.clean_root import built_package

QUICKSTART = (
    "gatepost quickstart --hostname mx1.contoso.example --domain contoso.example --upstream mailboxes"
    " --own-server 127.0.0.2 --nameserver 127.0.0.1"
)
SEND = """
import smtplib
with smtplib.SMTP("127.0.0.1", source_address=("127.0.0.2", 0)) as client:
    client.sendmail("ann@contoso.example", ["bob@bank.example"], "Subject: waits\\r\\n\\r\\nhello\\r\\n")
"""
LINK = "etc/systemd/system/multi-user.target.wants/gatepost.service"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


def install(root: BootedRoot, package: Path | None = None) -> str:
    """Install a package, or the last one again."""
    if package:
        shutil.copyfile(package, root / "root/gatepost.deb")
    return root.run("dpkg", "--install", "/root/gatepost.deb")


def state(root: BootedRoot) -> str:
    return root.run("systemctl", "is-active", "gatepost", expect=None).strip()


def queue(root: BootedRoot) -> str:
    return root.run("gatepost", "queue", "list", "--json")


def since_epoch(root: BootedRoot, event: str) -> float:
    """When the service last entered or left a state."""
    shown = root.run("systemctl", "show", "--timestamp=us+utc", f"--property={event}", "--value", "gatepost")
    return float(root.run("date", f"--date={shown.strip()}", "+%s.%N"))


def test_the_service_from_installation_to_purge(tmp_path_factory: pytest.TempPathFactory) -> None:
    package = built_package(tmp_path_factory)
    older = Path(os.environ.get("GATEPOST_DEB_FROM") or package)
    with BootedRoot() as root:
        assert "not started, because it has no hostname" in install(root, older)
        root.run("sh", "-c", f"{QUICKSTART} >/root/zone", expect=None)
        root.run("systemctl", "enable", "--now", "gatepost")
        assert state(root) == "active"
        root.run("python3", "-c", SEND)
        assert "bank.example" in queue(root)

        install(root, package)
        assert state(root) == "active"
        assert since_epoch(root, "InactiveEnterTimestamp") < (root / "usr/bin/gatepost").stat().st_ctime
        assert since_epoch(root, "ActiveEnterTimestamp") > (root / "usr/bin/gatepost").stat().st_ctime
        assert "bank.example" in queue(root)

        for other in (older, package) if older != package else ():
            install(root, other)
            assert state(root) == "active"
            assert "bank.example" in queue(root)
            assert root.run("gatepost", "evidence", "verify").endswith("\nverified\n")

        root.run("systemctl", "stop", "gatepost")
        assert "systemctl start gatepost" in install(root)
        assert state(root) == "inactive", "as whoever stopped it wants it"

        root.run("systemctl", "start", "gatepost")
        root.run("dpkg", "--remove", "gatepost")
        assert state(root) == "inactive"
        install(root)
        assert state(root) == "active"
        assert "bank.example" in queue(root)

        root.run("dpkg", "--purge", "gatepost")
        for left in (LINK, "var/lib/gatepost", "etc/gatepost"):
            assert not (root / left).is_symlink()
            assert not (root / left).exists()
        root.run("test", "!", "-e", "/run/gatepost.dpkg")
