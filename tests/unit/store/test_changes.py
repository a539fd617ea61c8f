from __future__ import annotations

import threading
import time
from contextlib import closing

import apsw
import pytest

from gatepost.store import changes
from gatepost.store.changes import ConfigConflict, ConfigStore, ConfigStores, on_newest
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import schema

CONTOSO = {"display_name": "Contoso", "accepted_domain": [{"name": "contoso.example"}]}
FABRIKAM = {"display_name": "Fabrikam"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "config.db"


@pytest.fixture
def config(path):
    config = ConfigStore(path)
    yield config
    config.close()


def test_it_begins_empty(config):
    assert config.version() == 0
    assert config.load() == (0, {})
    assert config.history() == []


def test_named_resources_become_exactly_what_the_document_says_and_others_stay(config):
    assert config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann") == 1
    assert config.apply({"organization": {"contoso": {"display_name": "C"}}}, author="joe", note="shorter") == 2
    assert config.load() == (2, {"organization": {"contoso": {"display_name": "C"}, "fabrikam": FABRIKAM}})
    assert config.apply({"organization": {"fabrikam": None}}, author="ann") == 3
    assert config.load() == (3, {"organization": {"contoso": {"display_name": "C"}}})


def test_who_when_what(config):
    before = time.time()
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    config.apply({"organization": {"contoso": FABRIKAM, "fabrikam": FABRIKAM}}, author="joe", note="merger")
    config.apply({"organization": {"fabrikam": None}}, author="eve")
    removed, made, changed, first = config.history()
    assert (first.version, first.author, first.before, first.after) == (1, "ann", None, CONTOSO)
    assert (changed.version, changed.author, changed.note) == (2, "joe", "merger")
    assert (changed.kind, changed.name, changed.before, changed.after) == ("organization", "contoso", CONTOSO, FABRIKAM)
    assert (made.name, made.before, made.after) == ("fabrikam", None, FABRIKAM)
    assert (removed.name, removed.before, removed.after) == ("fabrikam", FABRIKAM, None)
    assert before <= first.at <= removed.at <= time.time()
    assert [change.version for change in config.history("organization", "contoso")] == [2, 1]
    assert [change.version for change in config.history(limit=1)] == [3]
    assert [change.version for change in config.history(version=2, limit=-1)] == [2, 2]
    assert config.history(version=9) == []


@pytest.mark.parametrize("again", [{"contoso": dict(reversed(CONTOSO.items()))}, {"nobody": None}, {}])
def test_what_changes_nothing_makes_no_version(config, again):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    assert config.apply({"organization": again}, author="ann") == 1
    assert len(config.history()) == 1


def test_a_change_made_from_an_old_version_is_refused(config):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann", expected=0)
    with pytest.raises(ConfigConflict, match="at version 1, not 0"):
        config.apply({"organization": {"contoso": FABRIKAM}}, author="joe", expected=0)
    assert config.load() == (1, {"organization": {"contoso": CONTOSO}})
    config.apply({"organization": {"contoso": FABRIKAM}}, author="joe", expected=1)


def test_all_or_nothing(config):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    with pytest.raises(TypeError):
        config.apply({"organization": {"contoso": FABRIKAM, "odd": {"x": object()}}}, author="ann")
    assert config.load() == (1, {"organization": {"contoso": CONTOSO}})
    assert config.version() == 1


def test_another_process_sees_the_version_and_pays_little_for_looking(config, path):
    other = ConfigStore(path)
    assert other.version() == 0
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    assert other.version() == config.version() == 1
    rounds = []
    for _ in range(10):  # of which a busy machine leaves one alone
        started = time.process_time()
        for _ in range(100):
            other.version()
        rounds.append((time.process_time() - started) / 100)
    assert min(rounds) < 100e-6
    other.close()


def test_changes_at_once_each_get_a_version(path):
    failures = []

    def change(number):
        config = ConfigStore(path)
        try:
            for step in range(10):
                config.apply({"organization": {f"org-{number}": {"step": step}}}, author=str(number))
        except StoreFailure as failure:
            failures.append(failure)
        config.close()

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    config = ConfigStore(path)
    assert failures == []
    assert config.version() == 40
    assert sorted(change.version for change in config.history()) == list(range(1, 41))
    config.close()


def test_a_lock_that_stays(config, path):
    config._database._connection.set_busy_timeout(20)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailure, match="was not changed"):
        config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    other.close()


