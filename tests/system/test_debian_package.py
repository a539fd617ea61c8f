"""The Debian package in a clean system: installed, serving mail, upgraded from an older version, removed, purged.

GATEPOST_DEB names a package that is built already.
"""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clean_root import CleanRoot, base, built_package
from support.process import loopback

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

SETTINGS = "etc/gatepost/gatepost.toml"
DATA = "var/lib/gatepost"
OLD_MODULE = "usr/lib/gatepost/lib/python3.13/site-packages/gatepost/old_module.py"
RESOURCES = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "own"
connector_type = "on-premises"
sender_ip_addresses = ["127.0.0.1"]
associated_accepted_domains = ["contoso.example"]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
use_mx_record = false
smart_hosts = ["SINK"]
tls_settings = "domain-validation"
tls_domain = "mail.bank.example"
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base()
    return built_package(tmp_path_factory)


def older(package: Path, folder: Path) -> Path:
    """The same package as an older version, with a file that the newer one lacks."""
    tree = folder / "older"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 0.0.1~"))
    (tree / OLD_MODULE).write_text("")
    target = folder / "older.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target], check=True)
    shutil.rmtree(tree)
    return target


def install(root: CleanRoot, package: Path) -> tuple[str, float]:
    """What dpkg says, and the seconds it took."""
    shutil.copyfile(package, root / "tmp/gatepost.deb")
    begun = time.monotonic()
    said = root.run("dpkg", "--install", "/tmp/gatepost.deb")
    return said, time.monotonic() - begun


def owner(root: CleanRoot, path: str) -> tuple[str, str]:
    """Owner, group and mode of a file, as the system inside has them."""
    name, mode = root.run("stat", "--format=%U:%G %a", f"/{path}").split()
    return name, mode


def set_up(root: CleanRoot, pki: Pki, address: str, sink: Sink) -> None:
    """What an administrator types after the installation."""
    leaf = pki.leaf("mx1.contoso.example")
    for source, target, mode in (
        (leaf.chain, "mx1.pem", 0o644),
        (leaf.key, "secrets/mx1.key", 0o640),
        (pki.root, "ca.pem", 0o644),
    ):
        shutil.copyfile(source, root / f"etc/gatepost/{target}")
        (root / f"etc/gatepost/{target}").chmod(mode)
    root.run("chgrp", "gatepost", "/etc/gatepost/secrets/mx1.key")
    text = (root / SETTINGS).read_text()
    text = text.replace("# hostname", "hostname").replace("0.0.0.0:25", f"{address}:25")
    text = text.replace("127.0.0.1:8443", f"127.0.0.1:{free_port()}")
    text += '[[certificate]]\nchain = "mx1.pem"\nkey = "secrets/mx1.key"\n[tls]\ntrust_anchors = "ca.pem"\n'
    (root / SETTINGS).write_text(text)
    (root / "root/contoso.toml").write_text(RESOURCES.replace("SINK", sink.address))
    root.run("gatepost", "apply", "-f", "/root/contoso.toml")


