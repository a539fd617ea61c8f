"""Proves that a backup that is made under load restores every message that was acknowledged before it began.

The machine is "lost" by a kill and the removal of data_dir. Also here: what damaged, cut-off and foreign backups are
told, who owns a backup, what the master key must be, and what `store check` finds.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import smtplib
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
from support.debian import MARK, need
from support.gateway import Gateway
from support.kill_points import MortalGateway, Point
from support.scenes import ALICE, connector, contoso, message, send
from support.senders import Senders

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Behaviour, Sink

CLIENTS = 3
ANN, BOB, LATER = "ann@contoso.example", "bob@partner.example", "carol@later.example"
SUBJECT = re.compile(rb"^Subject: kept-(\d+-\d+)\r?$", re.MULTILINE)
BIG = "x" * 70 + "\r\n"


class Load(Senders):
    """Clients that keep sending. acknowledged: identities of messages that got their 250."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__(CLIENTS)
        self.acknowledged: set[str] = set()

    def _run(self, client: int) -> None:
        number = 0
        while not self._over.is_set():
            with suppress(OSError, smtplib.SMTPException), smtplib.SMTP("127.0.0.1", self._port, timeout=10) as smtp:
                while not self._over.is_set():
                    number += 1
                    identity = f"{client}-{number}"
                    content = message(f"kept-{identity}", BIG * (4500 if number % 5 == 0 else 20))
                    smtp.sendmail(ALICE, [(ANN, BOB, LATER)[number % 3]], content)
                    self.acknowledged.add(identity)
            time.sleep(0.02)


def arrived(server: Gateway, *partners: Sink) -> list[str]:
    """The identities of messages that arrived anywhere, with repetitions."""
    heads = [path.read_bytes()[:2000] for path in server.data_dir.rglob("new/*")]
    heads += [one.data[:2000] for partner in partners for one in partner.messages]
    return [found[1].decode() for head in heads if (found := SUBJECT.search(head))]


def lose(server: Gateway) -> None:
    """The machine is gone."""
    server.kill()
    shutil.rmtree(server.data_dir)


def idle(server: Gateway) -> bool:
    return server.cli("queue", "list", json=True).data == []


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
def test_what_was_acknowledged_before_a_backup_arrives_after_a_restore(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], name: str
) -> None:
    partner, later = sink(), sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address), connector("later.example", later.address)]),
        settings={"server": {"workers": 2}, "queue": {"retry": ["2s"]}},
    )
    target = server.folder / name
    with Load(server.port) as load:
        wait_until(lambda: len(load.acknowledged) > 60, "a load", timeout=60)
        before = set(load.acknowledged)
        made = server.cli("store", "backup", str(target), json=True, timeout=120)
        assert "is as secret as data_dir" in made.stderr
        count = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > count + 10, "mail to go on", timeout=30)
        is_well = lambda: server.cli("store", "check", expect=None).stdout.endswith("all is well\n")  # noqa: E731
        wait_until(is_well, "all is well, once the first evidence is written", timeout=30)
    assert made.data["messages"] > len(before) / 4
    lose(server)

    said = server.cli("store", "restore", str(target))
    assert "nothing was changed; to restore, add --yes" in said.stderr
    assert f"{made.data['deliveries']} deliveries" in said.stderr
    assert "nodes and join tokens of a site" in said.stderr
    assert not server.data_dir.exists() or not any(server.data_dir.iterdir())
    restored = server.cli("store", "restore", str(target), "--yes", json=True, timeout=120)
    assert restored.data["messages"] == made.data["messages"]
    assert {stat.S_IMODE(path.lstat().st_mode) for path in server.data_dir.rglob("*")} <= {0o600, 0o700}
    depth = server.cli("queue", "list", "--limit", "100000", json=True).data
    assert len(depth) == made.data["deliveries"]
    later.behaviour = Behaviour()
    server.start()
    wait_until(lambda: idle(server), "the queue to run empty", timeout=90)
    assert before - set(arrived(server, partner, later)) == set()
    assert server.cli("store", "check", json=True).data["problems"] == []
    assert server.cli("evidence", "verify", expect=None).status != 1


