"""A real datagram socket stands for systemd; what it is told are lines of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time

import pytest

from gatepost.node.service_manager import ServiceManager


class Listener:
    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self):
        """Each message that came, as its lines."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    name = f"gatepost-test-{os.getpid()}-{time.monotonic_ns()}"
    address = str(tmp_path / "notify") if request.param == "path" else f"\0{name}"
    listener = Listener(address)
    listener.address = address.replace("\0", "@")
    yield listener
    listener.socket.close()


def test_the_life_of_a_service(systemd):
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    manager = ServiceManager.from_environment(environment)
    assert environment == {"PATH": "/bin"}
    before = time.monotonic_ns() // 1000
    manager.ready("4 processes")
    manager.status("4 processes")  # nothing new
    manager.status("worker 1 starts\nagain")
    manager.reloading("reading files again")
    manager.ping()
    manager.ping()  # too early for another
    manager.stopping("stopping", 95)
    ready, status, reloading, ping, stopping = systemd.heard()
    assert ready == ["READY=1", "STATUS=4 processes"]
    assert status == ["STATUS=worker 1 starts again"]
    assert reloading[::2] == ["RELOADING=1", "STATUS=reading files again"]
    assert before <= int(reloading[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert ping == ["WATCHDOG=1"]
    assert stopping == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=95000000", "STATUS=stopping"]
    manager.close()
    manager.status("nobody hears this")
    assert systemd.heard() == []


def test_pings_come_three_times_in_the_watchdogs_time(systemd):
    manager = ServiceManager(systemd.address, watchdog=0.03)
    manager.ping()
    time.sleep(0.011)
    manager.ping()
    assert systemd.heard() == [["WATCHDOG=1"]] * 2
    manager.close()


# variables of the watchdog -> whether it is pinged
WATCHDOGS = [
    ({}, False),
    ({"WATCHDOG_USEC": "1000000"}, True),
    ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, True),
    ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, False),  # for another process
]


@pytest.mark.parametrize(("variables", "pings"), WATCHDOGS)
def test_the_watchdog_is_pinged_if_it_asks_us(systemd, variables, pings):
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": systemd.address, **variables})
    manager.ping()
    assert systemd.heard() == ([["WATCHDOG=1"]] if pings else [])
    manager.close()


def test_nobody_to_tell():
    manager = ServiceManager.from_environment({})
    manager.ready("ready")
    manager.ping()
    manager.close()


def test_a_manager_that_went_away_is_not_waited_for(tmp_path):
    listener = Listener(str(tmp_path / "notify"))
    manager = ServiceManager(str(tmp_path / "notify"))
    listener.socket.close()
    manager.ready("ready")
    manager.close()


def test_an_address_where_nobody_listens(tmp_path):
    with pytest.raises(FileNotFoundError):
        ServiceManager(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="often"):
        ServiceManager.from_environment({"WATCHDOG_USEC": "often"})
