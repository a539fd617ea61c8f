"""Proves that a node that dies at a named step leaves its mail to another: nothing lost, what is doubled is known.

Two nodes share PostgreSQL. All processes of one die exactly before or after a function (`support.kill_switch`), and it
stays dead until the other has delivered its mail. `test_kill_steps.py` has the same steps of one node.
"""

from __future__ import annotations

import pytest
from support.kill_points import MortalGateway, Point
from support.mail_kills import DEFERS, GONE, REFUSES_GONE, SEND, Kill, is_acknowledged
from support.nodes import Nodes
from support.postgres import Postgres

from gatepost.testing.process import wait_until

COMMIT = "gatepost.store.postgres.flusher:Flusher._write_plan"
RETRIES = "gatepost.store.postgres.retry_commits:RetryCommits"
UPLOAD = "gatepost.store.postgres.queue:PostgresStore._upload"


SHORT = [
    Kill(Point(COMMIT, "before", ("plan.messages",)), stored=False),
    Kill(Point(COMMIT, "after", ("plan.messages",))),
    Kill(Point(SEND, "after"), doubled=1),
]
LONG = [
    Kill(Point(UPLOAD, "after"), stored=False, size=700_000),
    Kill(Point(COMMIT, "before", ("plan.finished",)), doubled=1),
    Kill(Point(COMMIT, "after", ("plan.finished",))),
    Kill(Point(SEND, "before")),
    Kill(Point(f"{RETRIES}._lease", "before"), behaviour=DEFERS),
    Kill(Point(f"{RETRIES}._lease", "after"), behaviour=DEFERS),
    Kill(Point(f"{RETRIES}._settle", "before"), behaviour=DEFERS),
    Kill(Point(f"{RETRIES}._settle", "after"), behaviour=DEFERS),
    Kill(Point(f"{RETRIES}._settle_with_notices", "before"), to=GONE),
    Kill(Point(f"{RETRIES}._settle_with_notices", "after"), to=GONE),
]


@pytest.mark.parametrize("kills", [SHORT, pytest.param(LONG, marks=pytest.mark.long)], ids=["few", "all others"])
@pytest.mark.timeout(400)
def test_another_node_goes_on_wherever_one_dies(postgres: Postgres, kills: list[Kill]) -> None:
    """Who got no 250 sends again, to the other node."""
    settings = {"store": {"takeover_after": "5s"}}
    points, fields = [kill.point for kill in kills], {"notices_to_strangers": "send"}
    with Nodes(postgres, 2, settings=settings, points=points, fields=fields) as site:
        mortal, other = site.nodes
        assert isinstance(mortal, MortalGateway)
        for number, kill in enumerate(kills):
            subject = f"step-{number}"
            site.partner.behaviour = kill.behaviour
            mortal.arm(number, whole=True)
            acknowledged = is_acknowledged(mortal, kill, subject)
            assert kill.stored or not acknowledged, kill.point
            mortal.died()
            site.partner.behaviour = REFUSES_GONE
            assert acknowledged or is_acknowledged(other, kill, subject)
            expected = kill.stored + (not acknowledged) + kill.doubled
            wait_until(lambda: arrived(site, subject) >= expected, f"{expected} arrivals: {kill.point}", timeout=60)  # noqa: B023 - waited for here
            wait_until(lambda: site.nodes[1].cli("queue", "list", json=True).data == [], "an empty queue", timeout=60)
            assert arrived(site, subject) == expected, kill.point
            mortal.start()
        assert [node.stop() for node in site.nodes] == [0, 0]
        other.cli("store", "check")


def arrived(site: Nodes, subject: str) -> int:
    """How often a message came to the partner, or its notice into a mailbox of either node."""
    line = f"Subject: {subject}".encode()
    files = [path.read_bytes() for node in site.nodes for path in node.data_dir.rglob("new/*")]
    return sum(line in content.splitlines() for content in [*files, *(one.data for one in site.partner.messages)])
