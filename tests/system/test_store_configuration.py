"""The configuration with its history and contents behaves alike in SQLite and in PostgreSQL, where nodes share it."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.postgres import Postgres

from gatepost.store.changes import ConfigConflict, ConfigStore, on_newest
from gatepost.store.interface import OutcomeUnknown, StoreBusy, StoreFailure
from gatepost.store.postgres.database import PostgresConnection
from gatepost.store.storage import Storage

CONTOSO = {"accepted_domains": [{"name": "contoso.example"}]}
FABRIKAM = {"accepted_domains": [{"name": "fabrikam.example"}]}


@pytest.fixture
def config(storage: Storage) -> Iterator[ConfigStore]:
    with closing(storage.configuration()) as config:
        yield config


class Nodes:
    """Two nodes of one site: storages with one database and two data directories."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.url = server.database()
        self.folder = folder
        self.first, self.second = Storage(self.url, folder / "a"), Storage(self.url, folder / "b")


@pytest.fixture
def nodes(postgres: Postgres, tmp_path: Path) -> Iterator[Nodes]:
    nodes = Nodes(postgres, tmp_path)
    yield nodes
    nodes.first.disconnect()


def seconds_until(condition: Callable[[], bool], patience: float = 30.0) -> float:
    """How long it takes until a condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < patience
        time.sleep(0.01)
    return time.monotonic() - begun


def test_a_change_is_a_version_with_its_history(config: ConfigStore) -> None:
    assert (config.version(), config.load()) == (0, (0, {}))
    assert config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann", note="both") == 1
    assert config.apply({"organization": {"contoso": CONTOSO}}, author="ann") == 1, "nothing is different"
    assert config.apply({"organization": {"fabrikam": None}, "certificate": {"x": {"a": "é\x00'"}}}, author="joe") == 2
    assert config.version() == 2
    assert config.load("organization", "certificate") == (
        2,
        {"organization": {"contoso": CONTOSO}, "certificate": {"x": {"a": "é\x00'"}}},
    )
    assert config.texts("certificate")[0] == 2
    assert [(one.version, one.author, one.kind, one.name) for one in config.history()] == [
        (2, "joe", "certificate", "x"),
        (2, "joe", "organization", "fabrikam"),
        (1, "ann", "organization", "fabrikam"),
        (1, "ann", "organization", "contoso"),
    ]
    (gone,) = config.history("organization", "fabrikam", limit=1)
    assert (gone.before, gone.after) == (FABRIKAM, None)
    assert [(one.version, one.names) for one in config.versions()] == [(2, ("fabrikam",)), (1, ("contoso", "fabrikam"))]
    assert abs(time.time() - gone.at) < 60


def test_a_change_of_an_older_version_is_a_conflict(config: ConfigStore) -> None:
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann", expected=0)
    with pytest.raises(ConfigConflict, match="at version 1, not 0"):
        config.apply({"organization": {"contoso": None}}, author="joe", expected=0, content={"key/x/k": b"1"})
    assert config.load() == (1, {"organization": {"contoso": CONTOSO}})
    assert config.content("key/x/k") is None
    with pytest.raises(TypeError):
        config.apply({"organization": {"x": {"y": object()}}}, author="joe", content={"key/x/k": b"1"})
    assert (config.version(), config.content("key/x/k")) == (1, None)


def test_contents_are_stored_changed_and_removed(storage: Storage, config: ConfigStore) -> None:
    config.apply({}, author="ann", content={"key/a/k": b"\x00sealed", "key/b/k": b"b", "chain/a": b""})
    config.apply(
        {"certificate": {"a": {}}}, author="ann", content={"key/b/k": None, "key/a/k": b"again", "key/none/k": None}
    )
    assert config.contents("key/", "/k") == {"key/a/k": b"again"}
    assert (config.content("chain/a"), config.content("key/b/k")) == (b"", None)
    config.keep_apart({"key/b/k": b"apart"})
    with closing(storage.configuration()) as other:
        assert other.content("key/b/k") == b"apart"
        assert other.content_once("once", lambda: b"first") == b"first"
    assert config.content_once("once", lambda: b"second") == b"first"
    assert config.content("once") == b"first"
    assert "again" not in repr(config.history())


def test_many_at_once_each_get_a_version(storage: Storage) -> None:
    failures: list[BaseException] = []

    def change(number: int) -> None:
        try:
            with closing(storage.configuration()) as config:
                for step in range(5):
                    config.apply({"organization": {f"o{number}": {"step": step}}}, author=str(number))
        except StoreFailure as failure:
            failures.append(failure)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with closing(storage.configuration()) as config:
        assert failures == []
        assert config.version() == 20
        assert sorted(one.version for one in config.history()) == list(range(1, 21))


def test_looking_for_a_version_costs_microseconds(config: ConfigStore) -> None:
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    config.version()
    rounds = []
    for _ in range(10):  # of which a busy machine leaves one alone
        begun = time.process_time()
        for _ in range(100):
            config.version()
        rounds.append((time.process_time() - begun) / 100)
    assert min(rounds) < 100e-6


def test_stores_of_a_process_see_each_others_changes(storage: Storage) -> None:
    with closing(storage.configurations()) as stores:
        with stores.store() as one, stores.store() as other:
            assert other.version() == 0
            one.apply({"organization": {"contoso": CONTOSO}}, author="ann")
            assert other.version() == 1
        with stores.store() as again:
            assert again in {one, other}


def test_another_node_sees_a_change_at_once(nodes: Nodes) -> None:
    with closing(nodes.first.configuration()) as first, closing(nodes.second.configuration()) as second:
        time.sleep(1.5)  # until it follows
        waits = []
        for number in range(1, 8):
            first.apply(
                {"organization": {f"o{number}": CONTOSO}}, author="ann", content={"key/x/k": str(number).encode()}
            )
            waits.append(seconds_until(lambda: second.version() == number))  # noqa: B023 - it is called at once
            assert second.content("key/x/k") == str(number).encode()
            assert second.load() == first.load()
        # Who is not told looks every 2 s, and so waits for most of that each time.
        assert statistics.median(waits) < 0.5, waits
        second.apply({"organization": {"o1": None}}, author="joe", content={"key/x/k": None})
        seconds_until(lambda: first.version() == 8 and first.content("key/x/k") is None)
        assert first.history() == second.history()


def test_a_node_looks_without_being_told(nodes: Nodes, postgres: Postgres) -> None:
    """As behind a pooler, which passes no notifications on."""
    with closing(nodes.first.configuration()) as first:
        database = nodes.url.rpartition("/")[2]
        row = "INSERT INTO change VALUES (1, 1, 2.5, 'ann', '', 'organization', 'contoso', NULL, '{}')"
        postgres.sql(row, database)
        seconds_until(lambda: first.version() == 1)
        assert first.load() == (1, {"organization": {"contoso": {}}})


def test_another_node_sees_a_change_although_its_connection_was_cut(nodes: Nodes, postgres: Postgres) -> None:
    with closing(nodes.first.configuration()) as first, closing(nodes.second.configuration()) as second:
        time.sleep(1.5)
        database = nodes.url.rpartition("/")[2]
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%configuration'"
        postgres.sql(f"{kill} AND datname = current_database()", database)
        first.apply({"organization": {"contoso": CONTOSO}}, author="ann")
        seconds_until(lambda: second.version() == 1)


def test_one_who_was_overtaken_on_another_node_looks_again(nodes: Nodes) -> None:
    with closing(nodes.first.configuration()) as first, closing(nodes.second.configuration()) as second:
        seen = []

        def step() -> int:
            version = second.version()
            seen.append(version)
            if len(seen) == 1:
                first.apply({"organization": {"contoso": CONTOSO}}, author="ann")
            return second.apply({"organization": {"fabrikam": FABRIKAM}}, author="joe", expected=version)

        assert on_newest(step) == 2
        assert seen == [0, 1]


def test_a_server_that_is_away(start_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    server = start_postgres()
    url = server.database()
    one, new = Storage(url, tmp_path / "a"), Storage(url, tmp_path / "new")
    with closing(one.configuration()) as config:
        config.apply({"organization": {"contoso": CONTOSO}}, author="ann", content={"key/x/k": b"x"})
        server.stop()
        assert config.load() == (1, {"organization": {"contoso": CONTOSO}})
        assert config.content("key/x/k") == b"x"
        with pytest.raises(StoreBusy, match=r"the configuration was not changed: .*PostgreSQL"):
            config.apply({"organization": {"contoso": None}}, author="ann")
        with pytest.raises(StoreBusy, match=r"once cannot be stored: .*PostgreSQL"):
            config.content_once("once", lambda: b"1")
        assert config.version() == 1
    with closing(one.configuration()) as again:  # as a node that starts
        assert again.load() == (1, {"organization": {"contoso": CONTOSO}})
        with pytest.raises(StoreBusy, match="PostgreSQL"):
            new.configuration()
        server.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                assert again.apply({"organization": {"contoso": None}}, author="ann") == 2
                break
            except StoreBusy:
                assert time.monotonic() < deadline
    with closing(new.configuration()) as config:
        assert config.version() == 2
    one.disconnect()


def test_a_change_whose_commit_was_not_answered_is_not_called_undone(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary goes between the commit and its answer."""
    execute = PostgresConnection.execute

    def unanswered(self: PostgresConnection, sql: str, values: Sequence[object] = ()) -> int:
        done = execute(self, sql, values)
        if sql == "COMMIT":
            raise StoreBusy("PostgreSQL: change: connection was closed in the middle of operation")
        return done

    with closing(nodes.first.configuration()) as config:
        with monkeypatch.context() as patch:
            patch.setattr(PostgresConnection, "execute", unanswered)
            with pytest.raises(OutcomeUnknown, match="nobody knows whether it was stored") as caught:
                config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
        assert "was not changed" not in str(caught.value)
        assert seconds_until(lambda: config.version() == 1) < 5


