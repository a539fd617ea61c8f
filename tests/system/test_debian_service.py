"""What the Debian package does with the service, under systemd: upgrade with mail in the queue, removal, purge, and
what README.Debian says about Postfix on the same machine, credentials and socket activation.

GATEPOST_DEB names a package that is built already. GATEPOST_DEB_FROM names one of an older version: the upgrade begins
there, and a roll-back leads back to it and up again. What to do before a release.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from support.booted_root import BootedRoot
from support.clean_root import built_package

from gatepost.testing.process import wait_until

QUICKSTART = (
    "gatepost quickstart --hostname mx1.contoso.example --domain contoso.example --upstream mailboxes"
    " --own-server 127.0.0.2 --nameserver 127.0.0.1"
)
SEND = """
import smtplib
with smtplib.SMTP("127.0.0.1", source_address=("127.0.0.2", 0)) as client:
    client.sendmail("ann@contoso.example", ["bob@bank.example"], "Subject: waits\\r\\n\\r\\nhello\\r\\n")
"""
SOCKET = """\
[Socket]
ListenStream=0.0.0.0:25
FileDescriptorName=mx
[Install]
WantedBy=sockets.target
"""
SERVICE = """\
[Service]
LoadCredentialEncrypted=master.key
AmbientCapabilities=
CapabilityBoundingSet=
PrivateUsers=yes
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
        root.run("systemctl", "disable", "--now", "postfix")
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


def test_what_the_readme_says_holds_beside_postfix(tmp_path_factory: pytest.TempPathFactory) -> None:
    with BootedRoot() as root:
        install(root, built_package(tmp_path_factory))
        said = root.run("sh", "-c", f"{QUICKSTART} >/root/zone", expect=1)
        assert re.search(r"fail    port 0.0.0.0:25 +taken by master, process \d+\n", said), said
        root.run("sed", "-i", "s/^smtp      inet/#&/", "/etc/postfix/master.cf")
        root.run("systemctl", "reload", "postfix")
        wait_until(
            lambda: "LISTEN" not in root.run("ss", "-Hltn", "sport = :25"), "Postfix to leave port 25", timeout=30
        )
        root.run("systemctl", "enable", "--now", "gatepost")

        _send_by_postfix(root)
        _read_master_key_from_credential(root)
        _let_systemd_listen(root)


def _send_by_postfix(root: BootedRoot) -> None:
    """Mail of a local program comes in by the listener that README.Debian has."""
    readme = (root / "usr/share/doc/gatepost/README.Debian").read_text()
    listener = re.search(r"^ +\[\[listener\]\]\n( +\w+ = .*\n)+", readme, re.MULTILINE)
    relay = re.search(r"postconf -e '(relayhost = .*?)'", readme)
    assert listener, readme
    assert relay, readme
    with (root / "etc/gatepost/gatepost.toml").open("a") as settings:
        settings.write(f"\n{listener[0]}")
    root.run("systemctl", "restart", "gatepost")
    root.run("postconf", "-e", relay[1])
    root.run("systemctl", "reload", "postfix")
    root.run(
        "sh", "-c", "printf 'Subject: local\\n\\nhello\\n' | sendmail -f root@here.example postmaster@contoso.example"
    )
    wait_until(lambda: "root@here.example" in root.run("gatepost", "trace", "search"), "the message", timeout=30)


def _read_master_key_from_credential(root: BootedRoot) -> None:
    """The service has its master key from systemd, and so has a command as README.Debian gives it."""
    (root / "etc/credstore.encrypted").mkdir(exist_ok=True)
    sealed = "/etc/credstore.encrypted/master.key"
    root.run("systemd-creds", "encrypt", "--name=master.key", "/etc/gatepost/secrets/master.key", sealed)
    (root / "etc/gatepost/secrets/master.key").unlink()
    drop_in = root / "etc/systemd/system/gatepost.service.d/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nLoadCredentialEncrypted=master.key\n")
    settings = root / "etc/gatepost/gatepost.toml"
    text = settings.read_text()
    settings.write_text(re.sub("^master_key = .*", 'master_key = "credential:master.key"', text, flags=re.MULTILINE))
    root.run("systemctl", "daemon-reload")
    root.run("systemctl", "restart", "gatepost")
    readme = (root / "usr/share/doc/gatepost/README.Debian").read_text()
    command = re.search(r"systemd-run .* gatepost (?=…)", readme)
    assert command, readme
    assert "s2._domainkey" in root.run("sh", "-c", f"{command[0]} dkim add contoso.example --selector s2")


def _let_systemd_listen(root: BootedRoot) -> None:
    """With a socket unit, the gateway starts with the first connection, and doctor knows whose socket it is."""
    (root / "etc/systemd/system/gatepost.socket").write_text(SOCKET)
    (root / "etc/systemd/system/gatepost.service.d/override.conf").write_text(SERVICE)
    root.run("systemctl", "stop", "gatepost")
    root.run("systemctl", "daemon-reload")
    root.run("systemctl", "enable", "--now", "gatepost.socket")
    area = "port 0.0.0.0:25 "
    assert f"warn    {area}         systemd listens there for a socket unit\n" in root.run(
        "gatepost", "doctor", expect=None
    )
    root.run("python3", "-c", SEND)
    assert state(root) == "active"
    assert f"pass    {area}         served by this gateway" in root.run("gatepost", "doctor", expect=None)
