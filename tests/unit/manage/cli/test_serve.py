from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys

import click
import pytest

from gatepost.manage.cli import ports as ports_of
from gatepost.manage.cli import serve as command
from gatepost.manage.cli.demo_partner import wait_for_greeting
from gatepost.manage.cli.remote_options import RemoteOptions
from gatepost.node.passed_sockets import PassedSockets
from gatepost.node.ticket_secrets import SharedSecrets
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load
from gatepost.testing.process import free_port

check, bind = command._check, ports_of.bind_ports


@pytest.fixture
def settings(home):
    """Settings with a listener on a free port and everything in order, unless a section says otherwise."""
    authority = Authority("Serve Root")
    chain, key = authority.issue(["mx.gate.example"])
    (home.path / "root.pem").write_bytes(authority.certificate_pem)
    (home.path / "mx.pem").write_bytes(chain)
    (home.path / "mx.key").touch(0o600)
    (home.path / "mx.key").write_bytes(key)

    def make(**sections):
        usual = {
            "listener": [{"role": "mx", "address": "127.0.0.1:0"}],
            "certificate": [{"chain": "mx.pem", "key": "mx.key"}],
            "tls": {"trust_anchors": "root.pem"},
            "admin": {"address": ""},
        }
        return load(str(home.settings(**{**usual, **sections})), {})

    return make


def fails(step, settings, capsys):
    """What is said when a step ends the command, which must be with 2."""
    with pytest.raises(SystemExit) as ended:
        step(settings)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_what_is_in_order_passes(settings):
    check(settings())
    check(settings(certificate=[]))


# sections that are wrong -> the beginnings of the lines that are said; {} is the directory
FAULTS = {
    "no listener": ({"listener": []}, ["no [[listener]]: add one, such as role = "]),
    "no certificate file": (
        {"certificate": [{"chain": "missing.pem", "key": "mx.key"}]},
        ["certificate chain {}/missing.pem: No such file or directory"],
    ),
    "a key for a chain": (
        {"certificate": [{"chain": "mx.key", "key": "mx.key"}]},
        ["certificate {}/mx.key with key {}/mx.key: the certificate chain cannot be read: "],
    ),
    "no trust anchors": ({"tls": {"trust_anchors": "missing.pem"}}, ["tls.trust_anchors: {}/missing.pem: "]),
    "a key for trust anchors": ({"tls": {"trust_anchors": "mx.key"}}, ["tls.trust_anchors: {}/mx.key: "]),
    "no trust anchors for ACME": (
        {"acme": {"agree_tos": True, "trust_anchors": "missing.pem"}, "store": {"master_key": "env:KEY"}},
        ["acme.trust_anchors: {}/missing.pem: ", "store.master_key: env:KEY: there is no such variable"],
    ),
    "no secret for the webhook": (
        {"alarms": {"webhook": "https://hooks.example/", "webhook_secret": "file:/nowhere/at/all"}},
        ["alarms.webhook_secret: webhook secret /nowhere/at/all: No such file or directory; make one with"],
    ),
    "no secret for traces": (
        {"otel": {"endpoint": "http://127.0.0.1:4318/v1/traces", "secret": "file:/nowhere/at/all"}},
        ["otel.secret: secret of the receiver of traces /nowhere/at/all: No such file or directory; write there"],
    ),
    "no key of the root": (
        {"dns": {"validate": "local", "trust_anchor_file": "mx.pem"}},
        ['dns.validate = "local": '],  # also where the library is missing
    ),
    "everything": (
        {
            "listener": [],
            "certificate": [{"chain": "a", "key": "a"}, {"chain": "mx.pem", "key": "b"}],
            "tls": {"trust_anchors": "c"},
        },
        [
            "no [[listener]]",
            "certificate chain {}/a: No such file",
            "private key {}/b: No such file",
            "tls.trust_anchors: {}/c: ",
        ],
    ),
}


TRACES = {"endpoint": "http://127.0.0.1:4318/v1/traces"}


def test_traces_without_their_extra(settings, capsys, monkeypatch):
    check(settings(otel=TRACES))
    monkeypatch.setitem(sys.modules, "gatepost.node.span_export", None)  # as if its libraries were missing
    check(settings())
    assert fails(check, settings(otel=TRACES), capsys) == (
        "[otel] needs Python packages that are missing; install gatepost with its extra: gatepost[otel]\n"
    )


@pytest.mark.parametrize(("sections", "lines"), FAULTS.values(), ids=FAULTS)
def test_all_that_is_wrong_is_named_at_once(settings, home, capsys, sections, lines):
    said = fails(check, settings(**sections), capsys).splitlines()
    assert len(said) == len(lines)
    for line, begin in zip(said, lines, strict=True):
        assert line.startswith(begin.replace("{}", str(home.path)))


def test_every_listener_is_bound(settings):
    listeners = [{"role": "mx", "address": address} for address in ("127.0.0.1:0", "localhost:0")]
    address = {"address": "127.0.0.1:0"}
    ports = bind(settings(listener=listeners, mta_sts=address, certificate_table=address))
    assert (len(ports.mail) >= 2, list(ports.public), ports.tokens, ports.nodes) == (True, ["127.0.0.1:0"], [], [])
    for one in (*ports.mail, *ports.shared):
        assert one.getsockname()[1]
    ports.keep(ports.shared)
    assert [one.fileno() for one in ports.mail] == [-1] * len(ports.mail)
    assert all(one.fileno() >= 0 for one in ports.shared)
    ports.keep([])


