from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from gatepost.net.own_connection import OwnConnections
from gatepost.net.stream import Endpoint


@pytest.fixture
def own(tmp_path):
    made = OwnConnections(tmp_path)
    yield made
    made.close()
    made.close()


def accepted(server):
    """The other end, as a listener sees it."""
    connection, peer = server.accept()
    local = connection.getsockname()
    connection.close()
    return SimpleNamespace(peer=Endpoint(*peer[:2]), local=Endpoint(*local[:2]))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_connection_of_a_check_is_known_to_all_processes_until_it_ends(own, tmp_path, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    other_process = OwnConnections(tmp_path)
    with server, own.connect(server.getsockname()[:2], 5.0):
        stream = accepted(server)
        assert other_process.is_own(stream)
        with socket.create_connection(server.getsockname()[:2]):
            assert not other_process.is_own(accepted(server))
        foreign = SimpleNamespace(peer=Endpoint("192.0.2.1", stream.peer.port), local=stream.local)
        assert not other_process.is_own(foreign)
        own.end()
        assert not other_process.is_own(stream)
    other_process.close()


def test_nobody_answers(own):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    with pytest.raises(OSError, match="refused"):
        own.connect(address, 5.0)


def test_without_a_file_nothing_is_our_own(tmp_path, monkeypatch):
    own = OwnConnections(tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as server, own.connect(server.getsockname(), 5.0):
        stream = accepted(server)
        assert not own.is_own(stream)
        own = OwnConnections(tmp_path)
        own._write(stream.peer.port)
        assert own.is_own(stream)
        monkeypatch.setattr("gatepost.net.own_connection.os.pread", fails)
        assert not own.is_own(stream)
        monkeypatch.setattr("gatepost.net.own_connection.os.pwrite", fails)
        own.end()
        own.close()


def fails(*_):
    raise OSError("disk")
