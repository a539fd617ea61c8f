"""The evidence log is the same in files and in PostgreSQL (`store.evidence_log`), and one chain has one writer."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.postgres import Postgres

from gatepost.analysis.reports.evidence_audit import LogAudit, audit_log
from gatepost.analysis.reports.evidence_export import Selection, chosen_segments, write_json
from gatepost.events.evidence.audit import FaultKind
from gatepost.events.evidence.entry import Privacy
from gatepost.events.evidence.proof import audit_export
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.evidence_audit import verify_log, verify_stored_log
from gatepost.pki.certificates.evidence_key import evidence_signer, prepare_evidence_key, signature_check
from gatepost.settings.store_url import SQLITE
from gatepost.store import buffer
from gatepost.store.documents import DocumentFiles
from gatepost.store.evidence import EvidenceWriter
from gatepost.store.evidence_files import copy_log
from gatepost.store.evidence_log import ChainWriter, Evidence, HeadWriter, read_heads
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.testing.process import wait_until

NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC
DAY = 86_400.0
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_evidence.py"


def events(count: int = 1, **fields: Any) -> list[TraceEvent]:
    given: dict[str, Any] = {"at": NOON, "event": "SEND", "message": "0abc", "organization": "contoso"}
    given |= {"direction": "originating", "session": "s", "sender": "a@a.example", "recipient": "b@b.example"}
    return [TraceEvent(**(given | fields)) for _ in range(count)]


class Node:
    """One node: its key, and its way to the log."""

    def __init__(self, url: str, directory: Path, name: str = "mx1.a.example") -> None:
        self.log: Evidence = Storage(url, directory, node=name).evidence()
        prepare_evidence_key(self.log.directory, None)
        self.signer = evidence_signer(self.log.directory, None)

    def chain(self, worker: int = 0) -> ChainWriter:
        return self.log.worker_chain(worker, privacy=Privacy(), signer=self.signer)

    def admin(self) -> ChainWriter:
        return self.log.admin_chain(privacy=Privacy())

    def heads(self) -> HeadWriter:
        return self.log.heads(signer=self.signer)

    def audit(self) -> LogAudit:
        return audit_log(self.log, signature_check(self.log.public_keys()))

    def good(self) -> LogAudit:
        found = self.audit()
        assert found.faults.first == {}
        return found

    def names(self) -> list[str]:
        return [one.name.removesuffix(".gz") for one in self.log.days()]


@pytest.fixture(params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    if request.param == "sqlite":
        return Node(SQLITE, tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return Node(server.database(), tmp_path)


@pytest.fixture
def shared(postgres: Postgres) -> str:
    return postgres.database()


def test_entries_are_chained_and_signed(node: Node) -> None:
    one = node.chain()
    assert not one.unsigned
    one.append(events(3), NOON)
    assert one.unsigned
    one.checkpoint(NOON)
    assert not one.unsigned
    one.checkpoint(NOON)
    found = node.good()
    assert (found.entries, found.checkpoints, found.unsigned) == (5, 1, {})


def test_a_chain_goes_on_after_a_restart(node: Node) -> None:
    node.chain().append(events(3), NOON)
    again = node.chain()
    again.append(events(2), NOON)
    again.checkpoint(NOON)
    assert node.good().entries == 7
    node.chain().append(events(1), NOON, dropped=7)
    found = node.good()
    assert [gap["count"] for _, gap in found.gaps] == [7]
    node.chain().append((), NOON, is_off=True)
    assert [gap["what"] for _, gap in node.good().gaps] == ["dropped", "off"]


def test_a_new_day_is_a_new_file_that_goes_on_and_no_clock_reopens_one(node: Node) -> None:
    one = node.chain()
    one.append(events(2), NOON)
    one.append(events(), NOON + DAY)
    one.end_day(NOON + DAY)
    one.append(events(), NOON)
    assert [name[:10] for name in node.names()] == ["2026-11-18", "2026-11-19"]
    assert node.good().entries == 6


def test_heads_cover_all_writers_and_removed_files_are_missed(node: Node) -> None:
    for worker in (0, 1):
        chain = node.chain(worker)
        for day in range(3):
            chain.append(events(2), NOON + day * DAY)
            chain.end_day(NOON + day * DAY)
    node.admin().append(events(), NOON + DAY)
    heads = node.heads()
    heads.sign_commands(NOON + 2 * DAY)
    made = heads.make(NOON + 2 * DAY)
    assert [one.day for one in made] == ["2026-11-18", "2026-11-19"]
    assert [len(one.writers) for one in made] == [2, 3]
    assert heads.make(NOON + 2 * DAY) == node.heads().make(NOON + 2 * DAY) == []
    assert set(read_heads(node.log).days) == {"2026-11-18", "2026-11-19"}
    found = node.good()
    assert (found.heads, found.files) == (2, 7 if len(found.signed) == 4 else found.files)
    gone = heads.prune(NOON + DAY, NOON + 2 * DAY)
    assert [name[:10] for name in gone] == ["2026-11-18", "2026-11-18"]
    assert heads.prune(NOON + DAY, NOON + 2 * DAY) == []
    found = node.good()
    assert (found.pruned, found.first) == ("2026-11-19", "2026-11-19")


def test_an_export_proves_itself_and_the_script_agrees(node: Node, tmp_path: Path) -> None:
    one = node.chain()
    one.append(events(2500, recipient="x@partner.example") + events(3), NOON)
    one.checkpoint(NOON)
    out, selection = io.BytesIO(), Selection(domain="partner.example")
    summary = write_json(out, node.log, selection, "mx1", chosen_segments(node.log, selection))
    audit = audit_export(json.loads(out.getvalue()), signature_check(node.log.public_keys()))
    assert (summary.entries, audit.entries, audit.faults.first) == (2500, 2500, {})
    (tmp_path / "export.json").write_bytes(out.getvalue())
    (tmp_path / "key.pem").write_bytes(node.log.public_keys()[0])
    command = [sys.executable, SCRIPT, tmp_path / "key.pem", tmp_path / "export.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_own_log_is_verified_through_the_storage(node: Node, tmp_path: Path) -> None:
    one = node.chain()
    one.append(events(3), NOON)
    one.checkpoint(NOON)
    found = verify_stored_log(node.log, DocumentFiles(tmp_path / "drills"))
    assert (found.verified, found.data["entries"], found.data["checkpoints"]) == (True, 5, 1)


def test_a_writer_keeps_what_it_is_given_and_signs_at_its_end(node: Node) -> None:
    writer = EvidenceWriter(node.chain(), interval=0.05)
    writer.add(events(10))
    writer.add(events(10))
    writer.close()
    found = node.good()
    assert (found.entries, found.unsigned) == (20 + 1 + found.checkpoints, {})


def test_commands_continue_one_chain_after_each_other(node: Node) -> None:
    one, other = node.admin(), node.admin()
    for chain in (one, other, one, other):
        chain.append(events(), NOON)
    threads = [Thread(target=lambda: [node.admin().append(events(), NOON) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.heads().sign_commands(NOON)
    found = node.good()
    assert (found.entries, found.unsigned) == (1 + 4 + 20 + 1, {})


# PostgreSQL alone


def test_two_processes_never_write_one_chain(shared: str, tmp_path: Path) -> None:
    node = Node(shared, tmp_path)
    old = node.chain()
    old.append(events(2), NOON)
    new = node.chain()
    new.append(events(), NOON)
    for _ in range(2):
        with pytest.raises(StoreFailure, match="another process writes this chain"):
            old.append(events(), NOON)
        with pytest.raises(StoreFailure, match="another process writes this chain"):
            old.checkpoint(NOON)
    new.checkpoint(NOON)
    assert node.good().entries == 5


def test_nodes_have_chains_and_keys_of_their_own_and_heads_over_all(shared: str, tmp_path: Path) -> None:
    nodes = [Node(shared, tmp_path / str(number), f"mx{number}.a.example") for number in range(3)]
    for one in nodes:
        chain = one.chain()
        chain.append(events(2), NOON)
        chain.checkpoint(NOON)
    nodes[2].admin().append(events(), NOON)
    made: list[Any] = []
    threads = [Thread(target=lambda one=one: made.extend(one.heads().make(NOON + DAY))) for one in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (head,) = made  # whoever was first
    assert sorted(head.writers) == ["admin", *(f"mx{number}_a_example-0" for number in range(3))]
    assert len(nodes[0].log.public_keys()) == 3
    assert nodes[0].good().heads == 1
    assert verify_stored_log(nodes[1].log, DocumentFiles(tmp_path / "drills")).verified is True
    copy_log(nodes[0].log, tmp_path / "copy")
    (tmp_path / "keys.pem").write_bytes(b"".join(nodes[0].log.public_keys()))  # as `evidence key` prints them
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "keys.pem", tmp_path / "copy"], check=False, timeout=60)
    assert done.returncode == 0


def test_no_entry_is_added_to_a_day_that_has_its_head_whatever_a_clock_says(shared: str, tmp_path: Path) -> None:
    node, late = Node(shared, tmp_path / "1"), Node(shared, tmp_path / "2", "late.a.example")
    chain, slow = node.chain(), late.chain()
    chain.append(events(), NOON)
    slow.append(events(), NOON)
    node.heads().make(NOON + DAY)
    slow.append(events(), NOON)  # its clock is a day behind
    late.chain(1).append(events(), NOON)  # a new writer, too
    assert [name[:10] for name in node.names()] == ["2026-11-18", "2026-11-19", "2026-11-19", "2026-11-18"]
    node.heads().make(NOON + 2 * DAY)
    assert node.good().heads == 2


def test_what_was_changed_or_removed_in_the_tables_is_found(
    postgres: Postgres, shared: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node, database = Node(shared, tmp_path), shared.rpartition("/")[2]
    chain = node.chain()
    chain.append(events(5), NOON)
    chain.checkpoint(NOON)
    changed = "convert_to(replace(convert_from(line, 'UTF8'), 'SEND', 'FAIL'), 'UTF8')"
    postgres.sql(f"UPDATE evidence_entry SET line = {changed} WHERE place = 3", database)  # noqa: S608 - ours
    assert FaultKind.CHANGED in node.audit().faults.first
    postgres.sql("DELETE FROM evidence_entry WHERE place = 3", database)
    assert FaultKind.REMOVED in node.audit().faults.first
    postgres.sql("UPDATE evidence_chain SET number = 2, head = repeat('0', 64), place = 99", database)
    chain.append(events(), NOON)  # goes on from where it stood
    assert "the database lost entries 3 to 7 of" in caplog.text
    assert chain.unsigned


def test_a_server_that_is_away_loses_nothing_and_doubles_nothing(
    start_postgres: Callable[..., Postgres], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = start_postgres(durable=True)
    node = Node(server.database(), tmp_path)
    writer = EvidenceWriter(node.chain(), interval=0.05)
    given = 0
    for stop in (server.stop, server.kill, server.stop):
        for _ in range(40):
            writer.add(events(25))
            given += 25
            time.sleep(0.01)
        stop()
        begun, busy = time.monotonic(), time.thread_time()
        writer.add(events(1000))
        given += 1000
        assert time.thread_time() - busy < 0.5
        assert time.monotonic() - begun < 5, "it does not wait for the server"
        time.sleep(0.5)
        server.start()
        wait_until(lambda given=given: kept(node) - 1 >= given, "all entries", timeout=60)
    writer.close()
    found = node.good()
    days = len(node.names())
    assert found.entries - found.checkpoints - days == given
    assert "entries wait in memory" in caplog.text
    server.stop()
    monkeypatch.setattr(buffer, "_MOST", 50)
    writer = EvidenceWriter(node.chain(), interval=0.05)
    for _ in range(4):
        writer.add(events(25))
    server.start()
    wait_until(lambda: node.audit().gaps, "what was kept, and what was not", timeout=60)
    writer.close()
    assert [gap["count"] for _, gap in node.good().gaps] == [50]


def kept(node: Node) -> int:
    """Entries of the log, checkpoints left out."""
    found = node.audit()
    return found.entries - found.checkpoints


def test_an_answer_that_was_lost_doubles_no_entry(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is done, and the connection breaks before we hear of it."""
    from asyncpg.transaction import Transaction  # noqa: PLC0415 - of this test alone

    node = Node(shared, tmp_path)
    chain = node.chain()
    chain.append(events(), NOON)
    real = Transaction.__aexit__
    breaking = [True]

    async def commit(self: Any, kind: Any, error: Any, trace: Any) -> None:
        await real(self, kind, error, trace)
        if kind is None and breaking and self._connection.get_settings():
            breaking.clear()
            raise ConnectionResetError("gone")

    first, second = events(3, message="01"), events(2, message="02")
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "__aexit__", commit)
        with pytest.raises(StoreFailure):
            chain.append(first, NOON, dropped=4)
    chain.checkpoint(NOON)
    chain.append([*first, *second], NOON, dropped=5)
    found = node.good()
    assert found.entries == 1 + 1 + 1 + 3 + 1 + 1 + 2
    assert [gap["count"] for _, gap in found.gaps] == [4, 1]


