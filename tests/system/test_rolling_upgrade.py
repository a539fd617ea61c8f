"""A site is upgraded node by node while mail flows: two versions of gatepost share its tables, no client is refused.

The next version is a copy of the source whose tables have more in them (`support.next_version`).
"""

from __future__ import annotations

import random
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.gateway import Gateway
from support.next_version import VERSION, NextVersion
from support.nodes import Nodes
from support.postgres import Postgres
from support.scenes import ALICE, connector, contoso, message, send
from support.senders import Senders

from gatepost.store.postgres.queue_schema import QUEUE_SCHEMA
from gatepost.testing.process import Folder, free_port, wait_until

ROLES = Path(__file__).parents[2] / "deploy/postgresql/roles.sql"
AWAY = connector("away.example", f"127.0.0.1:{free_port()}")


class MxClients(Senders):
    """Clients that send as RFC 5321 section 5.1 says: to the first host that takes the message.

    acknowledged: the messages that got 250. refused: those that no host took. passed: why a host was passed over.
    unanswered: messages whose end was sent and not answered.
    """

    def __init__(self, ports: list[int], clients: int = 3) -> None:
        self._ports = ports
        super().__init__(clients)
        self.acknowledged: set[str] = set()
        self.refused: list[str] = []
        self.passed = Counter[str]()
        self.unanswered = 0

    def wait_for_more(self, count: int = 20) -> None:
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + count, f"{count} more messages", timeout=60)

    def _run(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - the same choice in every run
        sent = 0
        while not self._over.is_set():
            connection: smtplib.SMTP | None = None
            for _ in range(10):  # in one session, if the host goes on
                sent += 1
                connection = self._deliver(connection, f"{number}-{sent}", chance)
                time.sleep(0.02)
            if connection is not None:
                connection.close()

    def _deliver(self, connection: smtplib.SMTP | None, identity: str, chance: random.Random) -> smtplib.SMTP | None:
        """Send a message over the session that there is, or to one host after the other; the session that took it."""
        if connection is not None and self._sent(connection, identity):
            return connection
        for port in chance.sample(self._ports, len(self._ports)):
            try:
                connection = smtplib.SMTP("127.0.0.1", port, timeout=30)
            except (OSError, smtplib.SMTPException) as error:
                self.passed[_reason(error)] += 1
                continue
            if self._sent(connection, identity):
                return connection
        self.refused.append(identity)
        return None

    def _sent(self, connection: smtplib.SMTP, identity: str) -> bool:
        try:
            connection.ehlo_or_helo_if_needed()
            connection.mail(ALICE)
            code, text = connection.rcpt("bob@partner.example")
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        except (OSError, smtplib.SMTPException) as error:
            self.passed[_reason(error)] += 1
            connection.close()
            return False
        try:
            code, text = connection.data(message(f"node-{identity}", "x" * 70 + "\r\n"))
        except smtplib.SMTPDataError as error:  # to DATA itself
            code, text = error.smtp_code, error.smtp_error
        except (OSError, smtplib.SMTPServerDisconnected):
            self.unanswered += 1  # nobody knows whether it was taken; a real client sends it again
            connection.close()
            return True
        if code != 250:
            self.passed[f"{code} to the message"] += 1
            connection.close()
            return False
        self.acknowledged.add(identity)
        return True


def _reason(error: Exception) -> str:
    return str(error.smtp_code) if isinstance(error, smtplib.SMTPResponseException) else type(error).__name__


@pytest.fixture
def next_version() -> Iterator[Path]:
    version = NextVersion()
    yield version.path
    version.remove()


@pytest.fixture
def site(running: ExitStack, start_postgres: Callable[..., Postgres]) -> Nodes:
    """Three nodes, whose role can make no tables; they are made by `store prepare`."""
    server = start_postgres()
    folder = Folder("roles")
    roles = folder.write("roles.sql", ROLES.read_text())
    server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", roles, *server.address())
    folder.remove()
    settings = {"store": {"takeover_after": "5s"}}
    nodes = Nodes(server, settings=settings, database=server.url("gatepost", user="gatepost"))
    prepare(nodes.nodes[0], server)
    return running.enter_context(nodes)


def prepare(node: Gateway, server: Postgres, *, expect: int = 0) -> str:
    url = server.url("gatepost", user="gatepost_admin")
    done = node.cli("store", "prepare", "--url", url, expect=expect)
    return done.stdout + done.stderr


def versions(node: Gateway) -> dict[str, str]:
    return {
        row["name"]: row["software"] for row in node.cli("node", "list", json=True).data if row["state"] == "active"
    }


def in_force(node: Gateway) -> set[int]:
    return {row["configuration"] for row in node.cli("node", "list", json=True).data}


def check_side_by_side(old: Gateway, new: Gateway, site: Nodes) -> None:
    """Each of them takes, delivers and administers what the other one has."""
    for number, (by, other) in enumerate(((old, new), (new, old))):
        name = f"Contoso {number}"
        partner = connector("partner.example", site.partner.address)
        done = by.apply(contoso(mailboxes=[ALICE], outbound=[partner, AWAY], display_name=name))
        assert "not yet on" not in done.stderr, done.stderr
        assert name in other.cli("export").stdout
        assert len(in_force(other)) == 1

        send(by.port, f"bob{number}@away.example", content=message(f"away {number}"))
        recipient = f"bob{number}@away.example"
        wait_until(lambda r=recipient, o=other: entry(o, r)["attempts"] >= 1, "an attempt, as the other node sees it")
        other.wait_trace(recipient=recipient, event="DEFER")
        other.cli("queue", "drop", "--reason", "a test", entry(other, recipient)["message"]["id"])
        other.wait_trace(recipient=recipient, event="DROP")
        assert other.cli("status", json=True, expect=None).status in {0, 1}
        assert other.cli("evidence", "verify", expect=None).status in {0, 3}  # 3: not all is signed yet
        other.cli("store", "check")


def entry(node: Gateway, recipient: str) -> dict[str, object]:
    rows = node.cli("queue", "list", json=True).data
    found = [row for row in rows if recipient in [one["address"] for one in row["recipients"]]]
    return dict(found[0]) if found else {"attempts": 0}


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_site_is_upgraded_node_by_node_while_mail_flows(site: Nodes, next_version: Path) -> None:
    first, second, third = site.nodes
    with MxClients([node.port for node in site.nodes]) as clients:
        clients.wait_for_more()

        # Without the tables of the next version a node of it does not start, and says what to do.
        upgrade = site.nodes[0]
        upgrade.cli("node", "drain", "node1", "--wait")
        assert upgrade.stop() == 0
        upgrade.change_version(next_version)
        told = upgrade.cli("serve", expect=2).stderr
        assert "older than this version of gatepost" in told
        assert "gatepost store prepare" in told

        told = prepare(upgrade, site.server)
        version = QUEUE_SCHEMA.version + 1
        assert f"queue: from version {version - 1} to {version}" in told
        clients.wait_for_more()
        assert site.server.sql("SELECT count(colour) FROM gatepost.queue_delivery", "gatepost").isdigit()

        # Nodes of the version before work with the tables of the next one, also if they start with them.
        third.kill()
        third.start()
        assert f"queue: is version {version} already" in prepare(third, site.server)
        first.start()
        assert versions(second)["node1"] == VERSION
        assert versions(second)["node2"] != VERSION
        check_side_by_side(second, first, site)
        clients.wait_for_more()

        for node, name in ((second, "node2"), (third, "node3")):
            node.cli("node", "drain", name, "--wait", timeout=60)
            assert node.stop() == 0
            node.change_version(next_version)
            node.start()
            clients.wait_for_more()
        assert versions(first) == dict.fromkeys(("node1", "node2", "node3"), VERSION)

    assert clients.refused == []
    assert clients.unanswered <= 3  # at the one kill, a message of each client
    wait_until(lambda: clients.acknowledged <= set(site.arrived()), "everything that was acknowledged", timeout=60)
    arrived = site.arrived()
    twice = [identity for identity in clients.acknowledged if arrived[identity] > 1]
    print(f"acknowledged {len(clients.acknowledged)}, unanswered {clients.unanswered}, twice {len(twice)}")
    print(f"passed over {dict(clients.passed)}")
    assert len(twice) <= 20  # at the one kill: what was being delivered
    assert clients.passed["421"] > 0
    assert [name for node in site.nodes for name in [node.log()] if "Traceback" in name] == []
