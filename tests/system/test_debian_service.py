"""What the Debian package does with the service, under systemd: upgrade with mail in the queue, removal, purge.

GATEPOST_DEB names a package that is built already.
"""

from __future__ import annotations

import shutil

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


def install(root: BootedRoot) -> str:
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
    with BootedRoot() as root:
        shutil.copyfile(package, root / "root/gatepost.deb")
        assert "not started, because it has no hostname" in install(root)
        root.run("sh", "-c", f"{QUICKSTART} >/root/zone", expect=None)
        root.run("systemctl", "enable", "--now", "gatepost")
        assert state(root) == "active"
        root.run("python3", "-c", SEND)
        assert "bank.example" in queue(root)

        install(root)
        assert state(root) == "active"
        assert since_epoch(root, "InactiveEnterTimestamp") < (root / "usr/bin/gatepost").stat().st_ctime
        assert since_epoch(root, "ActiveEnterTimestamp") > (root / "usr/bin/gatepost").stat().st_ctime
        assert "bank.example" in queue(root)

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
