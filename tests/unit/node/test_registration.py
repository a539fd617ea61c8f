from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from gatepost import __version__
from gatepost.node import registration as module
from gatepost.node.registration import Registration
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import NodeNameTaken, NodeState
from gatepost.store.storage import Storage


def nodes(home):
    registry = Storage.of(home.settings()).nodes()
    found = registry.nodes()
    registry.close()
    return found


def test_a_node_is_entered_at_the_start_and_stopped_at_the_end(home):
    registration = Registration(home.settings())
    (node,) = nodes(home)
    assert (node.name, node.host, node.software) == (socket.gethostname(), socket.gethostname(), __version__)
    assert node.state is NodeState.ACTIVE
    registration.end()
    assert nodes(home)[0].state is NodeState.STOPPED


def test_a_start_after_a_crash_need_not_wait(home, monkeypatch):
    first = Registration(home.settings())
    monkeypatch.setattr("gatepost.store.nodes.time.sleep", pytest.fail)
    second = Registration(home.settings())
    assert first.node.origin == second.node.origin
    assert first.node.instance != second.node.instance
    assert len(nodes(home)) == 1


def test_with_one_node_mail_does_not_wait_for_the_list(home, caplog):
    settings = home.settings()
    (Path(settings.server.data_dir) / "nodes.db").mkdir(parents=True)
    (Path(settings.server.data_dir) / "node.id").mkdir()
    registration = Registration(settings)
    assert "this node is not listed yet" in caplog.text
    registration.end()


def test_a_name_that_is_taken_is_said(home, monkeypatch):
    def taken(*_):
        raise NodeNameTaken("server.node: another node")

    monkeypatch.setattr("gatepost.store.nodes.NodeRegistry.enter", taken)
    with pytest.raises(NodeNameTaken, match="another node"):
        Registration(home.settings())


def test_a_data_directory_is_of_one_gateway_where_nodes_share_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.1)
    descriptor, origin = module._origin(tmp_path, locked=True)
    with pytest.raises(StoreFailure, match="in use by another gateway: each node needs a data_dir of its own"):
        module._origin(tmp_path, locked=True)
    os.close(descriptor)
    again, same = module._origin(tmp_path, locked=True)
    assert same == origin
    with pytest.raises(BlockingIOError), (tmp_path / "node.id").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    with pytest.raises(StoreFailure, match="node"):
        module._origin(tmp_path / "node.id", locked=True)
