"""Proves that nothing runs as root that need not, and that commands of root leave nothing that the gateway cannot use.

As root on a real machine: `nobody` is the account of the gateway, /tmp is what /var/lib would be.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.process import GATEPOST

from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, Folder, free_port, wait_until
from gatepost.testing.sink import Sink

ACCOUNT = "nobody"
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
smart_hosts = ["127.0.0.1:PORT"]
tls_settings = "encryption-only"
"""

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def root() -> None:
    need("root")


@pytest.fixture
def build(running: ExitStack, pki: Pki) -> Callable[..., Gateway]:
    """A gateway that is not started: build(user="nobody"). readable: its key, by that account."""

    def made(resources: str = "", *, readable: bool = True, **server: object) -> Gateway:
        leaf, keys = pki.leaf("mx1.contoso.example"), Folder("keys")
        running.callback(keys.remove)
        chain, key = keys / "mx.pem", keys / "mx.key"
        shutil.copyfile(leaf.chain, chain)
        key.touch(0o600)
        key.write_bytes(leaf.key.read_bytes())
        if readable:
            shutil.chown(key, str(server.get("user", "root")))
        # Tests run as root, who must write `user`: "" is what a new settings file says.
        settings = {"server": {"user": "", **server}, "certificate": [{"chain": str(chain), "key": str(key)}]}
        gateway = Gateway(resources, settings=settings)
        running.callback(gateway.remove)
        return gateway

    return made