@pytest.mark.parametrize("content", [b"no database, but long enough to be read as one " * 100, None])
def test_another_file_in_its_place(path, content):
    path.parent.mkdir()
    if content is None:
        connection = apsw.Connection(str(path))
        connection.execute("CREATE TABLE theirs (a)")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreFailure):
        ConfigStore(path)


def test_it_is_private(config, path):
    assert path.stat().st_mode & 0o077 == 0


def test_kinds_are_read_apart(config):
    config.apply({"organization": {"contoso": CONTOSO}, "certificate": {"ab12": {"state": "next"}}}, author="ann")
    assert config.load() == (1, {"organization": {"contoso": CONTOSO}})
    assert config.load("certificate") == (1, {"certificate": {"ab12": {"state": "next"}}})


def test_content_lies_beside_documents_and_in_no_history(config):
    first = {"certificate": {"ab12": {"state": "next"}}}
    config.apply(first, author="ann", content={"key/ab12": b"sealed", "chain/ab12": b"public"})
    assert (config.content("key/ab12"), config.content("chain/ab12")) == (b"sealed", b"public")
    config.apply({"certificate": {"ab12": None}}, author="ann", content={"key/ab12": None})
    assert (config.content("key/ab12"), config.content("chain/ab12")) == (None, b"public")
    assert "sealed" not in repr(config.history())


def test_content_that_was_removed_is_in_no_file(config, path):
    """It may have been a key: neither free pages nor the write-ahead log keep it."""
    config.apply({}, author="ann", content={"k": b"SEALED" * 2000, "other": b"y"})
    assert any(b"SEALED" in file.read_bytes() for file in path.parent.iterdir())
    config.apply({}, author="ann", content={"k": None})
    assert not any(b"SEALED" in file.read_bytes() for file in path.parent.iterdir())
    assert config.content("other") == b"y"


def test_content_is_not_kept_if_the_change_is_refused(config):
    with pytest.raises(ConfigConflict):
        config.apply({"certificate": {"ab12": {}}}, author="ann", expected=7, content={"key/ab12": b"sealed"})
    assert config.content("key/ab12") is None


@pytest.mark.parametrize(
    "earlier",
    [
        "DROP TABLE content; DROP INDEX change_version; PRAGMA user_version = 1",
        "DROP INDEX change_version; PRAGMA user_version = 2",
    ],
)
def test_a_file_of_an_earlier_schema_is_taken_over(path, config, earlier):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    config.close()
    with apsw.Connection(str(path)) as connection:
        connection.execute(earlier)
    connection.close()
    again = ConfigStore(path)
    again.apply({"certificate": {"ab12": {}}}, author="ann", content={"key/ab12": b"sealed"})
    assert (again.load()[1], again.content("key/ab12")) == ({"organization": {"contoso": CONTOSO}}, b"sealed")
    assert [one.version for one in again.versions()] == [1]
    again.close()


def test_all_of_a_kind_and_all_contents_come_in_one_question(config):
    assert config.texts("certificate") == (0, [])
    content = {"certificate/b/chain": b"B", "certificate/a/chain": b"A", "certificate/a/key": b"k", "d/chain": b"D"}
    config.apply({"certificate": {"b": {"x": 1}, "a": {}}}, author="ann", content=content)
    assert config.texts("certificate") == (1, [("a", "{}"), ("b", '{"x":1}')])
    assert config.contents("certificate/", "/chain") == {"certificate/a/chain": b"A", "certificate/b/chain": b"B"}
    assert config.contents("nothing/", "/chain") == {}


def test_of_a_long_history_little_is_read(config):
    """By the index of versions, or that of names where one is named; neither sorts what it finds."""
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    asked = []
    config._database._connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: asked.append(event["sql"]))
    config.history("organization")
    config.history("organization", before=5)
    config.history(version=1)
    config.history("organization", "contoso", before=5)
    config.versions(author="ann")
    config._database._connection.trace_v2(0, None)
    assert len(asked) == 5
    for statement in asked:
        values = (1,) * (6 if "?6" in statement else statement.count("?"))
        plan = config._database._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        assert any("change USING INDEX change_" in step[-1] for step in plan), statement
        assert not any("TEMP B-TREE FOR ORDER" in step[-1] for step in plan), statement


