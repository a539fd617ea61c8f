"""Nothing passes between two nodes: where they share a database they need none of it, else mail waits for its home.

Two network namespaces with one link between them stand for two machines. A partition is silent: frames get lost.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from support.gateway import Gateway
from support.namespaces import TwoMachines, inside
from support.postgres import Postgres
from support.scenes import ALICE, STRANGER, connector, contoso, message, send
from support.site_scene import KEY, KEY_VARIABLE, MX1, MX2, SITE, organizations

from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Sink

ANN, BOB = "ann@contoso.example", "bob@partner.example"
PORT, JOINING = 8445, 8444
SMTP = 2525
MESSAGES = 30


@contextmanager
def partition(two: TwoMachines) -> Iterator[None]:
    """While entered, each sends to a machine that is not there, so that nothing arrives and nobody is told."""
    ways = list(zip((two.left, two.right), reversed(two.addresses), strict=True))
    nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"]
    for namespace, other in ways:
        neighbour(namespace, "replace", other, "dev", two.link, *nobody)
    try:
        yield
    finally:
        for namespace, other in ways:
            neighbour(namespace, "del", other, "dev", two.link)


def neighbour(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, "neighbour", *words], check=True, timeout=30)


def send_in(namespace: str, recipient: str, subject: str, sender: str = ALICE) -> None:
    """Send to the node of a namespace, and demand its 250."""
    inside(namespace, lambda: send(SMTP, recipient, sender=sender, content=message(subject, "x" * 70 * 20)))


@pytest.mark.long
@pytest.mark.timeout(180)
def test_nodes_that_share_a_database_do_not_need_each_other() -> None:
    """Each takes and delivers; one dies with mail that waits, and the other, which never saw it, delivers that, too."""
    with ExitStack() as stack:
        two = stack.enter_context(TwoMachines())
        server = stack.enter_context(Postgres(durable=True))
        folder = Folder("site")
        stack.callback(folder.remove)
        key = folder.write("master.key", "k" * 64, 0o600)
        store = {
            "url": server.database(by_socket=True),
            "master_key": f"file:{key}",
            "takeover_after": "5s",
            "shared_mailboxes": True,
        }
        sinks = [Sink(), Sink()]
        sinks[1].port = sinks[0].port
        resources = contoso(outbound=[connector("partner.example", sinks[0].address)])
        nodes = []
        for number, namespace in enumerate((two.left, two.right)):
            settings = {
                "server": {"node": f"node{number}"},
                "store": store,
                "queue": {"retry": ["60m"]},
                "listener": [{"role": "mx", "address": f"127.0.0.1:{SMTP}"}],
            }
            node = Gateway(
                resources if not number else "",
                hostname=f"mx{number}.contoso.example",
                settings=settings,
                namespace=namespace,
            )
            stack.callback(node.remove)
            nodes.append(node)
        stack.enter_context(partition(two))
        for node in nodes:
            node.start()
        left, right = nodes
        stack.callback(sinks[1].stop)
        inside(two.right, sinks[1].start)
        for number in range(MESSAGES):  # the left node's partner does not listen
            send_in((two.left, two.right)[number % 2], BOB, f"partition-{number}")
        sinks[1].wait_messages(MESSAGES // 2)
        wait_until(
            lambda: len(left.cli("queue", "list", json=True).data) == MESSAGES // 2, "what arrived to be settled"
        )
        left.kill()
        stack.callback(sinks[0].stop)
        wait_until(lambda: node_state(right, "node0") == "dead", "the other to count as dead", timeout=40)
        right.cli("queue", "retry", "--all")
        sinks[1].wait_messages(MESSAGES, timeout=60)
        arrived = Counter(one.mail.field("Subject") for one in sinks[1].messages)
        assert arrived == {f"partition-{number}": 1 for number in range(MESSAGES)}


def node_state(node: Gateway, name: str) -> str:
    """What a node says of another."""
    states = {other["name"]: other["state"] for other in node.cli("node", "list", json=True).data}
    return str(states[name])


@pytest.mark.long
@pytest.mark.timeout(180)
def test_mail_for_a_home_that_cannot_be_reached_waits_and_arrives_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with ExitStack() as stack:
        two = stack.enter_context(TwoMachines())
        nodes = []
        for own, other, name, namespace in ((0, 1, MX1, two.left), (1, 0, MX2, two.right)):
            site = {"node": [{"name": MX2 if name == MX1 else MX1, "address": two.addresses[other]}]}
            listeners = [
                {"role": "mx", "address": f"127.0.0.1:{SMTP}"},
                {"role": "internal", "address": f"{two.addresses[own]}:{PORT}"},
            ]
            joining = {"address": f"{two.addresses[0]}:{JOINING}"} if name == MX1 else {}
            settings = {
                "store": {"master_key": f"env:{KEY_VARIABLE}"},
                "queue": {"retry": ["1s"]},
                "listener": listeners,
                "site": site | joining,
            }
            node = Gateway(organizations(), hostname=name, settings=settings, namespace=namespace)
            stack.callback(node.remove)
            nodes.append(node)
        left, right = nodes
        left.cli("site", "init", "--name", SITE)
        left.start()
        token = left.cli("site", "token", "--for", MX2).stdout.strip()
        right.cli("site", "join", f"{two.addresses[0]}:{JOINING}", "--token", token)
        right.start()
        sender = partial(send_in, two.left, ANN, sender=STRANGER)
        sender(subject="partition-0")
        right.wait_maildir(ANN)
        with partition(two):
            for number in range(1, MESSAGES):
                sender(subject=f"partition-{number}")
            wait_until(
                lambda: any("4.4.31" in str(entry) for entry in left.cli("queue", "list", json=True).data),
                "the queue to say that the home does not answer",
                timeout=60,
            )
            assert len(right.maildir(ANN)) == 1
        arrived = Counter(mail.field("Subject") for mail in right.wait_maildir(ANN, MESSAGES, timeout=90))
        assert arrived == {f"partition-{number}": 1 for number in range(MESSAGES)}
        wait_until(lambda: left.cli("queue", "list", json=True).data == [], "an empty queue")
