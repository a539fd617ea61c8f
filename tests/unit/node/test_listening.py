"""A port that is taken is seen by everybody; its process by those who may look."""

from __future__ import annotations

import os
import socket

import pytest

from gatepost.node import listening
from gatepost.node.listening import SYSTEMD, Holder, holder_of


@pytest.mark.parametrize(
    ("bound", "wanted", "held"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::", False),
        ("::1", "::1", True),
        ("::1", "::", True),
    ],
)
def test_who_listens_is_found(bound, wanted, held):
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family) as server:
        holder = holder_of(wanted, server.getsockname()[1])
        assert (holder is not None) == held
        if holder is not None:
            assert (holder.pid, bool(holder.name)) == (os.getpid(), True)


def test_a_connection_holds_nothing():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert holder_of("127.0.0.1", client.getsockname()[1]) is None
    assert holder_of("127.0.0.1", 1) is None


def test_a_process_of_somebody_else_stays_unknown(monkeypatch, tmp_path):
    table = tmp_path / "tcp"
    table.write_text("head\n 0: 0100007F:09DD 00000000:0000 0A 0:0 0:0 0 0 0 1 1\n", encoding="ascii")
    monkeypatch.setattr(listening, "_TABLES", (table, tmp_path / "missing"))
    assert holder_of("127.0.0.1", 2525) == Holder()
    assert holder_of("127.0.0.1", 2526) is None


def test_the_process_is_the_one_that_the_others_were_forked_from_whatever_their_numbers(monkeypatch, tmp_path):
    """The kernel's numbers begin anew, so that a child may have a lower one."""
    for pid, parent, name in [(318, 30_000, "gatepost-config"), (30_000, 2, "gatepost"), (30_001, 30_000, "gatepost")]:
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        (tmp_path / f"{pid}/fd/3").symlink_to("socket:[4711]")
        (tmp_path / f"{pid}/comm").write_text(f"{name}\n")
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a) name) S {parent} 1 1 0")
    (tmp_path / "319/fd").mkdir(parents=True)
    (tmp_path / "320").mkdir()
    table = tmp_path / "tcp"
    table.write_text("head\n 0: 0100007F:09DD 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n", encoding="ascii")
    monkeypatch.setattr(listening, "_TABLES", (table,))
    monkeypatch.setattr(listening, "_PROC", tmp_path)
    assert holder_of("127.0.0.1", 2525) == Holder(30_000, "gatepost")
    (tmp_path / "1/fd").mkdir(parents=True)  # as systemd, which passed the socket and keeps it
    (tmp_path / "1/fd/40").symlink_to("socket:[4711]")
    (tmp_path / "1/comm").write_text("systemd\n")
    (tmp_path / "1/stat").write_text("1 (systemd) S 0 1 1 0")
    assert holder_of("127.0.0.1", 2525) == Holder(30_000, "gatepost")
    (tmp_path / "30000/stat").write_text("30000 (gatepost) S 1 1 1 0")
    assert holder_of("127.0.0.1", 2525) == Holder(30_000, "gatepost")
    (tmp_path / "30000/stat").unlink()  # it has just ended
    assert holder_of("127.0.0.1", 2525) == Holder(318, "gatepost-config")


def test_a_socket_of_systemd_whose_service_does_not_run_is_systemds(monkeypatch, tmp_path):
    (tmp_path / "1/fd").mkdir(parents=True)
    (tmp_path / "1/fd/40").symlink_to("socket:[4711]")
    (tmp_path / "1/comm").write_text("systemd\n")
    (tmp_path / "1/stat").write_text("1 (systemd) S 0 1 1 0")
    table = tmp_path / "tcp"
    table.write_text("head\n 0: 0100007F:09DD 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n", encoding="ascii")
    monkeypatch.setattr(listening, "_TABLES", (table,))
    monkeypatch.setattr(listening, "_PROC", tmp_path)
    assert holder_of("127.0.0.1", 2525) == SYSTEMD