def test_the_versions_of_organizations_the_newest_first(config):
    config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann", note="both")
    config.apply({"organization": {"contoso": FABRIKAM}}, author="joe")
    config.apply({"organization": {"fabrikam": None}}, author="ann")
    assert config.versions(names=[]) == []
    third, second, first = config.versions()
    assert (first.version, first.author, first.note, first.names) == (1, "ann", "both", ("contoso", "fabrikam"))
    assert (second.version, second.author, second.names) == (2, "joe", ("contoso",))
    assert (third.version, third.names) == (3, ("fabrikam",))
    assert first.at == config.history(version=1)[0].at


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"author": "ann"}, [4, 1]),
        ({"author": "nobody"}, []),
        ({"names": ["contoso"]}, [4, 2, 1]),
        ({"names": ["contoso", "fabrikam"], "author": "joe"}, [3, 2]),
        ({"names": ['"]contoso']}, []),
        ({"before": 3}, [2, 1]),
        ({"before": 3, "limit": 1}, [2]),
        ({"limit": 2}, [4, 3]),
    ],
)
def test_versions_that_are_looked_for(config, asked, found):
    config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann")
    config.apply({"organization": {"contoso": FABRIKAM}}, author="joe")
    config.apply({"organization": {"fabrikam": None}}, author="joe")
    config.apply({"organization": {"contoso": None}}, author="ann")
    assert [one.version for one in config.versions(**asked)] == found


def test_versions_of_a_time_and_of_names_that_one_sees(config):
    config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann")
    (only,) = config.versions(names=["contoso"])
    assert only.names == ("contoso",), "who sees one organization does not learn that another changed with it"
    assert config.versions(since=only.at) == config.versions(until=only.at + 1)
    assert [one.version for one in config.versions(since=only.at, until=only.at + 1)] == [1]
    assert config.versions(until=only.at) == config.versions(since=only.at + 1) == []


def test_a_version_has_one_time_whoever_sees_it(config):
    config.apply({"organization": {"contoso": CONTOSO, "fabrikam": FABRIKAM}}, author="ann")
    assert len({version.at for name in ("contoso", "fabrikam") for version in config.versions(names=[name])}) == 1


def test_other_resources_are_no_versions_of_organizations(config):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    assert [one.version for one in config.versions()] == [1]
    config.apply({"transport_rule": {"x": {}}}, author="ann")
    assert [one.version for one in config.versions()] == [1]


def test_content_that_is_made_once(tmp_path):
    with closing(ConfigStore(tmp_path / "config.db")) as one, closing(ConfigStore(tmp_path / "config.db")) as other:
        assert one.content_once("secret", lambda: b"first") == b"first"
        assert other.content_once("secret", lambda: b"second") == b"first"
        assert one.version() == 0


def test_content_that_another_process_made_a_moment_ago(config, monkeypatch):
    config.content_once("secret", lambda: b"first")
    monkeypatch.setattr(config, "content", lambda name: None)
    assert config.content_once("secret", lambda: b"second") == b"first"


def test_content_is_changed_by_one_at_a_time(config):
    with pytest.raises(KeyError, match="secret"):
        config.change_content("secret", lambda content: content)
    config.content_once("secret", lambda: b"first")
    config.change_content("secret", lambda content: b"new " + content)
    assert config.content("secret") == b"new first"
    with pytest.raises(ZeroDivisionError):
        config.change_content("secret", lambda content: bytes(1 // (len(content) - 9)))
    assert config.content("secret") == b"new first"
    assert b"first" not in config.path.with_name("config.db-wal").read_bytes(), "what was replaced may be a key"


def test_a_file_is_of_one_node(config):
    assert not config.is_shared


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreFailure, match="Not a directory"):
        ConfigStore(tmp_path / "data" / "below" / "config.db")


@pytest.fixture
def busy(path, monkeypatch):
    """A file of which another process changes something just now, and does not end."""
    monkeypatch.setattr(schema, "PATIENCE_MS", 50)
    path.parent.mkdir()
    with closing(apsw.Connection(str(path))) as other:
        other.execute("PRAGMA journal_mode = WAL")
        yield other


def test_a_file_that_another_process_keeps_busy(path, busy):
    busy.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailure, match=r"config\.db: .*locked"):
        ConfigStore(path)