def test_many_entries_are_stored_in_pieces_and_removed_in_pieces(
    shared: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    from gatepost.store.postgres import evidence  # noqa: PLC0415 - of this test alone

    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(evidence, "_REMOVE", evidence._REMOVE.replace("20000", "700"))
    node = Node(shared, tmp_path)
    chain = node.chain()
    chain.append(events(7000), NOON)
    chain.append(events(), NOON + DAY)
    assert node.good().entries == 7003
    heads = node.heads()
    heads.make(NOON + DAY)
    heads.prune(NOON + DAY, NOON + DAY)
    assert postgres.sql("SELECT count(*) FROM evidence_entry", shared.rpartition("/")[2]) == "2"
    assert node.good().entries == 2


def test_a_copy_in_files_is_verified_without_the_server(shared: str, tmp_path: Path) -> None:
    node = Node(shared, tmp_path / "node")
    chain = node.chain()
    for day in range(2):
        chain.append(events(3), NOON + day * DAY)
        chain.checkpoint(NOON + day * DAY)
    node.heads().make(NOON + DAY)
    copy = tmp_path / "copy"
    copy_log(node.log, copy)
    found = verify_log([copy], node.log.public_keys(), [read_heads(node.log).days["2026-11-18"].hash])
    assert (found.verified, found.data["files"], found.data["heads"]) == (True, 2, 1)
    (tmp_path / "key.pem").write_bytes(node.log.public_keys()[0])
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "key.pem", copy], check=False, timeout=60)
    assert done.returncode == 0
