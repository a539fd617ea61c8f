"""Sockets are passed as systemd does it: at descriptor 3 and on, with variables, across an exec."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from gatepost.net.listener import bind
from gatepost.node.passed_sockets import PassedSocketError, PassedSockets

if os.environ.pop("OURS") == "yes":
    os.environ["LISTEN_PID"] = str(os.getpid())
try:
    passed = PassedSockets.from_environment(os.environ)
    for address in sys.argv[1:]:
        for bound in bind(address, passed):
            print(bound.fileno(), bound.getsockname()[1], bound.getblocking(), bound.get_inheritable())
    passed.check_all_taken()
except (PassedSocketError, OSError) as error:
    print(f"error: {error}")
print([name for name in os.environ if name.startswith("LISTEN")])
"""


def activated(sockets, *addresses, names="", ours="yes", count=None):
    """What a process says that was started with these sockets and binds these addresses."""

    def place():
        copies = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 20) for one in sockets]
        for number, fd in enumerate(copies, 3):
            os.dup2(fd, number, inheritable=True)

    environment = {**os.environ, "OURS": ours, "LISTEN_PID": "1", "LISTEN_FDS": str(count or len(sockets))}
    environment["LISTEN_FDNAMES"] = names
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *addresses],
        preexec_fn=place,
        close_fds=False,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=50,
    )
    *lines, variables = done.stdout.splitlines()
    assert variables == "[]"
    return lines


@pytest.fixture
def listening():
    made = []

    def start(host="127.0.0.1", **kind):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made.append(socket.create_server((host, 0), family=family, **kind))
        return made[-1]

    yield start
    for one in made:
        one.close()


def address(bound):
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def test_sockets_are_found_by_their_addresses(listening):
    first, second, third = listening(), listening("::1"), listening()
    lines = activated([first, second, third], address(third), address(first), address(second), names="mx:v6:admin")
    ports = [one.getsockname()[1] for one in (first, second, third)]
    assert lines == [f"5 {ports[2]} False False", f"3 {ports[0]} False False", f"4 {ports[1]} False False"]


def test_what_is_not_passed_is_bound(listening):
    (line,) = activated([], "127.0.0.1:0", count=0)
    assert int(line.split()[1])
    taken = listening()
    (line,) = activated([taken], address(taken), ours="no")  # for another process
    assert line.endswith("Address already in use")


def test_one_that_no_setting_names_is_an_error(listening):
    first, second = listening(), listening()
    *_, error = activated([first, second], address(first), names="mx:submission")
    assert error.startswith(
        f'error: the service manager passed sockets that no setting names: "submission" ({address(second)}); give '
    )


def test_one_that_takes_ipv4_too_is_an_error(listening):
    both = listening("::", dualstack_ipv6=True)
    (error,) = activated([both], address(both), names="mx")
    assert error.startswith(f'error: the passed socket "mx" ({address(both)}) takes IPv4 too: set BindIPv6Only=')


def test_what_does_not_listen_is_an_error(tmp_path):
    with socket.socket() as idle, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for one in (idle, datagrams):
            (error,) = activated([one], "127.0.0.1:0")
            assert error.startswith("error: file descriptor 3 that the service manager passed does not listen for TCP")
    with (tmp_path / "file").open("wb") as file:
        (error,) = activated([file], "127.0.0.1:0")
        assert "file descriptor 3" in error
    (error,) = activated([], "127.0.0.1:0", count=9999)
    assert error == "error: LISTEN_FDS=9999 is not a number of sockets up to 256"