def send(address: str, pki: Pki, recipient: str, subject: str) -> None:
    """A message over STARTTLS, with the gateway's name checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.root)
    with smtplib.SMTP(local_hostname="client.example", timeout=60) as client:
        client.connect(address, 25)
        client._host = "mx1.contoso.example"  # the name in its certificate
        client.starttls(context=context)
        client.sendmail("ann@contoso.example", [recipient], f"Subject: {subject}\r\n\r\nhello\r\n")


def test_install_serve_upgrade_remove_purge(package: Path, tmp_path: Path, pki: Pki, sink: Callable[..., Sink]) -> None:
    bank = sink(certificate=pki.leaf("mail.bank.example"))
    address = loopback("113.1")
    with CleanRoot() as root:
        said, seconds = install(root, older(package, tmp_path))
        print(f"installed in {seconds:.1f} s")
        assert "not started, because it has no hostname yet" in said
        is_laid_out(root)
        set_up(root, pki, address, bank)
        root.start_unit("gatepost.service")
        only_data_is_writable(root)
        send(address, pki, "ann@contoso.example", "first")
        send(address, pki, "bob@bank.example", "to the bank")
        wait_until(lambda: delivered(root) == ["first"], f"a message\n{root.log()}", timeout=90)
        wait_until(lambda: len(bank.messages) == 1, f"the bank's message\n{root.log()}", timeout=90)
        assert bank.counts["TLS"] >= 1
        reloads(root)
        stops(root)

        edited = (root / SETTINGS).read_text()
        install(root, package)
        assert not (root / OLD_MODULE).exists()
        assert (root / SETTINGS).read_text() == edited
        assert owner(root, SETTINGS) == ("root:gatepost", "640")
        root.start_unit("gatepost.service")
        send(address, pki, "ann@contoso.example", "second")
        send(address, pki, "bob@bank.example", "to the bank again")
        wait_until(lambda: delivered(root) == ["first", "second"], f"another message\n{root.log()}", timeout=90)
        wait_until(lambda: len(bank.messages) == 2, f"the bank's second message\n{root.log()}", timeout=90)
        assert "organization.contoso" in root.run("gatepost", "export")
        stops(root)

        root.run("dpkg", "--remove", "gatepost")
        assert not (root / "usr/lib/gatepost").exists()
        assert delivered(root) == ["first", "second"]
        assert (root / SETTINGS).exists()
        root.run("dpkg", "--purge", "gatepost")
        assert not (root / DATA).exists()
        assert not (root / "etc/gatepost").exists()


def is_laid_out(root: CleanRoot) -> None:
    """Owners, modes, documents; a gateway without a hostname says so."""
    assert owner(root, SETTINGS) == ("root:gatepost", "640")
    assert owner(root, "etc/gatepost/secrets") == ("root:gatepost", "750")
    assert owner(root, DATA) == ("gatepost:gatepost", "750")
    assert root.run("gatepost", "--version").startswith("gatepost ")
    assert "hostname" in root.run("gatepost", "serve", expect=2)
    assert root.run("dpkg", "--verify", "gatepost") == ""
    places = "/usr/lib/gatepost /usr/share/doc/gatepost /usr/share/man /usr/share/zsh /usr/share/fish"
    assert root.run("sh", "-c", f"find {places} -xtype l") == "", "links that lead nowhere"
    documents = set(root.run("ls", "/usr/share/doc/gatepost/docs/").split())
    assert {"tls.md", "verify_evidence.py", "pictures"} <= documents
    assert "__pycache__" not in documents
    assert (root / "usr/share/man/man1/gatepost-queue.1.gz").exists()
    assert (root / "usr/share/bash-completion/completions/gatepost").read_text().startswith("_gatepost_completion()")


def reloads(root: CleanRoot) -> None:
    """SIGHUP: the service manager is told when it begins and ends, and the log names what waits for a restart."""
    settings = root / SETTINGS
    settings.write_text(settings.read_text() + "[log]\nlevel = 'debug'\n")
    root.notified.clear()
    os.kill(root.service.pid, signal.SIGHUP)  # unshare, sh, chroot and setpriv became the supervisor
    wait_until(lambda: root.has_said("READY=1"), f"a reload that ends\n{root.log()}", timeout=60)
    assert root.notified.index("RELOADING=1") < root.notified.index("READY=1")
    assert "take effect at the next start: log.level" in root.log()


def stops(root: CleanRoot) -> None:
    assert root.stop() == 0
    assert "STOPPING=1" in root.notified
    assert root.log().rstrip().endswith("stopped")


def delivered(root: CleanRoot) -> list[str]:
    """Subjects in ann's mailbox."""
    texts = [path.read_text() for path in (root / DATA).rglob("new/*") if path.is_file()]
    lines = [line for text in texts for line in text.splitlines()]
    return sorted(line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: "))


def only_data_is_writable(root: CleanRoot) -> None:
    """The account can write only its data and what everybody can; no capability or open file is left for more."""
    account = ["setpriv", "--reuid=gatepost", "--regid=gatepost", "--init-groups"]
    search = ["find", "/", "-xdev", "-writable", "-not", "-type", "l", "-not", "-path", "/var/lib/gatepost*"]
    said = root.run(*account, *search, expect=None).splitlines()
    writable = [line for line in said if not line.startswith("find: ")]  # what it may not even look at
    assert set(writable) <= {"/tmp", "/var/tmp", "/run/lock", "/run/notify"}
    for pid in root.service.family():
        status = Path(f"/proc/{pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "CapPrm:\t0000000000000000" in status
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
                flags = int(Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0], 8)
            except FileNotFoundError:  # closed by now
                continue
            if target.startswith("/") and flags & os.O_ACCMODE and not stat.S_ISCHR(entry.stat().st_mode):
                assert target.startswith((str(root / DATA), str(root.folder.path / "log.txt"), "/memfd:")), target
