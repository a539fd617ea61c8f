"""A gateway in a container is replaced by the image of the next version and rolled back, with a message in its queue.

The commands are those of docs/install.md and docs/upgrade.md, with other names of containers and volumes and this
machine's network. The old version is this commit, the next one a copy whose tables have more in them
(`support.next_version`). With GATEPOST_UPGRADE_FROM=v0.1.0, or another commit, that is the old version and this commit
the new one: what to do before a release.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from support.debian import MARK, need
from support.next_version import NextVersion
from support.process import ROOT
from support.scenes import blind_context

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Behaviour, Sink

OWN, LATE = "postmaster@contoso.example", "late@bank.example"
LATER: Final = Behaviour(recipients={LATE: "451 4.3.0 Later"})
NAMES: Final = re.compile(r"^gatepost(?=$|[:-])")
"""Our containers, images and volumes in a command of the documents; what follows a slash is a path."""

PACKAGE: Final = "/opt/gatepost/lib/python3.13/site-packages/gatepost"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


def commands(page: str) -> dict[str, list[list[str]]]:
    """The commands with podman of a page's section on containers, by the block they stand in: its first one."""
    section = (ROOT / "docs" / page).read_text().partition("\n## Container\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    lines = [[shlex.split(line) for line in block.replace("\\\n", " ").splitlines()] for block in blocks]
    return {" ".join(block[0][1:3]): block for block in lines}


class Podman:
    """The engine of scripts/container_images.sh, with names that nothing else uses.

    old, new: images. port: where the gateway listens.
    """

    def __init__(self, path: str, old: str, new: str) -> None:
        self.path = path
        self.old = old
        self.new = new
        self.port = free_port()

    def __call__(self, *words: str, expect: int | None = 0) -> str:
        """What a command prints."""
        command = [self.path, *words]
        environment = os.environ | {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert expect is None or done.returncode == expect, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def follow(self, words: list[str], *more: str, expect: int | None = 0) -> str:
        """Do what the documents say in `words`, with more arguments."""
        assert words[0] == "podman"
        if words[1] == "build":
            return self("tag", self.new, "upgraded")
        typed = " ".join(words[1:]).replace("--interactive --tty ", "").replace("--publish 25:2525", "--network host")
        head, name, inside = typed.partition("gatepost ") if words[1] == "exec" else (typed, "", "")
        own = [NAMES.sub("upgraded", word) for word in (head + name).split()]
        return self(*own, *inside.split(), *more, expect=expect)

    def gatepost(self, *words: str, expect: int | None = 0) -> str:
        """What a command in the running container prints."""
        return self("exec", "upgraded", "gatepost", *words, expect=expect)

    def rows(self, *words: str) -> Any:
        return json.loads(self.gatepost(*words, "--json"))

    def wait_ready(self) -> None:
        """Until it serves: `gatepost status` is the health check of the image."""
        serves = lambda: "ready: mx at" in self.logs()  # noqa: E731
        wait_until(serves, f"a gateway that serves\n{self.logs()}", timeout=120)
        self.gatepost("status")

    def image(self) -> str:
        """The id of the image that runs."""
        return self("inspect", "--format", "{{.Image}}", "upgraded").strip()

    def logs(self) -> str:
        return self("logs", "upgraded", expect=None)

    def volume(self, name: str) -> Path:
        return Path(self("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())

    def remove(self) -> None:
        """Leave nothing behind but what scripts/container_images.sh keeps."""
        self("rm", "--force", "--ignore", "--time", "5", "upgraded", expect=None)
        volumes = [f"upgraded{end}" for end in ("", "-settings", "-backups", "-restored")]
        self("volume", "rm", "--force", *volumes, expect=None)
        self("rmi", "upgraded", "upgraded:previous", "upgraded:next", expect=None)


def made_image(name: str) -> tuple[str, str]:
    """The engine, and the id of an image. Skips the test, loudly, where it cannot be built."""
    script = [ROOT / "scripts/container_images.sh", name]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(f"{MARK}: podman, or archives for its images")
    assert done.returncode == 0
    path = done.stdout.strip()
    tag = f"localhost/gatepost:{name.partition('@')[2] or 'latest'}"
    inspect = [path, "image", "inspect", "--format", "{{.Id}}", tag]
    return path, subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()


def next_image(path: str, current: str) -> str:
    """An image of the next version, on top of this one's."""
    version = NextVersion()
    try:
        (version.path / "Containerfile").write_text(
            f"FROM {current}\nUSER 0\nCOPY gatepost {PACKAGE}\n"
            f'RUN ["python3", "-m", "compileall", "-q", "{PACKAGE}"]\nUSER 10001:10001\n'
        )
        build = [
            path,
            "build",
            "--quiet",
            "--layers=false",
            "--format",
            "docker",
            "--tag",
            "upgraded:next",
            version.path,
        ]
        return subprocess.run(build, capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    finally:
        version.remove()


@pytest.fixture
def podman() -> Iterator[Podman]:
    need("root")
    path, this = made_image("gatepost")
    if earlier := os.environ.get("GATEPOST_UPGRADE_FROM"):
        engine = Podman(path, made_image(f"gatepost@{earlier}")[1], this)
    else:
        engine = Podman(path, this, next_image(path, this))
    try:
        engine("tag", engine.old, "upgraded")
        yield engine
    finally:
        engine.remove()


def set_up(podman: Podman, name_server: str, bank: Sink, pki: Pki) -> None:
    """What an administrator types first: docs/install.md, a connector, and a certificate for the store."""
    _, quickstart, run, _ = commands("install.md")["build --format"]
    answers = f"--hostname mx1.contoso.example --domain contoso.example --upstream mailboxes --nameserver {name_server}"
    place = f"--own-server 127.0.0.1 --address 127.0.0.1:{podman.port} --admin-address 127.0.0.1:{free_port()}"
    podman.follow([*quickstart, *answers.split(), *place.split()], expect=None)
    podman.follow(run)
    podman.wait_ready()
    route = f"recipient_domains=bank.example use_mx_record=false smart_hosts={bank.address}"
    tls = f"tls_settings=domain-validation tls_domain=mail.bank.example trust_anchors={pki.root.read_text()}"
    podman.gatepost("connector", "add", "outbound", "bank", *route.split(), *tls.split(" ", 2))
    leaf = pki.leaf("mx1.contoso.example")
    for source, name in ((leaf.chain, "own.pem"), (leaf.key, "own.key")):
        target = podman.volume("upgraded-settings") / name
        shutil.copyfile(source, target)
        os.chown(target, 10001, 10001)
        target.chmod(0o600)
    podman.gatepost("certificate", "add", "/etc/gatepost/own.pem", "--key", "/etc/gatepost/own.key")


def send(port: int, recipient: str, subject: str) -> str:
    """Send a message over STARTTLS; the SHA-256 of the gateway's certificate."""
    with smtplib.SMTP("127.0.0.1", port, "client.example", 30) as client:
        client.starttls(context=blind_context())
        certificate = client.sock.getpeercert(True)  # type: ignore[union-attr]
        client.sendmail(OWN, [recipient], f"From: <{OWN}>\r\nSubject: {subject}\r\n\r\nhello\r\n")
    return hashlib.sha256(certificate).hexdigest()


def in_mailbox(volume: Path) -> list[str]:
    """Subjects of what was delivered to a mailbox."""
    texts = [path.read_text() for path in volume.rglob("new/*") if path.is_file()]
    return sorted(re.findall(r"^Subject: (.*)$", "\n".join(texts), re.MULTILINE))


def arrived(bank: Sink) -> list[str]:
    return sorted(recipient for received in list(bank.messages) for recipient in received.recipients)


def kept(podman: Podman) -> dict[str, Any]:
    """What must go on: configuration, queue, certificates, keys."""
    queue = [(row["message"]["id"], row["destination"]) for row in podman.rows("queue", "list")]
    certificates = sorted(row["sha256"] for row in podman.rows("certificate", "list")["certificates"])
    return {"resources": podman.gatepost("export"), "queue": queue, "certificates": certificates}


def evidence(podman: Podman) -> tuple[list[str], int]:
    """Keys and entries of the evidence log, which verifies; the last five minutes of it may not be signed yet."""
    said = podman.gatepost("evidence", "verify", expect=None)
    assert "\nverified\n" in said, said
    audit = podman.rows("evidence", "verify")
    return audit["keys"], audit["entries"]


def test_an_upgrade_and_the_way_back(
    podman: Podman, dns_server: Callable[..., DnsServer], sink: Callable[..., Sink], pki: Pki
) -> None:
    bank = sink(certificate=pki.leaf("mail.bank.example"), behaviour=LATER)
    name_server = dns_server({". SOA": [". . 1 60 60 60 60"], ". NS": ["."]}, authentic=True)
    set_up(podman, name_server.address, bank, pki)
    presented = {send(podman.port, recipient, "first") for recipient in (OWN, "bob@bank.example", LATE)}
    wait_until(lambda: arrived(bank) == ["bob@bank.example"], "the bank's message", timeout=60)
    data = podman.volume("upgraded")
    wait_until(lambda: in_mailbox(data) == ["first"], "a message in the mailbox", timeout=60)
    wait_until(lambda: any(row["last_error"] for row in podman.rows("queue", "list")), "one that waits", timeout=60)
    before, (keys, entries) = kept(podman), evidence(podman)

    page = commands("upgrade.md")
    for block in ("tag gatepost", "build --format"):
        for words in page[block]:
            podman.follow(words)
    podman.wait_ready()
    for words in page["exec gatepost"]:
        podman.follow(words, expect=None)
    assert podman.image() == podman.new
    assert kept(podman) == before
    assert in_mailbox(data) == ["first"]
    presented.add(send(podman.port, OWN, "second"))
    assert len(presented) == 1
    bank.behaviour = Behaviour()
    podman.gatepost("queue", "retry", "--all")
    wait_until(lambda: LATE in arrived(bank), "what waited before the upgrade", timeout=60)
    wait_until(lambda: in_mailbox(data) == ["first", "second"], "mail with the new version", timeout=60)
    assert evidence(podman)[0] == keys
    wait_until(lambda: evidence(podman)[1] > entries, "entries of what happened since")
    rolled_back(podman, bank, before)
    assert evidence(podman)[0] == keys
    wait_until(lambda: evidence(podman)[1] > entries, "entries of what happened since")


def rolled_back(podman: Podman, bank: Sink, before: dict[str, Any]) -> None:
    """The old image on what the new one wrote, then on the backup that was made before the upgrade."""
    page = commands("upgrade.md")
    stop, remove, run, logs = page["stop gatepost"]
    podman.follow(stop)
    written = databases(podman.volume("upgraded"))
    podman.follow(remove)
    podman.follow(run)
    said = lambda: re.search("has tables of version|ready: mx at", podman.follow(logs, expect=None))  # noqa: E731
    answer = wait_until(said, "an answer of the old version", timeout=120)[0]
    if "GATEPOST_UPGRADE_FROM" not in os.environ:
        assert answer == "has tables of version"
    if answer == "has tables of version":
        wait_until(
            lambda: podman("inspect", "--format", "{{.State.Status}}", "upgraded").strip() == "exited", "its end"
        )
        assert databases(podman.volume("upgraded")) == written
    else:
        assert in_mailbox(podman.volume("upgraded")) == ["first", "second"]

    remove, restore, run = page["rm --force"]
    podman.follow(remove)
    said_of_mail = podman.follow(restore, expect=None)
    assert "1 message" in said_of_mail
    podman.follow(run)
    podman.wait_ready()
    assert podman.image() == podman.old
    assert podman.gatepost("export") == before["resources"]
    assert in_mailbox(podman.volume("upgraded-restored")) == ["first"]
    podman.gatepost("queue", "retry", "--all")
    wait_until(lambda: arrived(bank).count(LATE) == 2, "mail of the backup, once more", timeout=60)
    send(podman.port, OWN, "third")
    wait_until(lambda: in_mailbox(podman.volume("upgraded-restored")) == ["first", "third"], "mail", timeout=60)
    assert in_mailbox(podman.volume("upgraded")) == ["first", "second"]


def databases(volume: Path) -> dict[str, str]:
    """The hash of each database."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(volume.rglob("*.db"))}