def owners(gateway: Gateway) -> set[int]:
    """Whom data_dir and everything in it belongs to."""
    return {path.lstat().st_uid for path in (gateway.data_dir, *gateway.data_dir.rglob("*"))}


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.timeout(300)
def test_the_order_of_the_readme_works_as_root(build: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    """apply before serve, then a trial, a drill and reports, and every file is the gateway's own."""
    partner, account = sink(), pwd.getpwnam(ACCOUNT)
    text = RESOURCES.replace("PORT", str(partner.port))
    gateway = build(user=ACCOUNT)
    gateway.config.chmod(0o600)  # for root alone
    file = gateway.folder.write("contoso.toml", text, 0o600)
    gateway.cli("apply", "-f", str(file), "--dry-run")
    gateway.cli("apply", "-f", str(file))
    gateway.cli("connector", "validate", "bank", expect=None, timeout=120)
    gateway.cli("connector", "drill", "bank", expect=None, timeout=120)
    assert {change["author"] for change in gateway.cli("history", json=True).data} == {"root"}
    assert owners(gateway) == {account.pw_uid}
    assert stat.S_IMODE(gateway.data_dir.stat().st_mode) == 0o700
    gateway.start()
    for pid in gateway.family():
        seen = status(pid)
        assert set(seen["Uid"]) == {str(account.pw_uid)}
        assert set(seen["Gid"]) == {str(account.pw_gid)}
        assert seen["Groups"] in ([], [str(account.pw_gid)])
        assert seen["NoNewPrivs"] == ["1"]
        assert seen["CapPrm"] == seen["CapEff"] == ["0" * 16]
    own_ports_are_known(gateway, account)
    gateway.cli("connector", "drill", "bank", expect=None, timeout=120)
    (bank,) = [line for line in gateway.cli("connector", "list").stdout.splitlines() if "bank.example" in line]
    assert "never" not in bank
    report = gateway.folder / "tls.csv"
    gateway.cli("report", "tls", "-o", str(report), expect=None)
    gateway.cli("evidence", "export", "-o", str(gateway.folder / "export.json"), expect=None)
    assert {path.stat().st_uid for path in gateway.folder.path.glob("*.csv")} == {0}
    assert owners(gateway) == {account.pw_uid}
    assert gateway.stop() == 0
    assert gateway.start().stop() == 0
    assert owners(gateway) == {account.pw_uid}


def own_ports_are_known(gateway: Gateway, account: pwd.struct_passwd) -> None:
    """Root sees that the ports are the gateway's own, its account does not see whose they are."""
    gateway.cli("serve", "--check")
    by_root = ports(gateway.cli("doctor", "--offline", json=True, expect=None).data)
    assert by_root
    assert all(text.startswith("served by this gateway, process ") for _, text in by_root), by_root
    command = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    gateway.folder.path.chmod(0o755)
    gateway.config.chmod(0o644)
    words = [GATEPOST, "doctor", "--offline", "--json", "--config", str(gateway.config)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
    assert {level for level, _ in ports(json.loads(done.stdout))} == {"unknown"}, done.stderr
    gateway.config.chmod(0o600)


def ports(examination: Any) -> list[tuple[str, str]]:
    """Level and text of what is found about ports."""
    return [
        (finding["level"], finding["text"])
        for finding in examination["findings"]
        if finding["area"].startswith("port ")
    ]


def test_root_is_not_stayed_without_a_word(build: Callable[..., Gateway]) -> None:
    try:
        pwd.getpwnam("gatepost")
        pytest.skip("this machine has the account gatepost")
    except KeyError:
        pass
    gateway = build()
    for command in ("serve", "status", "export"):
        told = gateway.cli(command, expect=2).stderr
        assert told.startswith("server.user: this is root, and the gateway needs an account of its own.")
    assert not gateway.data_dir.exists()


def test_root_may_be_asked_for(build: Callable[..., Gateway]) -> None:
    gateway = build(user="root").start()
    assert "all processes run as root, because server.user is root" in gateway.log()
    for pid in gateway.family():
        assert status(pid)["NoNewPrivs"] == ["1"]
    assert owners(gateway) == {0}


def test_data_of_root_is_not_taken_over_silently(build: Callable[..., Gateway]) -> None:
    gateway = build(RESOURCES.replace("PORT", str(free_port())), user="root")
    gateway.apply(RESOURCES.replace("PORT", str(free_port())))
    gateway.config.write_text(gateway.config.read_text().replace('user = "root"', f'user = "{ACCOUNT}"'))
    for command in ("serve", "status"):
        told = gateway.cli(command, expect=2).stderr
        assert f"{gateway.data_dir} belongs to root, and the gateway runs as {ACCOUNT}." in told
        assert f"chown -R {ACCOUNT}: {gateway.data_dir}" in told
    assert owners(gateway) == {0}


def test_a_key_that_the_account_cannot_read_ends_it_at_once(build: Callable[..., Gateway]) -> None:
    with pytest.raises(FixtureError, match=f"as {ACCOUNT}: private key .*: Permission denied"):
        build(user=ACCOUNT, readable=False).start()


def test_links_in_data_dir_lead_root_nowhere(build: Callable[..., Gateway]) -> None:
    """The account plants links where commands of root write next: nothing outside is made, changed or given away."""
    account = pwd.getpwnam(ACCOUNT)
    gateway = build(user=ACCOUNT)
    gateway.apply(RESOURCES.replace("PORT", str(free_port())))
    target, folder = gateway.folder.write("precious", "root's", 0o600), gateway.folder / "roots"
    folder.mkdir(mode=0o755)
    for name in os.listdir(gateway.data_dir):  # noqa: PTH208 - names
        path = gateway.data_dir / name
        link = folder if path.is_dir() else target
        path.rename(gateway.data_dir / f"{name}.old")
        path.symlink_to(link)
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    for missing in ("drills", "evidence", "validation", "trace", "config.db-wal", "destinations.db"):
        if not os.path.lexists(gateway.data_dir / missing):
            (gateway.data_dir / missing).symlink_to(folder / "made")
    gateway.apply(RESOURCES.replace("PORT", str(free_port())), expect=None)
    gateway.cli("connector", "drill", "bank", expect=None, timeout=120)
    gateway.cli("connector", "validate", "bank", expect=None, timeout=120)
    assert (target.read_text(), target.stat().st_uid, list(folder.iterdir())) == ("root's", 0, [])
    assert folder.stat().st_uid == 0


def test_files_that_commands_of_root_once_left_are_named(build: Callable[..., Gateway]) -> None:
    gateway = build(user=ACCOUNT).start()
    gateway.stop()
    (gateway.data_dir / "left.db").touch()
    gateway.start()
    wait_until(lambda: "that do not belong to nobody" in gateway.log(), "the warning")
    assert f"chown -R {ACCOUNT}: {gateway.data_dir}" in gateway.log()
