"""deploy/compose.yaml as it stands, in containers: three nodes, PostgreSQL with a standby, a stop, a promotion, and an
upgrade of a database that has no role for workers.

scripts/compose_proof.sh (make deploy-proof) builds the images, makes a network namespace and runs this. Podman leaves
health checks to timers of systemd; a thread here runs them instead.
"""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Self

import pytest
from support.debian import MARK
from support.scenes import ALICE, OWN_SERVERS, connector, contoso, message, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Behaviour, Sink

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RESOLVER: Final = "192.0.2.53"
"""Ours, of this network namespace, where no name of the world is known."""

GATEWAYS: Final = {"gateway1": 25, "gateway2": 26, "gateway3": 27}
"""The ports that compose.yaml publishes."""

WORKER: Final = "gatepost_worker"
READY: Final = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/readyz', timeout=5).status)"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


class Compose:
    """The services of the file, with secrets made by its own script."""

    def __init__(self, podman: str) -> None:
        self.podman_path = podman
        self.folder = Folder("compose")
        self.deploy = self.folder / "deploy"
        shutil.copytree(DEPLOY, self.deploy, ignore=shutil.ignore_patterns("secrets"))
        subprocess.run(["ip", "address", "add", f"{RESOLVER}/32", "dev", "lo"], check=True)
        self._resolver = DnsServer({". SOA": [". . 1 60 60 60 60"], ". NS": ["."]}, host=RESOLVER, authentic=True)
        settings = self.deploy / "compose" / "gatepost.toml"
        settings.write_text(
            settings.read_text().replace('validate = "local"', f'nameservers = ["{self._resolver.address}"]')
        )
        self._ending = threading.Event()
        self._checks = threading.Thread(target=self._check_health, name="health checks")

    def __enter__(self) -> Self:
        subprocess.run([self.deploy / "compose/prepare.sh"], check=True, capture_output=True, timeout=60)
        self._resolver.start()
        self._checks.start()
        self.compose("up", "--detach", "--no-build")
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._checks.join()
        self._resolver.stop()
        self.compose("down", "--volumes", "--timeout", "5", check=False)
        self.folder.remove()

    def compose(self, *words: str, check: bool = True) -> None:
        file = str(self.deploy / "compose.yaml")
        command = ["podman-compose", "--podman-path", self.podman_path, "--file", file, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert not check or done.returncode == 0, done.stdout + done.stderr

    def podman(self, *words: str, check: bool = True, given: str | None = None) -> str:
        command = [self.podman_path, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, input=given)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def name(self, service: str) -> str:
        return f"gatepost_{service}_1"

    def state(self, service: str) -> dict[str, Any]:
        (one,) = json.loads(self.podman("inspect", self.name(service)))
        return dict(one["State"])

    def is_healthy(self, service: str) -> bool:
        return str(self.state(service)["Health"]["Status"]) == "healthy"

    def gatepost(self, service: str, *words: str, given: str | None = None) -> Any:
        """What a command in the container of a node says, as JSON."""
        text = self.podman("exec", "--interactive", self.name(service), "gatepost", *words, "--json", given=given)
        return json.loads(text)

    def is_ready(self, service: str) -> bool:
        return self.podman("exec", self.name(service), "python3", "-c", READY, check=False).strip() == "200"

    def sql(self, service: str, statement: str, database: str = "postgres") -> str:
        command = ("psql", "--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", "-c", statement, database)
        return self.podman("exec", "--user", "postgres", self.name(service), *command).strip()

    def own_address(self) -> str:
        """Ours in the network of the containers: clients come from there, and the partner listens there."""
        (network,) = json.loads(self.podman("network", "inspect", "gatepost_default"))
        return str(network["subnets"][0]["gateway"])

    def logs(self) -> str:
        names = self.podman("ps", "--all", "--format", "{{.Names}}", check=False).split()
        return "\n".join(f"--- {name}\n{self._log(name)}" for name in names)

    def _log(self, name: str) -> str:
        command = [self.podman_path, "logs", "--tail", "40", name]
        both = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60
        )
        return both.stdout

    def _check_health(self) -> None:
        while not self._ending.wait(2):
            for name in self.podman("ps", "--format", "{{.Names}}", check=False).split():
                self.podman("healthcheck", "run", name, check=False)