@pytest.fixture
def filled(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> Gateway:
    """A gateway with one small and one large message that wait."""
    return fill(gateway, sink)


def fill[AnyGateway: Gateway](make: Callable[..., AnyGateway], sink: Callable[..., Sink]) -> AnyGateway:
    later = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = make(contoso(outbound=[connector("later.example", later.address)]))
    for lines in (1, 5000):
        send(server.port, LATER, content=message("waits", BIG * lines))
    wait_until(lambda: len(server.trace(event="DEFER")) == 2, "both to wait")
    logs = (server.data_dir / "evidence").rglob
    wait_until(lambda: any(path.stat().st_size for path in logs("*.log")), "evidence, in every backup or in none")
    return server


def test_a_backup_is_private_never_replaces_and_stays_out_of_data_dir(filled: Gateway) -> None:
    directory, tar = filled.folder / "backup", filled.folder / "backup.tar"
    for target in (directory, tar):
        filled.cli("store", "backup", str(target))
        assert "exists; a backup never overwrites" in filled.cli("store", "backup", str(target), expect=2).stderr
    assert {stat.S_IMODE(path.stat().st_mode) for path in [directory, tar, *directory.rglob("*")]} <= {0o600, 0o700}
    with tarfile.open(tar) as opened:
        names = set(opened.getnames())
    assert names == {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert {"config.db", "queue/0/q.db", "manifest.json"} <= names
    assert sum(name.startswith("queue/0/big/") for name in names) == 1
    assert not any(name.startswith(("cache", "workers")) or name.endswith(("-wal", "-shm", "lock")) for name in names)
    assert not (filled.folder / "backup.tar.work").exists()
    inside = filled.data_dir / "backup"
    assert "is in data_dir" in filled.cli("store", "backup", str(inside), expect=2).stderr
    assert "is not a directory" in filled.cli("store", "backup", "/nowhere/backup", expect=2).stderr
    link = filled.folder / "link"
    link.symlink_to(filled.folder / "elsewhere")
    assert "exists" in filled.cli("store", "backup", str(link), expect=2).stderr


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _change_manifest(backup: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    change(manifest)
    (backup / "manifest.json").write_text(json.dumps(manifest))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (lambda backup: _damage(backup / "config.db"), "config.db is damaged"),
    "cut off": (lambda backup: (backup / "manifest.json").unlink(), "the backup was cut off"),
    "half a manifest": (lambda backup: os.truncate(backup / "manifest.json", 300), "manifest.json is damaged"),
    "a shorter file": (lambda backup: os.truncate(backup / "queue/0/q.db", 5000), "q.db is damaged"),
    "a file is missing": (lambda backup: (backup / "config.db").unlink(), "cannot be found, such as config.db"),
    "another file": (lambda backup: (backup / "workers").write_text("x"), "a file that is not of it: workers"),
    "another form": (lambda backup: _change_manifest(backup, lambda one: one.update(format=9)), "has form 9"),
    "a way out": (
        lambda backup: _change_manifest(backup, lambda one: one["files"][0].update(path="../../etc/passwd")),
        "manifest.json is damaged",
    ),
    "a link": (
        lambda backup: ((backup / "config.db").unlink(), (backup / "config.db").symlink_to("/etc/passwd")),
        "config.db",
    ),
}


def test_a_backup_that_is_not_whole_is_refused_and_nothing_changes(filled: Gateway) -> None:
    whole, tar = filled.folder / "backup", filled.folder / "backup.tar"
    filled.cli("store", "backup", str(whole))
    filled.cli("store", "backup", str(tar))
    refused = filled.cli("store", "restore", str(whole), "--yes", expect=2).stderr
    assert "is not empty" in refused
    assert "Stop the gateway" in refused
    lose(filled)
    for fault, (make, text) in FAULTS.items():
        copy = filled.folder / "copy"
        shutil.copytree(whole, copy)
        make(copy)
        run = filled.cli("store", "restore", str(copy), "--yes", expect=None)
        assert run.status == (3 if fault == "a link" else 1), (fault, run.stderr)
        assert text in run.stderr, (fault, run.stderr)
        assert "nothing was restored" in run.stderr
        shutil.rmtree(copy)
    size = tar.stat().st_size
    for length in (0, 300, 512, 700, size // 2, size - 12_000):
        cut = filled.folder / "cut.tar"
        shutil.copyfile(tar, cut)
        os.truncate(cut, length)
        run = filled.cli("store", "restore", str(cut), "--yes", expect=1)
        assert "cut off" in run.stderr, (length, run.stderr)
    assert not filled.data_dir.exists() or not any(filled.data_dir.iterdir())
    filled.cli("store", "restore", str(tar), "--yes")
    assert len(filled.cli("queue", "list", json=True).data) == 2


def test_restored_mail_can_be_held_so_that_a_drill_sends_nothing(filled: Gateway) -> None:
    target = filled.folder / "backup"
    filled.cli("store", "backup", str(target))
    lose(filled)
    filled.cli("store", "restore", str(target), "--yes", "--hold")
    filled.start()
    assert {one["state"] for one in filled.cli("queue", "list", json=True).data} == {"held"}
    time.sleep(1)
    assert len(filled.trace(event="DEFER")) == 2  # of before


def test_what_is_in_quarantine_is_in_a_backup_and_stays_there(gateway: Callable[..., Gateway]) -> None:
    rule = {"name": "offers", "header_name": "Subject", "header_contains": ["offer"], "quarantine": True}
    server = gateway(contoso(mailboxes=(ANN,), mail_flow_rule=[rule]))
    for lines in (1, 5000):
        send(server.port, ANN, content=message(f"offer {lines}", BIG * lines))
    held = server.cli("quarantine", "list", json=True).data
    assert [row["subject"] for row in held] == ["offer 5000", "offer 1"]
    target = server.folder / "backup"
    made = server.cli("store", "backup", str(target), json=True)
    assert (made.data["held"], made.data["quarantined"]) == (0, 2)
    lose(server)
    said = server.cli("store", "restore", str(target), "--yes", "--hold").stderr
    assert "0 held, 2 in quarantine; all of it will be held" in said
    assert "what is in quarantine stays there" in said
    assert server.cli("store", "check").stdout.endswith("all is well\n")
    assert server.cli("quarantine", "list", json=True).data == held
    server.start()
    server.cli("queue", "release", "--all", expect=1)
    assert server.cli("quarantine", "list", json=True).data == held
    server.cli("quarantine", "release", held[0]["message"], "--reason", "known")
    assert [mail.field("Subject") for mail in server.wait_maildir(ANN)] == ["offer 5000"]


def test_a_backup_that_is_killed_is_told_apart_and_the_gateway_waits_for_a_restore(
    running: ExitStack, sink: Callable[..., Sink]
) -> None:
    """As it begins, in its midst, and with all but its manifest written."""
    steps = [("database", "after"), ("add", "after"), ("finish", "before")]
    points = [Point(f"gatepost.store.sqlite.backup_archive:DirectoryTarget.{name}", moment) for name, moment in steps]
    server = fill(lambda resources: running.enter_context(MortalGateway(points, resources, delayed=True)), sink)
    targets = [server.folder / f"backup-{name}" for name, _ in steps]
    for number, target in enumerate(targets):
        server.killed_command(number, "store", "backup", str(target))
        assert target.exists()
    lose(server)
    for target in targets:
        assert "the backup was cut off" in server.cli("store", "restore", str(target), "--yes", expect=1).stderr
    (server.data_dir / ".restore").mkdir(parents=True)
    assert "a restore is under way here, or was cut off" in server.cli("serve", expect=2).stderr
    assert "cut off" in server.cli("store", "restore", str(targets[-1]), "--yes", expect=3).stderr


def test_a_full_disk_ends_a_backup_and_leaves_nothing(filled: Gateway, running: ExitStack, tmp_path: Path) -> None:
    need("root")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(disk)]
    if subprocess.run(words, check=False, capture_output=True, timeout=30).returncode:
        pytest.skip(f"{MARK}: permission to mount a file system")
    running.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True, timeout=30)
    (disk / "other").write_bytes(bytes(20 << 20))
    for name in ("backup", "backup.tar"):
        run = filled.cli("store", "backup", str(disk / name), expect=2)
        assert "free, and the backup needs up to" in run.stderr
    assert [path.name for path in disk.iterdir()] == ["other"]


def test_the_master_key_of_then_is_needed(gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path) -> None:
    key = tmp_path / "master.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(32))
    server = gateway(contoso(), settings={"store": {"master_key": f"file:{key}"}})
    leaf = pki.leaf("mx1.contoso.example")
    server.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key))
    target = server.folder / "backup"
    assert "store.master_key (file) is not in it" in server.cli("store", "backup", str(target)).stderr
    content = b"".join(path.read_bytes() for path in target.rglob("*") if path.is_file())
    assert key.read_bytes() not in content
    lose(server)
    right = key.read_bytes()
    key.write_bytes(os.urandom(32))
    assert "is not the key that sealed" in server.cli("store", "restore", str(target), "--yes", expect=1).stderr
    assert not any(server.data_dir.iterdir())
    key.write_bytes(right)
    server.cli("store", "restore", str(target), "--yes")
    server.start()
    assert server.cli("certificate", "list", json=True).data


