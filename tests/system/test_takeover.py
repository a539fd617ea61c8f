"""A node that stood still for too long does not deliver what another has taken over.

Two nodes share PostgreSQL. All processes of one are stopped (SIGSTOP) as a suspended machine stops them, and go on when
the other has delivered its mail: what it had begun, and what it had in memory, is not sent a second time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.gateway import Gateway
from support.nodes import Nodes
from support.postgres import Postgres
from support.scenes import message, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import EXTENSIONS, Behaviour

BOB = "bob@partner.example"
STEPWISE = tuple(line for line in EXTENSIONS if line != "CHUNKING")  # the message follows the reply to DATA


@contextmanager
def standing_still(node: Gateway) -> Iterator[None]:
    """While entered, no process of a node runs."""
    family = node.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["RCPT", "DATA", "CONNECT"])
def test_what_another_node_delivered_is_not_sent_again(postgres: Postgres, point: str) -> None:
    """One message is on its way when the node stops, before its content is sent; others wait for their lane."""
    settings = {
        "store": {"takeover_after": "5s"},
        "queue": {"connections_per_destination": 1},
        "server": {"workers": 1},
    }
    with Nodes(postgres, 2, settings=settings) as site:
        stopped, other = site.nodes
        usual = Behaviour(extensions=STEPWISE)
        site.partner.behaviour = Behaviour(extensions=STEPWISE, holds=frozenset({point}))
        subjects = [f"node-0-{number}" for number in range(5)]
        for subject in subjects:
            send(stopped.port, BOB, content=message(subject))
        wait_until(lambda: site.partner.counts[point], "an attempt that waits for a reply")
        with standing_still(stopped):
            wait_until(lambda: "silent: others take over" in other.log(), "the takeover", timeout=40)
            site.partner.behaviour = usual
            wait_until(lambda: len(site.arrived()) == 5, "mail by the other node", timeout=40)
        wait_until(lambda: "what it had in memory is theirs now" in stopped.log(), "the end of its epoch", timeout=40)
        send(stopped.port, BOB, content=message("node-0-5"))
        wait_until(lambda: site.arrived()["0-5"], "new mail by the node that stood still")
        assert set(site.arrived().values()) == {1}, site.arrived()
        assert [node.stop() for node in site.nodes] == [0, 0]
        assert set(site.arrived().values()) == {1}