def test_an_event_loop_does_not_wait_for_a_server_that_is_away(
    start_postgres: Callable[..., Postgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_postgres()
    storage = Storage(server.database(), tmp_path)
    with closing(storage.configuration()) as config:

        async def change(name: str) -> int:
            return config.apply({"organization": {name: CONTOSO}}, author="ann")

        assert asyncio.run(change("contoso")) == 1
        server.stop()
        monkeypatch.setattr("gatepost.store.postgres.configuration._LATELY", 0.0)
        with pytest.raises(StoreBusy, match="nothing was heard of the server lately"):
            asyncio.run(change("fabrikam"))
        assert config.version() == 1
    storage.disconnect()


def test_a_node_follows_again_when_the_server_is_back(start_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    server = start_postgres()
    url = server.database()
    one, other = Storage(url, tmp_path / "a"), Storage(url, tmp_path / "b")
    with closing(one.configuration()) as first, closing(other.configuration()) as second:
        time.sleep(1.5)
        server.stop()
        time.sleep(1)
        server.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                first.apply({"organization": {"contoso": CONTOSO}}, author="ann")
                break
            except StoreBusy:
                assert time.monotonic() < deadline
        seconds_until(lambda: second.version() == 1)
    one.disconnect()


def test_a_long_history_and_many_contents_are_copied(nodes: Nodes) -> None:
    document: dict[str, Any] = {"organization": {f"o{number}": {"number": number} for number in range(450)}}
    contents: dict[str, bytes | None] = {f"key/{number}/k": b"x" * number for number in range(450)}
    with closing(nodes.first.configuration()) as first:
        first.apply(document, author="ann", content=contents)
        first.apply({"organization": {"o7": None}}, author="ann", content={"key/7/k": None})
        with closing(nodes.second.configuration()) as second:
            assert second.load() == first.load()
            assert second.contents("key/", "/k") == first.contents("key/", "/k")
            assert len(second.contents("key/", "/k")) == 449
            assert second.history(limit=-1) == first.history(limit=-1)


def test_a_database_that_was_restored_replaces_the_copy(nodes: Nodes, postgres: Postgres) -> None:
    """To a point in time before the last change, from where it went on otherwise."""
    database = nodes.url.rpartition("/")[2]
    with closing(nodes.first.configuration()) as first:
        first.apply({"organization": {"contoso": CONTOSO}}, author="ann", content={"key/a/k": b"a"})
        first.apply({"organization": {"lost": FABRIKAM}}, author="ann", content={"key/lost/k": b"lost"})
        postgres.sql("DELETE FROM change WHERE version = 2; DELETE FROM resource WHERE name = 'lost'", database)
        postgres.sql(
            "DELETE FROM content_change WHERE number = 2; DELETE FROM content WHERE name = 'key/lost/k'", database
        )
        with closing(nodes.second.configuration()) as second:
            second.apply({"organization": {"other": FABRIKAM}}, author="joe", content={"key/b/k": b"b"})
            seconds_until(lambda: "other" in first.load()[1]["organization"])
            assert first.load() == second.load() == (2, {"organization": {"contoso": CONTOSO, "other": FABRIKAM}})
            assert first.contents("key/", "/k") == {"key/a/k": b"a", "key/b/k": b"b"}


def test_another_process_of_the_node_goes_on_when_the_one_that_follows_is_killed(nodes: Nodes) -> None:
    """Both after a fork, as workers are."""
    reading, writing = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                with closing(nodes.second.configuration()) as config:
                    version = -1
                    end = time.monotonic() + 60
                    while time.monotonic() < end:
                        if config.version() != version:
                            version = config.version()
                            os.write(writing, f"{os.getpid()} {version}\n".encode())
                        time.sleep(0.02)
            finally:
                os._exit(1)
        children.append(child)
    os.close(writing)
    seen: set[str] = set()

    def has(child: int, version: int) -> bool:
        while f"{child} {version}" not in seen:
            seen.update(os.read(reading, 4096).decode().split("\n"))
        return True

    try:
        with closing(nodes.first.configuration()) as config:
            assert all(has(child, 0) for child in children)
            config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
            seconds_until(lambda: all(has(child, 1) for child in children))
            os.kill(children[0], 9)
            os.waitpid(children[0], 0)
            config.apply({"organization": {"contoso": None}}, author="ann")
            seconds_until(lambda: has(children[1], 2))
    finally:
        for child in children:
            try:
                os.kill(child, 9)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(reading)