@pytest.fixture
def site() -> Iterator[Compose]:
    podman = os.environ.get("GATEPOST_PODMAN", "")
    if not podman:
        pytest.skip(f"{MARK}: images of containers (make deploy-proof makes them)")
    with Compose(podman) as made:
        try:
            yield made
        finally:
            print(made.logs())


def test_three_nodes_with_a_standby_of_their_database(site: Compose) -> None:
    for service in ("db1", *GATEWAYS):
        wait_until(lambda service=service: site.is_healthy(service), f"{service} healthy", timeout=240)
        assert service == "db1" or site.is_ready(service)
        assert service == "db1" or workers_have_their_role(site, service)
    names = {row["name"] for row in site.gatepost("gateway1", "node", "list") if row["state"] == "active"}
    assert names == {"mx1", "mx2", "mx3"}
    following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'db2'"
    wait_until(lambda: site.sql("db1", following) == "1", "the standby follows", timeout=120)

    address = site.own_address()
    later = Behaviour(recipients={"late@partner.example": "451 4.3.0 Later"})
    with Sink(host=address, hostname="partner.example", behaviour=later) as partner:
        own = {**OWN_SERVERS, "sender_ip_addresses": [f"{address}/32"]}
        resources = contoso(mailboxes=(), inbound=[own], outbound=[connector("partner.example", partner.address)])
        site.gatepost("gateway2", "apply", "--file", "-", given=json.dumps(resources))
        for service, port in GATEWAYS.items():
            wait_until(lambda port=port: takes(port, f"{port}@partner.example"), f"{service} takes mail", timeout=60)
        partner.wait_messages(3, timeout=60)
        in_by_one_out_of_another(site, partner)
        replaced_one_by_one(site)
        upgraded(site)
        promoted(site, partner)


def takes(port: int, recipient: str) -> bool:
    """Whether a node takes a message now."""
    try:
        return send(port, recipient) == {}
    except (smtplib.SMTPException, OSError):
        return False


def in_by_one_out_of_another(site: Compose, partner: Sink) -> None:
    """The first node is stopped: it ends the mail that arrives, and what waits there leaves from another."""
    assert takes(GATEWAYS["gateway1"], "late@partner.example")
    wait_until(lambda: waiting(site, "late@partner.example"), "the message waits", timeout=30)
    connection = smtplib.SMTP("127.0.0.1", GATEWAYS["gateway1"], local_hostname="client.example", timeout=60)
    with closing(connection) as client:  # after the reply comes 421, to QUIT too
        client.ehlo()
        assert (client.mail(ALICE)[0], client.rcpt("open@partner.example")[0]) == (250, 250)
        assert client.docmd("DATA")[0] == 354
        begun = time.monotonic()
        stop = threading.Thread(target=site.podman, args=("stop", "--time", "120", site.name("gateway1")))
        stop.start()
        wait_until(lambda: not takes(GATEWAYS["gateway1"], "new@partner.example"), "no new mail there", timeout=20)
        client.send(message("taken while it drains") + b".\r\n")
        assert client.getreply()[0] == 250
    stop.join()
    assert time.monotonic() - begun < 100
    state = site.state("gateway1")
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    assert {row["name"]: row["state"] for row in site.gatepost("gateway2", "node", "list")}["mx1"] == "stopped"
    partner.behaviour = Behaviour()
    site.gatepost("gateway3", "queue", "retry", "--all")
    wait_until(lambda: {"late@partner.example", "open@partner.example"} <= reached(partner), "both", timeout=60)
    site.podman("start", site.name("gateway1"))
    wait_until(lambda: site.is_ready("gateway1"), "the first node again", timeout=60)


