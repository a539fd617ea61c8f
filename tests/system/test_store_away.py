"""A gateway whose PostgreSQL cannot be used says so, whatever the reason: at /readyz, /healthz, in its log and status.

It stays alive for who watches it, takes no mail that it cannot store, and takes it again within 5 s of the end.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.detour import Way
from support.disk import Filler
from support.gateway import Gateway
from support.nodes import Nodes
from support.pace import Pace
from support.pair import Pair
from support.scenes import message
from support.stranger import Stranger

from gatepost.testing.process import FixtureError, free_port, wait_until

ALICE, BOB = "alice@contoso.example", "bob@partner.example"
RETURN = 5.0  # seconds within which mail is taken again, and a command has its answer


@dataclass(frozen=True, slots=True)
class Site:
    """One node, its database, and where it is asked how it is."""

    pair: Pair
    nodes: Nodes
    watched: int

    @property
    def node(self) -> Gateway:
        return self.nodes.nodes[0]

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.watched}{path}", timeout=4) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        status, text = self.ask("/readyz")
        # The alarm that trace and evidence could not be written is looked at once a minute, and does not stop mail.
        return status == 200 and text in {"ready\n", "ready, but what is recorded of mail cannot be written\n"}

    def send(self) -> int:
        """The code that a message gets."""
        with smtplib.SMTP("127.0.0.1", self.node.port, timeout=30) as client:
            try:
                client.sendmail(ALICE, [BOB], message("away", "x" * 70 * 2000))
            except smtplib.SMTPResponseException as refused:
                return refused.smtp_code
        return 250


@pytest.fixture(scope="module")
def whole_site() -> Iterator[Site]:
    watched = free_port()
    settings = {"store": {"durability": "replicated"}, "metrics": {"address": f"127.0.0.1:{watched}"}}
    with Pair() as pair, Nodes(pair, 1, settings=settings) as nodes:
        yield Site(pair, nodes, watched)


@pytest.fixture
def site(whole_site: Site) -> Site:
    wait_until(whole_site.is_ready, "the gateway to be ready")
    return whole_site


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    site.pair.primary.stop()
    try:
        yield
    finally:
        site.pair.primary.start()


@contextmanager
def silent(site: Site) -> Iterator[None]:
    detours = site.nodes.detours[0]
    detours.lead(Way(swallowed=True))
    try:
        yield
    finally:
        detours.lead(Way())


@contextmanager
def full(site: Site) -> Iterator[None]:
    primary = site.pair.primary
    assert primary.disk is not None
    filler = Filler(primary.disk / "filler")
    filler.start()
    try:
        yield
    finally:
        filler.remove()
        if not primary.is_running:
            primary.stop()
            primary.start()


@contextmanager
def crowded(site: Site) -> Iterator[None]:
    with Stranger(site.pair.host, site.pair.primary.port):
        yield


@contextmanager
def alone(site: Site) -> Iterator[None]:
    standby = site.pair.standby
    assert standby is not None
    standby.stop()
    try:
        yield
    finally:
        standby.start()


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        pytest.param(stopped, ("PostgreSQL cannot be reached", "no PostgreSQL server takes writes"), id="stopped"),
        pytest.param(silent, ("PostgreSQL does not answer in time",), id="silent", marks=pytest.mark.long),
        pytest.param(full, ("the disk of PostgreSQL is full", "no PostgreSQL server takes writes"), id="full"),
        pytest.param(crowded, ("PostgreSQL has no connection left",), id="crowded"),
        pytest.param(alone, ("PostgreSQL has no synchronous standby",), id="alone"),
    ],
)
def test_what_is_wrong_is_told_and_ends_by_itself(
    site: Site, trouble: Callable[[Site], object], told: tuple[str, ...]
) -> None:
    assert site.send() == 250
    logged = len(site.node.log())
    with trouble(site):  # type: ignore[attr-defined]  # a context manager
        texts = {f"{text}: no mail is taken" for text in told}

        def is_told() -> bool:
            assert site.send() in {451, 452, 250}
            return site.ask("/readyz")[1].strip() in texts

        try:
            wait_until(is_told, f"/readyz to say {told}", timeout=30)
        except FixtureError as late:
            raise FixtureError(f"{late}, not {site.ask('/readyz')}") from late
        took: list[float] = []
        while not took or (took[-1] >= 2 and len(took) < 5):  # a busy machine may be late once
            begun = time.monotonic()
            status, text = site.ask("/healthz")
            took.append(time.monotonic() - begun)
        assert (status, text.startswith("ok, but not ready: ")) == (200, True), text
        assert took[-1] < 2, f"who watches would take it for dead: {took}"
        assert site.send() in {451, 452}

        def is_shown() -> bool:  # by what the worker writes for others every so often
            shown = site.node.cli("status", expect=None, timeout=60)
            assert shown.stderr.count("store.url: ") <= 1, shown.stderr  # a failure is told once
            return shown.status in {1, 3} and "PostgreSQL" in shown.stdout + shown.stderr

        wait_until(is_shown, "status to say so")
        examined = site.node.cli("doctor", "--offline", expect=None, timeout=60)
        assert examined.status in {1, 3}
        assert ("none of the PostgreSQL server's synchronous standbys" in examined.stdout) == (trouble is alone), (
            examined.stdout
        )
    with Pace() as taken:
        wait_until(lambda: site.send() == 250, "mail to be taken again")
    assert taken.took_less_than(RETURN), taken
    with Pace() as ready:
        wait_until(site.is_ready, "the gateway to be ready again")
    assert ready.took_less_than(RETURN), ready
    said = site.node.log()[logged:]
    assert "no mail is accepted" in site.node.log()
    assert "Traceback" not in said


def test_a_node_is_heard_and_keeps_its_duties_though_the_standby_is_missing(site: Site) -> None:
    site.node.cli("store", "prepare")  # no table is made meanwhile
    with alone(site):
        time.sleep(9)  # three heartbeats
        (row,) = site.node.cli("node", "list", json=True).data
        assert row["heartbeat"] < 6, row
        assert "alarms" in row["leases"]


@pytest.mark.long
def test_a_server_that_is_silent_keeps_nobody_from_the_one_that_took_over(site: Site) -> None:
    """Its machine is gone: not even a reset comes back."""
    for detour, port in zip(site.nodes.detours[0].each, site.pair.ports, strict=True):
        if port == site.pair.primary.port:
            gone = detour
    gone.way = Way(swallowed=True)
    begun = time.monotonic()
    site.pair.fail_over()
    site.pair.add_standby()
    wait_until(lambda: site.send() == 250, "mail to be taken by the new primary", timeout=30)
    print(f"taken by the new primary {time.monotonic() - begun:.1f} s after the old one was gone")
    with Pace() as pace:
        site.node.cli("queue", "list")
    assert pace.took_less_than(RETURN), pace
    site.node.stop()
    site.node.start()
    assert site.send() == 250
    gone.way = Way()