def test_a_store_that_is_there_is_opened_and_read_while_somebody_writes(path, config, monkeypatch):
    monkeypatch.setattr(schema, "PATIENCE_MS", 0)  # who waits fails
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    with closing(apsw.Connection(str(path))) as writer:
        writer.execute("BEGIN IMMEDIATE; INSERT INTO content VALUES ('a', x'00')")
        with closing(ConfigStore(path)) as other:
            assert other.load() == (1, {"organization": {"contoso": CONTOSO}})
        writer.execute("ROLLBACK")


@pytest.fixture
def stores(path):
    with closing(ConfigStores(path, lambda: ConfigStore(path))) as stores:
        yield stores


def test_a_store_is_kept_for_the_next_use(stores):
    with stores.store() as first:
        first.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    with stores.store() as second:
        assert second is first
        assert second.version() == 1


def test_two_uses_at_a_time_have_two_stores_which_see_each_others_changes(stores):
    with stores.store() as one, stores.store() as other:
        assert other is not one
        assert other.version() == 0
        one.apply({"organization": {"contoso": CONTOSO}}, author="ann")
        assert other.version() == 1


def test_a_store_whose_use_failed_is_not_kept(stores):
    with pytest.raises(KeyError), stores.store() as first:
        raise KeyError
    with stores.store() as second:
        assert second is not first


def test_a_file_that_was_replaced_is_opened_anew(stores, path):
    with stores.store() as first:
        first.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    for one in path.parent.iterdir():
        one.rename(path.parent / f"old-{one.name}")
    with stores.store() as second:
        assert second.version() == 0


def test_only_some_stores_are_kept(stores, monkeypatch):
    monkeypatch.setattr(changes, "_KEPT", 1)
    with stores.store() as one, stores.store():
        pass
    with stores.store() as again:
        assert again is not one
    with pytest.raises(StoreFailure, match="has been closed"):
        one.version()


def test_content_that_cannot_be_stored_now(path, busy):
    with closing(ConfigStore(path)) as config:
        config._database._connection.set_busy_timeout(50)
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailure, match=r"key cannot be stored: .*locked"):
            config.content_once("key", lambda: b"1")
        busy.execute("ROLLBACK")
        assert config.content_once("key", lambda: b"2") == b"2"
        assert config.content_once("key", lambda: b"3") == b"2"


def test_content_is_stored_apart_while_this_one_reads(config):
    thread = threading.Thread(target=config.keep_apart, args=({"a": b"1"},))
    thread.start()
    thread.join()
    assert config.content("a") == b"1"


@pytest.mark.parametrize(("overtaken", "tries"), [(0, 1), (4, 5), (5, 5)])
def test_who_is_overtaken_looks_again_five_times(config, overtaken, tries):
    seen = []

    def step():
        version = config.version()
        seen.append(version)
        if len(seen) <= overtaken:
            config.apply({"organization": {f"o{len(seen)}": FABRIKAM}}, author="bob")
        return config.apply({"organization": {"contoso": CONTOSO}}, author="ann", expected=version)

    if overtaken == tries:
        with pytest.raises(ConfigConflict):
            on_newest(step)
    else:
        assert on_newest(step) == overtaken + 1
    assert len(seen) == tries


def test_organizations_as_they_were_at_a_version(config):
    config.apply({"organization": {"contoso": CONTOSO}}, author="ann")
    config.apply({"organization": {"contoso": FABRIKAM, "fabrikam": FABRIKAM}}, author="ann")
    config.apply({"organization": {"contoso": None}}, author="ann")
    assert config.earlier(1) == {"contoso": CONTOSO, "fabrikam": None}
    assert config.earlier(2) == {"contoso": FABRIKAM}
    assert config.earlier(0, ["contoso", "nobody"]) == {"contoso": None}
    assert config.earlier(3) == {}