def replaced_one_by_one(site: Compose) -> None:
    """What docs/several-nodes.md says for a new version: each node is drained, and its container made anew."""
    site.compose("run", "--rm", "--no-deps", "prepare")
    for number, (service, port) in enumerate(GATEWAYS.items(), 1):
        before = container(site, service)
        site.podman("exec", site.name(service), "gatepost", "node", "drain", f"mx{number}", "--wait")
        assert not takes(port, "drained@partner.example")
        site.compose("up", "--detach", "--no-deps", "--force-recreate", service)
        wait_until(lambda port=port: takes(port, f"replaced{port}@partner.example"), f"{service} again", timeout=120)
        assert container(site, service) != before
        assert all(takes(other, f"beside{port}@partner.example") for other in GATEWAYS.values())


def container(site: Compose, service: str) -> str:
    return site.podman("inspect", "--format", "{{.Id}}", site.name(service)).strip()


def promoted(site: Compose, partner: Sink) -> None:
    """The primary dies: mail is answered for now, never lost, and goes on with the standby."""
    site.podman("update", "--restart", "no", site.name("db1"))
    site.podman("kill", site.name("db1"))
    wait_until(lambda: not site.is_ready("gateway2"), "not ready without a database", timeout=60)
    assert not takes(GATEWAYS["gateway2"], "refused@partner.example")
    site.podman("exec", "--user", "postgres", site.name("db2"), "pg_ctl", "promote")
    died = time.monotonic()
    for service, port in GATEWAYS.items():
        wait_until(lambda port=port: takes(port, f"after{port}@partner.example"), f"{service} takes mail", timeout=60)
    print(f"all nodes took mail {time.monotonic() - died:.1f} s after the promotion")
    wait_until(
        lambda: {f"after{port}@partner.example" for port in GATEWAYS.values()} <= reached(partner), "mail", timeout=60
    )
    assert all(site.is_ready(service) and workers_have_their_role(site, service) for service in GATEWAYS)
    assert "refused@partner.example" not in reached(partner)


def workers_have_their_role(site: Compose, service: str) -> bool:
    """Whether doctor says so."""
    text = site.podman("exec", site.name(service), "gatepost", "doctor", "--offline", "--json", check=False)
    (finding,) = (row for row in json.loads(text)["findings"] if row["area"] == "store.worker_url")
    print(service, finding)
    return bool(finding["level"] == "pass")


def upgraded(site: Compose) -> None:
    """Data of before there was a role for workers: the start of the database makes it, and all goes on."""
    for service in GATEWAYS:
        site.podman("stop", "--time", "120", site.name(service))
    site.sql("db1", f"DROP OWNED BY {WORKER}", "gatepost")
    site.sql("db1", f"DROP ROLE {WORKER}")
    for service in ("db1", "db2"):
        file = "/var/lib/postgresql/data/pg_hba.conf"
        site.podman("exec", site.name(service), "sed", "--in-place", f"s/{WORKER},//", file)
        site.podman("restart", site.name(service))
    wait_until(lambda: has_role(site, "db2"), "the standby has the role", timeout=60)
    site.podman("start", "--attach", site.name("prepare"))
    for service, port in GATEWAYS.items():
        site.podman("start", site.name(service))
        wait_until(lambda port=port: takes(port, f"upgraded{port}@partner.example"), f"{service}", timeout=60)
        assert workers_have_their_role(site, service)


def has_role(site: Compose, service: str) -> bool:
    """Whether a database has the role of workers."""
    words = ("psql", "--no-psqlrc", "-At", "-c", f"SELECT to_regrole('{WORKER}')", "postgres")
    return site.podman("exec", "--user", "postgres", site.name(service), *words, check=False).strip() == WORKER


def waiting(site: Compose, recipient: str) -> bool:
    rows = site.gatepost("gateway1", "queue", "list")
    return any(recipient in json.dumps(row) and row["last_error"] for row in rows)


def reached(partner: Sink) -> set[str]:
    return {recipient for received in list(partner.messages) for recipient in received.recipients}
