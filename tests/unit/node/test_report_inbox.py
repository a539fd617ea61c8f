from __future__ import annotations

from http import HTTPStatus

from gatepost.node import report_inbox as module
from gatepost.node.report_inbox import ReportInbox


def test_what_is_put_there_is_there_for_its_owner_alone(tmp_path):
    inbox = ReportInbox(tmp_path / "data" / "inbox", lambda: 1.5)
    assert inbox.put(b"one", "192.0.2.1") is HTTPStatus.CREATED
    assert inbox.put(b"two", "2001:db8::1") is HTTPStatus.CREATED
    first, second = sorted((tmp_path / "data" / "inbox").iterdir())
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert first.name.startswith("0000000001500.")
    assert (first.name.endswith(".192.0.2.1"), second.name.endswith(".2001-db8--1")) == (True, True)
    assert first.stat().st_mode & 0o077 == 0


def test_so_many_wait_at_most(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_MOST", 2)
    inbox = ReportInbox(tmp_path)
    answers = [inbox.put(b"x", "192.0.2.1") for _ in range(3)]
    assert answers == [HTTPStatus.CREATED, HTTPStatus.CREATED, HTTPStatus.SERVICE_UNAVAILABLE]
    assert len(list(tmp_path.iterdir())) == 2
    assert "2 wait to be read" in caplog.text


def test_a_disk_that_does_not_take_it(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert ReportInbox(tmp_path / "file" / "inbox").put(b"x", "192.0.2.1") is HTTPStatus.SERVICE_UNAVAILABLE
    assert "cannot be kept" in caplog.text


def test_the_queue_keeps_its_room_on_the_disk(tmp_path, caplog):
    assert ReportInbox(tmp_path / "inbox", mark=1 << 60).put(b"x", "192.0.2.1") is HTTPStatus.SERVICE_UNAVAILABLE
    assert "kept for the queue" in caplog.text
    assert list((tmp_path / "inbox").iterdir()) == []
    assert ReportInbox(tmp_path / "inbox", mark=1).put(b"x", "192.0.2.1") is HTTPStatus.CREATED


def test_one_source_leaves_room_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OF_ONE", 2)
    inbox = ReportInbox(tmp_path)
    for one, same, other in (("192.0.2.1", "192.0.2.1", "192.0.2.11"), ("2001:db8::1", "2001:db8::2", "2001:db8:1::1")):
        answers = [inbox.put(b"x", peer) for peer in (one, same, one, other)]
        good, full = HTTPStatus.CREATED, HTTPStatus.SERVICE_UNAVAILABLE
        assert answers == [good, good, full, good]