def test_passed_sockets_take_the_place_of_listeners(settings, capsys):
    with socket.create_server(("127.0.0.1", 0)) as passed, socket.create_server(("127.0.0.1", 0)) as stray:
        port = passed.getsockname()[1]
        ours = settings(listener=[{"role": "mx", "address": f"127.0.0.1:{port}"}])
        assert bind(ours, PassedSockets([("mx", passed)])).mail == [passed]
        both = PassedSockets([("mx", passed), ("other", stray)])
        text = fails(lambda one: bind(one, both), ours, capsys)
        assert text.startswith('the service manager passed sockets that no setting names: "other" (127.0.0.1:')


def test_sighup_names_settings_that_changed_or_are_wrong(settings, home, caplog):
    settings()
    before = load(str(home.path / "gatepost.toml"), os.environ)
    with click.Context(command.serve, obj=RemoteOptions(str(home.path / "gatepost.toml"))):
        command._tell_changes(before)
        assert caplog.text == ""
        settings(log={"level": "debug"}, server={"hostname": "mx.gate.example", "data_dir": "data", "drain": 7})
        command._tell_changes(before)
        assert "take effect at the next start: server.drain, log.level" in caplog.text
        (home.path / "gatepost.toml").write_text("[server]\nhostnam = 1\n")
        command._tell_changes(before)
    assert "the gateway goes on with its settings: " in caplog.text


TAKEN = "Address already in use; gatepost doctor names the program that has it, which may be this gateway\n"


def test_a_port_that_is_taken_is_named(settings, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = settings(listener=[{"role": "mx", "address": f"127.0.0.1:{port}"}])
        assert fails(bind, wrong, capsys) == f"cannot listen on 127.0.0.1:{port}: {TAKEN}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/srv/signing.key"), "/srv/signing.key: Read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device"), "{data}: No space left on device"),
    ],
)
def test_a_file_that_cannot_be_made_is_named(settings, capsys, monkeypatch, error, said):
    def refuse(_):
        raise error

    monkeypatch.setattr(command, "prepare_site", refuse)
    known = settings()
    text = fails(lambda known: command._prepare_site(known, SharedSecrets()), known, capsys)
    assert text == f"{said.format(data=known.server.data_dir)}\n"


def test_mail_does_not_wait_for_a_port_that_nobody_chose(settings, home, capsys, caplog, monkeypatch):
    def taken(address, passed=None):
        if address.endswith(":8443"):
            raise OSError(98, f"cannot listen on {address}: Address already in use")
        return real(address, passed)

    real = ports_of.bind
    monkeypatch.setattr(ports_of, "bind", taken)
    ports = bind(settings(admin={}))
    assert (len(ports.mail), ports.admin) == (1, [])
    assert "the admin centre is not available: cannot listen on 127.0.0.1:8443" in caplog.text
    ports.keep([])
    said = fails(bind, settings(listener=[], admin={"address": "127.0.0.1:8443"}), capsys)
    assert said == f"cannot listen on 127.0.0.1:8443: {TAKEN}"


def test_mail_does_not_wait_for_the_port_of_acme(settings, home, capsys, caplog, monkeypatch):
    """Another web server that came up first after a reboot must not keep all mail away."""

    def forbidden(address, passed=None):
        if address == "127.0.0.1:1":
            raise PermissionError(13, f"cannot listen on {address}: Permission denied")
        return real(address, passed)

    real = ports_of.bind
    monkeypatch.setattr(ports_of, "bind", forbidden)
    (home.path / "master.key").touch(0o600)
    (home.path / "master.key").write_bytes(bytes(32))

    def at(address, **more):
        acme, store = {"agree_tos": True, "http_address": address}, {"master_key": f"file:{home.path}/master.key"}
        return settings(acme=acme, store=store, **more)

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        ports = bind(at(taken))
        assert (len(ports.mail), ports.tokens) == (1, [])
        assert f"certificates cannot be renewed: cannot listen on {taken}" in caplog.text
        ports.keep([])
    ports = bind(at("127.0.0.1:1"))
    assert (len(ports.mail), ports.tokens) == (1, []), "it may not be bound now"
    assert "certificates cannot be renewed: cannot listen on 127.0.0.1:1: Permission denied" in caplog.text
    ports.keep([])
    said = fails(bind, at("192.0.2.1:80", listener=[]), capsys)
    assert "cannot listen on 192.0.2.1:80" in said, "no address of this machine: a wrong setting"


def test_the_admin_centre_can_be_elsewhere_or_nowhere(settings):
    ports = bind(settings(admin={"address": "127.0.0.1:0"}))
    assert len(ports.admin) == 1
    ports.keep(ports.admin)
    assert [one.fileno() >= 0 for one in (*ports.mail, *ports.admin)] == [False, True]
    ports.keep([])
    assert bind(settings(listener=[])).admin == []


def serve(file, **options):
    argv = [sys.executable, "-m", "gatepost", "serve", "--config", str(file)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_from_start_to_stop(settings, home):
    port = free_port()
    settings(
        listener=[{"role": "mx", "address": f"127.0.0.1:{port}"}],
        server={"hostname": "mx.gate.example", "data_dir": "data", "workers": 2, "drain": 2},
        log={"format": "json", "level": "info"},
    )
    with serve(home.file) as process:
        try:
            wait_for_greeting(port, process, home.path / "log")
            with serve(home.file) as second:
                assert second.communicate(timeout=20) == (
                    "",
                    f"cannot listen on 127.0.0.1:{port}: {TAKEN}",
                )
                assert second.returncode == 2
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert sorted(one.name for one in (home.data / "queue").iterdir()) == ["0", "1"]


def test_settings_that_cannot_be_used_end_it_at_once(settings, home):
    settings(listener=[])
    with serve(home.file) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("no [[listener]]")
