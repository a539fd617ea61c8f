"""`gatepost doctor` finds each fault that is planted here, and says what to do next."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Kind, Memory, Severity, encoded
from gatepost.node import listening, machine_findings
from gatepost.pki.certificates import files
from gatepost.pki.certificates.authority import Authority
from gatepost.store.changes import ConfigStore
from gatepost.testing.name_server import DnsServer
from gatepost.testing.process import free_port

ROOT = Authority("Doctor Root")
NAME = "mx.gate.example"
MX = {"role": "mx", "address": "127.0.0.1:0"}
CODES = {"warn": 0, "fail": 1, "unknown": 3}


@pytest.fixture
def healthy(home):
    """A gateway that could start: it has certificate, key and trust anchors. Its nameserver does not answer."""

    def made(**sections):
        chain, key = ROOT.issue([NAME])
        secret("mx.key", key)
        secret("master", bytes(range(32)))
        (home.path / "mx.pem").write_bytes(chain)
        (home.path / "root.pem").write_bytes(ROOT.certificate_pem)
        usual = {
            "listener": [MX],
            "certificate": [{"chain": "mx.pem", "key": "mx.key"}],
            "tls": {"trust_anchors": "root.pem"},
            "admin": {"address": ""},
            "metrics": {"address": "127.0.0.1:0"},
            "dns": {"nameservers": [f"127.0.0.1:{free_port()}"], "timeout": "0.2s"},
        }
        home.settings(**{**usual, **sections})
        home.data.mkdir(exist_ok=True)
        return home

    def secret(name, content):
        (home.path / name).touch(0o600)
        (home.path / name).write_bytes(content)

    made.secret = secret
    return made


def examined(home, *words, code):
    found = home.json("doctor", *words, code=code)
    return {(one["area"], one["level"]): (one["text"], one["fix"]) for one in found["findings"]}


def test_what_is_in_order_passes(healthy):
    home = healthy()
    home.call("organization", "add", "contoso")
    home.call("domain", "add", "relay.example", "--organization", "contoso", "type=internal-relay")
    found = examined(home, "--offline", code=0)
    assert {level for _, level in found} <= {"pass", "warn"}
    areas = {area for area, _ in found}
    assert areas >= {
        "data_dir",
        "files",
        "store",
        "memory",
        "open files",
        "clock",
        "disk",
        "syncs",
        "certificate",
        "alarms",
    }
    assert not list(home.data.glob(".doctor-*"))


# planted fault -> sections of the settings; where it is found: area, words of the text, words of what to do
SETTINGS = {
    "an unknown section": ({"listner": [MX]}, "{file}:", "listner: unknown key", "did you mean 'listener'?"),
    "an unknown key": ({"dns": {"timout": 1}}, "dns.timout", "unknown key", "did you mean 'timeout'?"),
    "no duration": ({"dns": {"timeout": "soon"}}, "dns.timeout", "'soon' is not a duration", ""),
    "a name that is not qualified": ({"server": {"hostname": "mx1"}}, "server.hostname", "not fully qualified", ""),
    "one address twice": (
        {"listener": [{**MX, "address": "127.0.0.1:25"}] * 2},
        "listener[0]",
        "more than once",
        "port",
    ),
    "a secret that is no reference": (
        {"store": {"master_key": "x"}},
        "store.master_key",
        "not a reference",
        "file:/PATH",
    ),
    "a secret by a relative path": (
        {"store": {"master_key": "file:secrets/master.key"}},
        "store.master_key",
        "the path of a secret is absolute",
        "file:/PATH",
    ),
    "submission without a certificate": (
        {"certificate": [], "listener": [{**MX, "role": "submission"}]},
        "listener[0].role",
        "submission needs TLS",
        "add a [[certificate]]",
    ),
}


@pytest.mark.parametrize(("sections", "place", "text", "fix"), SETTINGS.values(), ids=SETTINGS)
def test_faults_of_the_settings_are_found_with_their_place(healthy, sections, place, text, fix):
    home = healthy(**sections)
    found = home.json("doctor", code=2)
    assert found["level"] == "fail"
    texts = [(one["text"], one["fix"]) for one in found["findings"]]
    said = next(one for one in texts if text in one[0] and place.partition("{")[0] in one[0])
    assert place.replace("{file}", str(home.file)) in said[0]
    assert fix in said[1]
    if "{file}" in place:
        assert "listner" in home.file.read_text().splitlines()[int(said[0].split(":")[1]) - 1]


def test_settings_that_are_not_there(home):
    home.file.unlink()
    (found,) = home.json("doctor", code=2)["findings"]
    assert ("No such file" in found["text"], "check the path" in found["fix"]) == (True, True)


FILES = {
    "no chain": ({"certificate": [{"chain": "gone.pem", "key": "mx.key"}]}, "files", "gone.pem: No such file", ""),
    "no key": ({"certificate": [{"chain": "mx.pem", "key": "gone.key"}]}, "files", "gone.key: No such file", ""),
    "another key": (
        {"certificate": [{"chain": "mx.pem", "key": "other.key"}]},
        "files",
        "does not belong to the certificate",
        "",
    ),
    "a key that all may read": (
        {"certificate": [{"chain": "mx.pem", "key": "open.key"}]},
        "files",
        "mode 0644",
        "chmod",
    ),
    "no trust anchors": ({"tls": {"trust_anchors": "gone.pem"}}, "tls.trust_anchors", "No such file", ""),
    "no master key": (
        {"store": {"master_key": "file:/no/key"}},
        "store.master_key",
        "No such file",
        "make one with: (umask 077",
    ),
    "no variable": ({"store": {"master_key": "env:NO_KEY"}}, "store.master_key", "no such variable", ""),
    "no listener": ({"listener": []}, "files", "no [[listener]]", ""),
    "no webhook secret": (
        {"alarms": {"webhook": "https://hooks.example/", "webhook_secret": "file:/no/secret"}},
        "alarms.webhook_secret",
        "No such file",
        "make one with",
    ),
    "no certificate": ({"certificate": []}, "certificate", "STARTTLS is not offered", "gatepost certificate add"),
    "a certificate of another name": (
        {"certificate": [{"chain": "else.pem", "key": "else.key"}]},
        "certificate",
        f"no certificate bears {NAME}",
        f"gatepost certificate request {NAME}",
    ),
    "a certificate that ended": (
        {"certificate": [{"chain": "old.pem", "key": "old.key"}]},
        "alarm expiry",
        "expired",
        "Renew the files",
    ),
}


@pytest.mark.parametrize(("sections", "area", "text", "fix"), FILES.values(), ids=FILES)
def test_faults_of_files_and_certificates(healthy, sections, area, text, fix):
    home = healthy(**sections)
    for name, key in (("other.key", ROOT.issue([NAME])[1]), ("open.key", ROOT.issue([NAME])[1])):
        healthy.secret(name, key)
    (home.path / "open.key").chmod(0o644)
    old = ROOT.issue([NAME], lifetime=timedelta(days=1), not_before=datetime.now(UTC) - timedelta(days=3))
    for name, (chain, key) in {"else": ROOT.issue(["mx.else.example"]), "old": old}.items():
        (home.path / f"{name}.pem").write_bytes(chain)
        healthy.secret(f"{name}.key", key)
    found = examined(home, "--offline", code=1)
    said = found[area, "fail"]
    assert (text in said[0], fix in said[1]) == (True, True), said


def test_a_key_that_the_gateways_account_may_not_read(healthy, monkeypatch):
    home = healthy()
    real = files.open_to_read

    def denied(path):
        if path.name == "mx.key":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(files, "open_to_read", denied)  # root may read everything
    found = examined(home, "--offline", code=1)
    said, fix = found["files", "fail"]
    assert said.endswith("mx.key: Permission denied")
    assert re.fullmatch(r"let the account \w+ pass its folders and read it: chgrp \w+ (\S+) && chmod 0640 \1", fix)
    assert found["certificate", "fail"][1] == "do what is said of files", "not: add one"


def test_a_port_that_another_program_has(healthy):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = examined(healthy(listener=[{**MX, "address": address}]), "--offline", code=1)[f"port {address}", "fail"]
    assert f"process {os.getpid()}" in said[0]
    assert "ss -ltnp" in said[1]


def test_a_host_that_this_machine_has_no_address_of(healthy):
    found = examined(healthy(metrics={"address": "no-such-host.invalid:9"}), "--offline", code=1)
    assert "write an IP address" in found["port no-such-host.invalid:9", "fail"][1]


def test_nameservers_that_do_not_answer(healthy):
    said = examined(healthy(), code=1)["nameservers", "fail"]
    assert "cannot be reached" in said[0]
    assert "[dns] nameservers" in said[1]


def test_no_domain_is_accepted(healthy):
    said = examined(healthy(), "--offline", code=0)["configuration", "warn"]
    assert said == (
        "no domain is accepted: all mail from outside is refused",
        "use gatepost apply FILE, or Add domain in the admin centre",
    )


def test_a_disk_that_is_full(healthy):
    said = examined(healthy(store={"free_space": "900000000MB"}), "--offline", code=1)["disk", "fail"]
    assert "452" in said[0]
    assert said[1].startswith("make room there: du ")


@pytest.mark.parametrize(
    ("name", "value", "finding", "text", "fix"),
    [
        ("_file_system", lambda _: 0x01021994, ("syncs", "fail"), "in memory (tmpfs)", "set server.data_dir"),
        ("_sync_time", lambda _: 1e-6, ("syncs", "warn"), "before it is", "turn off the volatile cache"),
        ("_sync_time", lambda _: 0.2, ("syncs", "warn"), "messages wait for it", "faster disk"),
        ("_available_memory", lambda: 1 << 20, ("memory", "warn"), "1.0 MB available", "server.workers"),
        ("_LEAST_DESCRIPTORS", 1 << 40, ("open files", "warn"), "for each process", "LimitNOFILE="),
        ("_is_kept_right", lambda: False, ("clock", "warn"), "nothing keeps the clock right", "set-ntp true"),
        ("_is_kept_right", lambda: None, ("clock", "unknown"), "is denied here", "timedatectl"),
        ("_FIRST_YEAR", 1e12, ("clock", "fail"), "never set", "timedatectl set-ntp true"),
    ],
)
def test_faults_of_the_machine(healthy, monkeypatch, name, value, finding, text, fix):  # noqa: PLR0917 - a table
    """These cannot be planted in a machine that others use, too."""
    monkeypatch.setattr(machine_findings, name, value)
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 20_000))
    said = examined(healthy(), "--offline", code=CODES[finding[1]])[finding]
    assert (text in said[0], fix in said[1]) == (True, True), said


def test_an_account_that_is_not_there(healthy, monkeypatch):
    home = healthy()
    monkeypatch.setenv("GATEPOST_SERVER__USER", "nobody-of-this-name")
    said = home.call("serve", "--check", code=2).stdout
    assert "server.user: there is no account nobody-of-this-name" in said
    assert "next: Make it: useradd --system" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as root")
def test_a_gateway_that_would_run_as_root(healthy):
    said = examined(healthy(server={"hostname": NAME, "data_dir": "data", "user": "root"}), "--offline", code=0)[
        "account", "warn"
    ]
    assert said[1] == 'write user = "gatepost" under [server]'


def test_a_gateway_that_is_not_confined(healthy):
    said = examined(healthy(server={"hostname": NAME, "data_dir": "data", "confine": False}), "--offline", code=0)[
        "confinement", "warn"
    ]
    assert said[1].startswith("remove confine = false")


def test_a_nameserver_that_does_not_validate(healthy):
    with DnsServer({". SOA": [". . 1 60 60 60 60"]}) as names:
        said = examined(healthy(dns={"nameservers": [names.address]}), code=1)["DNSSEC", "warn"]
    assert "DANE" in said[0]
    assert said[1], said


def test_a_name_that_leads_to_another_one(healthy):
    records = {". SOA": [". . 1 60 60 60 60"], f"{NAME} A": ["100.128.0.9"]}
    with DnsServer(records | {"9.0.128.100.in-addr.arpa PTR": ["host9.provider.example."]}) as names:
        home = healthy(dns={"nameservers": [names.address]})
        said = examined(home, code=0)["own name", "warn"]
        assert "leads back to host9.provider.example" in said[0]
        assert said[1].endswith(f"9.0.128.100.in-addr.arpa. IN PTR {NAME}.")
        names.records.clear()
        said = examined(home, code=1)["own name", "fail"]
        assert said == (
            f"{NAME} has no address in the DNS: nobody can send to it, and receivers refuse its greeting",
            f"{NAME}. IN A ADDRESS",
        )


def test_records_that_are_not_published(healthy):
    with DnsServer({". SOA": [". . 1 60 60 60 60"], f"{NAME} A": ["127.0.0.1"]}, authentic=True) as names:
        home = healthy(dns={"nameservers": [names.address]})
        home.call("organization", "add", "contoso")
        home.call("domain", "add", "contoso.example", "--organization", "contoso")
        found = home.json("doctor", code=1)["findings"]
    said = [(one["text"], one["fix"]) for one in found if one["area"] == "DNS of contoso.example"]
    assert said[0] == (
        "the DNS names no mail host for the domain",
        f"put the domain's records into the zone: contoso.example. IN MX 10 {NAME}.",
    )


def test_a_connector_that_fails(healthy):
    home = healthy()
    failing = Alarm(
        Kind.PARTNER_FAILING,
        Severity.ERROR,
        "contoso",
        "bank-out fails",
        "wrong name",
        "gatepost connector validate bank-out",
    )
    config = ConfigStore(home.data / "config.db")
    config.apply({}, author="test", content={ALARMS_CONTENT: encoded(Memory((AlarmStatus(failing, 1.0),)))})
    config.close()
    said = examined(home, "--offline", code=1)["alarm partner-failing", "fail"]
    assert said == ("bank-out fails", "gatepost connector validate bank-out")


def test_data_that_belongs_to_somebody_else(healthy, monkeypatch):
    home = healthy()
    monkeypatch.setattr(machine_findings, "foreign_files", lambda account, path: [f"{path}/config.db"])
    said = examined(home, "--offline", code=1)["data_dir", "fail"]
    assert said[0].startswith(f"1 file in {home.data} ")
    assert said[1].startswith("chown -R ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_data_of_another_account(healthy):
    home = healthy()
    os.chown(home.data, 65534, 65534)
    said = examined(home, "--offline", code=1)["data_dir", "fail"]
    assert said == (f"{home.data} does not belong to root", f"chown -R root: {home.data}")


def test_before_the_first_start_nothing_is_made(healthy):
    home = healthy()
    home.data.rmdir()
    assert "does not exist yet" in examined(home, "--offline", code=0)["data_dir", "pass"][0]
    assert not home.data.exists()
    home.settings(server={"hostname": NAME, "data_dir": "no/such/place"})
    assert "mkdir -p" in examined(home, "--offline", code=1)["data_dir", "fail"][1]


def test_a_store_of_a_server_that_is_away(healthy):
    home = healthy(store={"url": f"postgresql://gatepost@127.0.0.1:{free_port()}/gatepost"})
    found = examined(home, "--offline", code=3)
    said = found["store", "unknown"]
    assert "cannot be reached" in said[0]
    assert said[1].startswith("Check that it runs, and host and port in store.url")


def test_whether_it_could_start(healthy):
    said = healthy().call("serve", "--check")
    assert "0 faults" in said.stderr
    home = healthy(certificate=[{"chain": "gone.pem", "key": "gone.key"}])
    said = home.call("serve", "--check", code=2)
    assert "gone.pem: No such file" in said.stdout
    assert not list(home.data.iterdir()), "nothing was made"


def test_it_is_readable_and_harmless_for_a_terminal(healthy):
    said = healthy().call("doctor", "--offline")
    assert any(line.startswith("pass    files ") for line in said.stdout.splitlines())
    assert any(line.strip().startswith("next: use gatepost apply FILE") for line in said.stdout.splitlines())
    assert said.stderr.strip().endswith(("warning", "warnings"))


def test_a_gateway_that_runs_holds_its_own_ports(healthy):
    address = f"127.0.0.1:{free_port()}"
    home = healthy(listener=[{**MX, "address": address}])
    command = [sys.executable, "-m", "gatepost", "--config", str(home.file), "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert any("ready:" in line for line in running.stderr)
            found = examined(home, "--offline", code=0)
            assert found[f"port {address}", "pass"][0].startswith("served by this gateway")
        finally:
            running.terminate()
            with closing(running.stderr):
                running.stderr.read()


def _ports(*listeners, acme=""):
    """Settings of which the addresses alone count."""
    return SimpleNamespace(
        listeners=[SimpleNamespace(address=address) for address in listeners],
        public_addresses={},
        acme=SimpleNamespace(served_at=acme),
        site=SimpleNamespace(address=""),
        metrics_address="",
        admin=SimpleNamespace(address=""),
    )


def test_an_address_that_this_machine_lacks_is_no_free_port():
    """`serve` would end with "Cannot assign requested address"."""
    (found,) = machine_findings.port_findings(_ports("192.0.2.1:2525"), set())
    assert (found.level, found.text) == ("fail", "192.0.2.1: Cannot assign requested address")
    assert found.fix == "write an IP address of this machine"


def test_a_port_that_systemd_keeps_for_a_socket_unit_is_no_fault(monkeypatch):
    monkeypatch.setattr(machine_findings, "holder_of", lambda _host, _port: listening.SYSTEMD)
    (found,) = machine_findings.port_findings(_ports("127.0.0.1:2525"), set())
    assert (found.level, found.text) == ("warn", "systemd listens there for a socket unit")
    assert found.fix == "see that the unit belongs to the gateway: systemctl list-sockets"


def test_a_port_that_is_free_by_now_is_not_served_before_the_gateway_is_started_again():
    """Another program had port 80 at the start, which mail does not wait for."""
    free = f"127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as ours:
        settings = _ports(f"127.0.0.1:{ours.getsockname()[1]}", acme=free)
        found = {finding.area: finding for finding in machine_findings.port_findings(settings, {os.getppid()})}
        finding = found[f"port {free}"]
        assert (finding.level, finding.fix.partition(", or let")[0]) == ("warn", "restart the gateway")
    found = {finding.area: finding for finding in machine_findings.port_findings(settings, {os.getppid()})}
    assert found[f"port {free}"].level == "pass", "the gateway does not run"
