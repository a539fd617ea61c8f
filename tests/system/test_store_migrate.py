"""Proves that `gatepost store migrate` loses and doubles nothing, from SQLite to a real PostgreSQL and back.

A gateway takes mail that has to wait, is stopped and moved, and delivers it from the other engine, once. Also here:
moves that are killed at any moment, and what is refused.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.gateway import Gateway
from support.postgres import WORKER, Postgres, worker_url
from support.process import GATEPOST, Child
from support.scenes import connector, contoso, message, send

from gatepost.testing.gateway import CliRun
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

LATER = Behaviour(replies={"RCPT": "450 4.2.1 Later"})
LINES = "x" * 70 + "\r\n"
RECIPIENTS = 7  # of what `fill` sends
REVIEWED = 3  # of what `fill_quarantine` sends


@pytest.fixture
def partner(sink: Callable[..., Sink]) -> Sink:
    return sink(behaviour=LATER)


@pytest.fixture
def shop(gateway: Callable[..., Gateway], partner: Sink) -> Gateway:
    """A gateway on SQLite with a master key, whose partner takes nothing yet; offers are held in quarantine."""
    rule = {"name": "offers", "header_name": "Subject", "header_contains": ["offer"], "quarantine": True}
    return gateway(
        contoso(mailboxes=[], outbound=[connector("later.example", partner.address)], mail_flow_rule=[rule]),
        settings={
            "server": {"workers": 2},
            "store": {"url": "sqlite:", "master_key": "env:TEST_MASTER_KEY"},
            "queue": {"retry": ["1s"]},
        },
    )


@pytest.fixture(autouse=True)
def master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MASTER_KEY", "k" * 40)


def use(server: Gateway, url: str, data_dir: Path | None = None, *, workers: str = "") -> None:
    """Change the settings of a stopped gateway to another store. workers: its address for the role of workers."""
    values: Any = tomlkit.parse(server.config.read_text())
    values["store"] |= {"url": url, "worker_url": workers}
    if data_dir is not None:
        values["server"]["data_dir"] = str(data_dir)
        server.data_dir = data_dir
    server.config.write_text(tomlkit.dumps(values))


def fill(server: Gateway, name: str, *, large: int = 12_000) -> set[str]:
    """Six messages that wait, small, large and for two recipients; returns their subjects."""
    subjects = {f"{name}-{number}" for number in range(6)}
    for subject in sorted(subjects):
        body = LINES * (large if subject.endswith("-5") else 3)
        to = ["bob@later.example", "eve@later.example"] if subject.endswith("-4") else "bob@later.example"
        send(server.port, to, content=message(subject, body))
    wait_until(lambda: len(waiting(server)) == 6 and all(row["attempts"] for row in waiting(server)), "mail to wait")
    return subjects


def with_roles(postgres: Postgres, *, has_role: bool) -> tuple[str, str]:
    """The addresses of a new database: of the gateway, and of its workers, "" if they have no role of their own."""
    url = postgres.database()
    if has_role and WORKER not in postgres.sql("SELECT rolname FROM pg_roles").split():
        postgres.sql(f"CREATE ROLE {WORKER} LOGIN")
    return url, worker_url(url) if has_role else ""


def waiting(server: Gateway) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = server.cli("queue", "list", "--limit", "1000", json=True).data
    return rows


def quarantine(server: Gateway) -> list[dict[str, Any]]:
    """What is in quarantine, with when it is deleted and what holds it."""
    rows: list[dict[str, Any]] = server.cli("quarantine", "list", json=True).data
    return rows


def fill_quarantine(server: Gateway) -> list[dict[str, Any]]:
    """A small message for two, and a large one."""
    send(server.port, ["bob@later.example", "eve@later.example"], content=message("offer", LINES))
    send(server.port, "bob@later.example", content=message("large offer", LINES * 12_000))
    rows = quarantine(server)
    assert [(row["subject"], row["recipient"]) for row in rows] == [
        ("large offer", "bob@later.example"),
        ("offer", "eve@later.example"),
        ("offer", "bob@later.example"),
    ]
    return rows


def move_back(server: Gateway, url: str, new: str) -> None:
    """Move 8 messages from PostgreSQL into a new data directory, and serve from there."""
    assert "is in use: node" in migrate(server, url, new, expect=2).stderr
    server.stop()
    moved = migrate(server, url, new, "--json")
    assert tables(moved)["queued messages"] == 8
    data_dir = new.removeprefix("sqlite:")
    assert moved.data["settings"] == {"store.url": "sqlite:", "server.data_dir": data_dir, "store.worker_url": None}
    assert moved.data["next"][0] == 'next: set [store] url = "sqlite:" in the settings, then start the gateway'
    said = migrate(server, url, new).stderr  # done already
    assert ("remove [store] worker_url" in said) == ('worker_url = "postgresql' in server.config.read_text())
    assert "was moved to sqlite:" in server.cli("serve", expect=2).stderr
    use(server, "sqlite:", server.folder / "new")
    server.start()


def arrived(partner: Sink) -> Counter[str]:
    """How often each subject reached the partner."""
    heads = (one.data[:2000].decode("latin-1") for one in partner.messages)
    return Counter(line[9:] for head in heads for line in head.split("\r\n") if line.startswith("Subject: "))


def migrate(server: Gateway, source: str, target: str, *words: str, expect: int | None = 0) -> CliRun:
    return server.cli("store", "migrate", "--from", source, "--to", target, *words, expect=expect, timeout=120)


def tables(run: CliRun) -> dict[str, int]:
    """Records by part; both sides are the same."""
    assert all(table["same"] and table["from"] == table["to"] for table in run.data["tables"])
    return {table["name"]: table["from"]["records"] for table in run.data["tables"]}


def received(server: Gateway) -> list[str]:
    rows = server.trace(event="RECEIVE", limit="1000")
    return sorted(row["message"] for row in rows)


def verified(server: Gateway) -> CliRun:
    return server.cli("evidence", "verify", json=True, expect=None)


def stored(server: Gateway, recipients: int) -> dict[str, Any]:
    """What people find in a gateway, but for the queue, once its trace is whole: a row for each recipient of mail.

    Workers write it about a second later, each its own rows: with fewer of them the next reading would have more.
    There is no evidence log before the first of them has written.
    """
    wait_until(lambda: len(received(server)) >= recipients, "the trace to be written")
    wait_until(lambda: verified(server).stdout, "the evidence to be written")
    return {
        "history": server.cli("history", json=True).data,
        "users": server.cli("user", "list", json=True).data,
        "audit": server.cli("audit", json=True).data,
        "trace": received(server),
        "evidence": verified(server).data["verified"] is not False,
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("has_role", [False, pytest.param(True, marks=pytest.mark.long)])
def test_there_and_back(shop: Gateway, partner: Sink, postgres: Postgres, *, has_role: bool) -> None:
    """has_role: whether workers have a role of their own in PostgreSQL."""
    url, workers = with_roles(postgres, has_role=has_role)
    shop.cli("user", "add", "ann", "--role", "operator", "--password-stdin", given="a long pass phrase of ann\n")
    subjects = fill(shop, "there")
    held = waiting(shop)[0]["message"]["id"]
    shop.cli("queue", "hold", held)
    reviewed = fill_quarantine(shop)
    before = stored(shop, RECIPIENTS + REVIEWED)
    assert migrate(shop, "sqlite:", url, expect=2).stderr.count("is in use, by a gateway that serves") == 1
    shop.stop()

    planned = migrate(shop, "sqlite:", url, "--dry-run", "--json").data["tables"]
    assert {"name": "queued messages", "count": 8} in planned
    moved = tables(migrate(shop, "sqlite:", url, "--json"))
    assert moved["queued messages"] == 8
    assert moved["pieces of large bodies"] == 8
    assert moved["access: user"] == 1
    assert moved["rows of the message trace"] >= 12
    assert "nothing is left to do" in migrate(shop, "sqlite:", url).stderr

    refused = shop.cli("serve", expect=2).stderr
    assert "this store was moved to the database " in refused
    assert "gatepost store reopen" in refused
    assert shop.cli("queue", "list", expect=None).status != 0

    use(shop, url, workers=workers)
    assert quarantine(shop) == reviewed
    shop.start()
    assert {row["message"]["id"] for row in waiting(shop) if row["state"] == "held"} == {held}
    assert stored(shop, RECIPIENTS + REVIEWED) == before
    partner.behaviour = Behaviour()
    wait_until(lambda: len(waiting(shop)) == 1, "all but the held message to go", timeout=30)
    shop.cli("queue", "release", held)
    wait_until(lambda: not waiting(shop), "the queue to run empty", timeout=30)
    assert arrived(partner) == Counter(subjects)
    assert quarantine(shop) == reviewed
    shop.cli("quarantine", "release", reviewed[1]["message"], "--recipient", "eve@later.example", "--reason", "known")
    wait_until(lambda: arrived(partner)["offer"] == 1, "the released message to go", timeout=30)
    reviewed = quarantine(shop)

    new = f"sqlite:{shop.folder / 'new'}"
    partner.behaviour = LATER
    back = fill(shop, "back")
    before = stored(shop, 2 * RECIPIENTS + REVIEWED)
    move_back(shop, url, new)
    assert stored(shop, 2 * RECIPIENTS + REVIEWED) == before
    assert quarantine(shop) == reviewed
    partner.behaviour = Behaviour()
    shop.cli("quarantine", "release", *{row["message"] for row in reviewed}, "--reason", "known")
    wait_until(lambda: not waiting(shop), "the queue to run empty", timeout=30)
    assert arrived(partner) == Counter(subjects | back) + Counter({"offer": 2, "large offer": 1})
    assert shop.cli("store", "check").stdout.endswith("all is well\n")
    assert shop.cli("evidence", "verify", json=True, expect=None).data["verified"] is not False


@pytest.mark.timeout(400)
def test_a_move_that_is_killed_goes_on(shop: Gateway, partner: Sink, postgres: Postgres) -> None:
    url = postgres.database()
    subjects = fill(shop, "killed", large=60_000)
    for number in range(150):
        send(shop.port, "bob@later.example", content=message(f"more-{number}"))
        subjects.add(f"more-{number}")
    wait_until(lambda: len(waiting(shop)) == 156, "all to wait", timeout=60)
    before = stored(shop, 150 + RECIPIENTS)
    shop.stop()
    source, target = "sqlite:", url
    for turn in range(2):
        killed = kill_until_done(shop, source, target)
        assert killed >= 3
        tables(migrate(shop, source, target, "--json"))
        assert "is closed" not in shop.cli("serve", expect=2).stderr if turn else True
        source, target = target, f"sqlite:{shop.folder / 'back'}"
    use(shop, "sqlite:", shop.folder / "back")
    assert len(waiting(shop)) == 156
    shop.start()
    assert stored(shop, 150 + RECIPIENTS) == before
    partner.behaviour = Behaviour()
    wait_until(lambda: not waiting(shop), "the queue to run empty", timeout=60)
    assert arrived(partner) == Counter(subjects)


def kill_until_done(server: Gateway, source: str, target: str) -> int:
    """Begin a move again and again and kill it, each time somewhat later; returns how often it was killed."""
    killed, wait = 0, 0.02  # on any machine some are killed before they copy, and some while they do
    command = [GATEPOST, "--config", server.config, "store", "migrate", "--from", source, "--to", target]
    while True:
        process = Child(command, server.folder / f"move-{killed}")
        time.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        if process.returncode is not None:
            assert process.returncode == 0, process.output()
            return killed
        process.kill()
        killed += 1
        wait *= 1.4
