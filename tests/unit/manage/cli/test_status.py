from __future__ import annotations

import os
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from gatepost import __version__
from gatepost.manage.use_cases.listener_checks import ServiceStatus
from gatepost.store.sqlite.schema import LOCK_FILE


@contextmanager
def server(says):
    """Greets one client with these bytes and hangs up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def greet():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(says)

        thread = threading.Thread(target=greet)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


@pytest.fixture(autouse=True)
def nameservers(monkeypatch):
    """What answers on port 53 of this machine is not what is tried here."""
    found = ServiceStatus("127.0.0.1:53", ok=True, detail="answers")
    monkeypatch.setattr("gatepost.manage.use_cases.listener_checks.ResolverCheck.run", lambda _: found)


def settle(home, *addresses):
    home.settings(
        server={"hostname": "mx.gate.example", "data_dir": str(home.data), "workers": 1},
        listener=[{"role": "mx", "address": address} for address in addresses],
    )


def own(home, text):
    shard = home.data / "queue" / "0"
    shard.mkdir(parents=True, exist_ok=True)
    (shard / LOCK_FILE).write_text(text)


def test_a_gateway_that_runs(home):
    home.fill()
    home.call("organization", "add", "contoso")
    own(home, f"{os.getpid()}\n")
    with server(b"220 mx.gate.example ESMTP\r\n") as port:
        settle(home, f"0.0.0.0:{port}")
        shown = home.call("status")
    assert shown.stderr == "Running\n"
    lines, work = shown.stdout.split("\n\nneeds attention:\n")
    listener, nameservers, worker, configuration, queue, certificates, mail = lines.splitlines()
    assert work.splitlines()[0] == "  1. 1 delivery of contoso is held"
    assert listener == f"{f'listener mx 0.0.0.0:{port}':28} 220 mx.gate.example ESMTP"
    assert nameservers == f"{'nameservers':28} 127.0.0.1:53: answers"
    assert worker == f"{'worker 0':28} runs, process {os.getpid()}"
    assert configuration.startswith(f"{'configuration':28} version 1, 20")
    assert queue == f"{'queue':28} 1 active, 2 waiting, 1 held"
    assert certificates == f"{'certificates':28} no alarms"
    assert mail == f"{'mail':28} no alarms"


def test_for_machines(home):
    own(home, f"{os.getpid()}\n")
    with server(b"220 mx\r\n") as port:
        settle(home, f"127.0.0.1:{port}")
        assert home.json("status") == {
            "ok": True,
            "software": __version__,
            "nodes": [],
            "hostname": "mx.gate.example",
            "configuration": {"version": 0, "at": 0.0, "author": ""},
            "listeners": [{"name": f"mx 127.0.0.1:{port}", "ok": True, "detail": "220 mx"}],
            "nameservers": {"name": "127.0.0.1:53", "ok": True, "detail": "answers"},
            "workers": [{"name": "0", "ok": True, "detail": f"runs, process {os.getpid()}"}],
            "in_doubt": 0,
            "queue": {"active": 0, "deferred": 0, "held": 0},
            "certificates": {"alarms": 0, "text": "no alarms"},
            "logins": None,
            "mail": {"alarms": 0, "text": "no alarms"},
            "ungranted": 0,
            "work": [],
        }


PASSWORDS = "SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN"
LOGINS = """
[organization.contoso]
allow_basic_auth_smtp = false
[[organization.contoso.oauth_issuer]]
name = "entra"
issuer = "https://login.microsoftonline.com/1/v2.0"
audiences = ["2"]
[[organization.contoso.oauth_issuer]]
name = "off"
enabled = false
issuer = "https://off.example"
audiences = ["2"]
[organization.fabrikam]
"""


@pytest.mark.parametrize(
    ("resources", "line"),
    [
        ("[organization.contoso]", PASSWORDS),
        (
            LOGINS,
            f"{PASSWORDS}, OAUTHBEARER, XOAUTH2; tokens of contoso (entra); no passwords for contoso",
        ),
    ],
)
def test_by_what_users_log_in(home, resources, line):
    home.call("apply", "-f", home.write(resources))
    home.settings(
        server={"hostname": "mx.gate.example", "data_dir": str(home.data), "workers": 1},
        listener=[{"role": "submission", "address": "127.0.0.1:1"}],
        certificate=[{"chain": "/none", "key": "/none"}],
    )
    assert f"{'log-ins':28} {line}" in home.call("status", code=1).stdout.splitlines()
    found = home.json("status", code=1)["logins"]
    assert found["mechanisms"][:1] == ["SCRAM-SHA-256-PLUS"]
    assert found["issuers"] == ({"contoso": ["entra"]} if resources == LOGINS else {})


@pytest.mark.parametrize("text", ["", "x", "999999999"])
def test_a_worker_that_does_not_run(home, text):
    own(home, text)
    with server(b"220 mx\r\n") as port:
        settle(home, f"127.0.0.1:{port}")
        shown = home.call("status", code=1)
    assert shown.stdout.splitlines()[2] == f"{'worker 0':28} does not run"
    assert shown.stderr == "Unhealthy\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root may signal every process")
def test_a_worker_of_another_account(home):
    own(home, "1\n")
    settle(home, "127.0.0.1:1")
    assert home.json("status", code=1)["workers"] == [
        {"name": "0", "ok": True, "detail": "runs, under another account"}
    ]


GREETINGS = {
    "busy": (b"421 4.3.2 Busy\x1b\r\n", "421 4.3.2 Busy?"),
    "silent": (b"", "closes the connection without a word"),
}


@pytest.mark.parametrize(("says", "shown"), GREETINGS.values(), ids=GREETINGS)
def test_a_listener_that_does_not_greet(home, says, shown):
    own(home, f"{os.getpid()}\n")
    with server(says) as port:
        settle(home, f"127.0.0.1:{port}")
        assert home.call("status", code=1).stdout.splitlines()[0].endswith(f" {shown}")


def test_a_listener_that_is_not_there(home):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    settle(home, f"127.0.0.1:{port}")
    shown = home.json("status", code=1)
    assert shown["listeners"][0]["detail"] == "does not answer: Connection refused"
    assert shown["ok"] is False


def test_what_cannot_be_read_is_not_known(home):
    settle(home)
    home.data.mkdir()
    (home.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    result = home.call("status", code=3)
    assert result.stdout == ""
    assert str(home.data) in result.stderr


def test_a_port_for_policies_that_serves_none(home):
    own(home, f"{os.getpid()}\n")
    with server(b"220 mx\r\n") as mail, server(b"220 this is not TLS\r\n") as policies:
        home.settings(
            server={"hostname": "mx.gate.example", "data_dir": str(home.data), "workers": 1},
            listener=[{"role": "mx", "address": f"127.0.0.1:{mail}"}],
            certificate=[{"chain": "c.pem", "key": "c.key"}],
            mta_sts={"address": f"127.0.0.1:{policies}"},
        )
        told = home.json("status", code=1)["listeners"]
    assert [(one["name"], one["ok"]) for one in told] == [
        (f"mx 127.0.0.1:{mail}", True),
        (f"mta-sts 127.0.0.1:{policies}", False),
    ]
    assert told[1]["detail"].startswith("does not answer: ")


def test_nameservers_that_do_not_answer(home, monkeypatch):
    down = ServiceStatus("127.0.0.1:53", ok=False, detail=". SOA: nameserver [127.0.0.1]:53 cannot be reached")
    monkeypatch.setattr("gatepost.manage.use_cases.listener_checks.ResolverCheck.run", lambda _: down)
    own(home, f"{os.getpid()}\n")
    with server(b"220 mx\r\n") as port:
        settle(home, f"127.0.0.1:{port}")
        shown = home.call("status", code=1)
    assert f"{'nameservers':28} 127.0.0.1:53: . SOA: nameserver [127.0.0.1]:53 cannot be reached\n" in shown.stdout