def test_check_finds_what_is_wrong(filled: Gateway) -> None:
    data = filled.cli("store", "check", json=True).data
    assert (data["whole"], data["messages"], data["deliveries"]) == (True, 2, 2)
    assert data["shards"] == [{"name": "0", "in_use": True}]
    filled.stop()
    assert filled.cli("store", "check", json=True).data["shards"] == [{"name": "0", "in_use": False}]
    (big,) = (filled.data_dir / "queue/0/big").iterdir()
    os.truncate(big, 1000)
    connection = apsw.Connection(str(filled.data_dir / "config.db"))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    run = filled.cli("store", "check", expect=1)
    assert "1 message, whose big file is missing or short" in run.stdout
    assert "config.db: its tables have version 99" in run.stdout
    destinations = filled.data_dir / "destinations.db"
    destinations.write_bytes(b"x" * 8192)
    assert "destinations.db: damaged" in filled.cli("store", "check", expect=1).stdout


def test_a_backup_by_root_belongs_to_the_gateways_account(running: ExitStack) -> None:
    need("root")
    server = Gateway(contoso(), settings={"server": {"user": "nobody"}})
    running.callback(server.remove)
    server.start()
    folder = Folder("backups")  # root's own
    running.callback(folder.remove)
    for name in ("backup", "backup.tar"):
        run = server.cli("store", "backup", str(folder / name), expect=None)
        if stat.S_IMODE(folder.path.stat().st_mode) & stat.S_IXOTH:
            assert run.status == 0, run.stderr
            owner = pwd.getpwnam("nobody").pw_uid
            assert {path.lstat().st_uid for path in [folder / name, *(folder / name).rglob("*")]} == {owner}
        else:
            assert "the gateway's account cannot reach it" in run.stderr
            assert not (folder / name).exists()
    folder.path.chmod(0o755)
    server.cli("store", "backup", str(folder / "reached"))
    lose(server)
    (folder / "reached").chmod(0o700)
    os.chown(folder / "reached", 0, 0)  # a copy that root brought back, which only root may read
    server.cli("store", "restore", str(folder / "reached"), "--yes")
    assert {path.lstat().st_uid for path in server.data_dir.rglob("*")} == {pwd.getpwnam("nobody").pw_uid}
    server.start()
