from __future__ import annotations

import signal
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.rsa_keys import rsa_key

from gatepost.net.identity import ServerIdentity
from gatepost.node import table_pages
from gatepost.node.policy_host import PolicyHost
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

# The process without a supervisor; its lifeline ends with the script's standard input.
SCRIPT = """
import logging, sys
from gatepost.net.listener import bind
from gatepost.node.policy_host import run_policy_host
from gatepost.settings.loader import load

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.INFO)
settings = load(sys.argv[1], {})
sockets = {one: bind("127.0.0.1:0") for one in (settings.mta_sts.address, settings.certificate_table.address) if one}
print("port", *(several[0].getsockname()[1] for several in sockets.values()), flush=True)
print("status", run_policy_host(settings, sockets, 0), flush=True)
"""
HOST = "mta-sts.contoso.example"
PATH = "/.well-known/mta-sts.txt"


@pytest.fixture
def serve(run, home):
    """Starts it; the script and the port. names: of the certificate."""

    def start(name=HOST):
        home.issue(name)
        home.settings(mta_sts={"address": "127.0.0.1:0"})
        script = run(SCRIPT, home.file)
        return script, int(script.expect("port").split()[1])

    return start


@pytest.fixture
def publish(home):
    """Stores what the accepted domains are, each "NAME MODE"."""

    def write(*domains):
        parts = [dict(zip(("name", "mta_sts"), one.split(), strict=True)) for one in domains]
        config = ConfigStore(home.data / "config.db")
        config.apply({"organization": {"contoso": {"accepted_domain": parts}}}, author="test")
        config.close()

    return write


def ask(port, anchors, host=HOST, path=PATH):
    """The certificate's names, and what is answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(anchors)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as stream,
    ):
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        names = [value for _, value in stream.getpeercert()["subjectAltName"]]
        return names, b"".join(iter(lambda: stream.recv(65536), b"")).decode("latin-1")


def test_the_life_of_the_process(serve, publish, home):
    script, port = serve()
    script.expect("INFO MTA-STS policies served at 127.0.0.1:0: none: no accepted domain has mta_sts")
    assert ask(port, home.anchors)[1].startswith("HTTP/1.1 404 ")

    # New resources are taken up by themselves; the first certificate serves all names that no other bears.
    publish("contoso.example testing", "other.example none")
    script.expect("served at 127.0.0.1:0: contoso.example (testing, id ")
    assert "other.example (none, id " in script.said[-1]
    script.expect("WARNING no certificate bears mta-sts.other.example: senders cannot fetch the policy there")
    assert "mode: testing\r\nmx: mx.gate.example\r\n" in ask(port, home.anchors)[1]
    publish("contoso.example enforce")
    script.expect("contoso.example (enforce, id ")
    script.expect("WARNING no certificate bears mx.gate.example, and the policy of contoso.example is enforced")
    assert "mode: enforce\r\n" in ask(port, home.anchors)[1]

    # Certificates are read again on SIGHUP; one that cannot be used changes nothing.
    home.issue("mta-sts.other.example")
    script.signal(signal.SIGHUP)
    script.expect(f"WARNING no certificate bears {HOST}")
    assert ask(port, home.anchors)[0] == ["mta-sts.other.example"]
    home.chain.write_bytes(b"")
    script.signal(signal.SIGHUP)
    script.expect("ERROR certificates are kept as they were: ")
    assert ask(port, home.anchors)[0] == ["mta-sts.other.example"]

    script.signal(signal.SIGTERM)
    assert script.expect("status") == "status 0"
    assert script.ends() == 0
    with socket.socket() as late:
        assert late.connect_ex(("127.0.0.1", port)) != 0


SLOW = """
import pathlib, sys, time
from gatepost.node import policy_host

def slow(*arguments):
    print("reads", flush=True)
    while not pathlib.Path(sys.argv[2]).exists():
        time.sleep(0.01)
    return real(*arguments)

real, policy_host.files_read_again = policy_host.files_read_again, slow
"""


def test_requests_are_answered_while_certificates_are_read_again(run, home):
    home.issue(HOST)
    home.settings(mta_sts={"address": "127.0.0.1:0"})
    goes_on = home.path / "goes-on"
    script = run(SLOW + SCRIPT, home.file, str(goes_on))
    port = int(script.expect("port").split()[1])
    assert ask(port, home.anchors)[0] == [HOST]
    home.issue("mta-sts.other.example")
    script.signal(signal.SIGHUP)
    script.expect("reads")
    script.signal(signal.SIGHUP)  # what came meanwhile is read once more
    assert ask(port, home.anchors)[1].startswith("HTTP/1.1 404 ")
    goes_on.touch()
    script.expect("reads")
    assert ask(port, home.anchors)[0] == ["mta-sts.other.example"]
    script.signal(signal.SIGTERM)
    script.expect("status 0")


def test_what_does_not_change_a_policy_is_not_told(serve, publish):
    publish("contoso.example none")
    script, _ = serve()
    script.expect("served at")
    publish("contoso.example none", "b.example not-published")
    script.expect("resources version 2 in force")
    publish("contoso.example none", "b.example none")
    script.expect("b.example (none, id ")
    assert sum("served at" in line for line in script.said) == 2


def test_what_the_store_could_not_say_is_asked_again(publish, home, monkeypatch):
    home.issue(HOST)
    home.settings(mta_sts={"address": "127.0.0.1:0"})
    host = PolicyHost(load(home.file, {}), {})
    publish("contoso.example testing")

    def unavailable(*_):
        raise StoreFailure("away")

    with monkeypatch.context() as away:
        away.setattr(ConfigStore, "load", unavailable)
        with pytest.raises(StoreFailure):
            host._refresh()
    host._refresh()
    assert host._snapshots.current.version == 1
    host._resources.close()


def test_a_table_that_the_store_could_not_tell_of_is_asked_for_again(publish, home, monkeypatch, caplog):
    home.issue(HOST)
    home.settings(certificate_table={"address": "127.0.0.1:0"})
    host = PolicyHost(load(home.file, {}), {})
    host._table.refresh()
    publish("contoso.example testing")

    def unavailable(*_, **__):
        raise StoreFailure("away")

    with monkeypatch.context() as away:
        away.setattr(table_pages, "current_table", unavailable)
        for _ in range(3):
            host._refresh()
    assert caplog.text.count("the certificate table stays as it was: away") == 1
    assert host._version != host._resources.version()
    host._refresh()
    assert host._version == host._resources.version()
    host._resources.close()


def test_an_open_connection_may_end_and_is_not_waited_for_long(serve):
    script, port = serve()
    script.expect("served at")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as idle:
        idle.sendall(b"\x16")
        script.signal(signal.SIGTERM)
        assert script.expect("status") == "status 0"


def test_it_does_not_outlive_its_supervisor(serve):
    script, _ = serve()
    script.expect("served at")
    script.stdin.close()
    assert script.expect("status") == "status 0"


def test_what_it_cannot_start_with_ends_it_alone(run, home):
    home.settings(mta_sts={"address": "127.0.0.1:0"})
    home.key.write_bytes(b"")
    script = run(SCRIPT, home.file)
    script.expect("CRITICAL MTA-STS policies cannot be served: ")
    assert script.expect("status") == "status 1"


def test_many_domains_are_named_in_part(serve, publish):
    publish(*(f"d{number}.example none" for number in range(12)))
    script, _ = serve()
    assert script.expect("served at").endswith(" and 2 more")
    assert " and 2 more: senders cannot fetch" in script.expect("no certificate bears")


TABLE = "mx.gate.example", "/certificates"


def added(home, chain, key, since):
    """Stores a current certificate, as a changeover would. The keys that are sealed need the master key."""
    inventory = Inventory(ConfigStore(home.data / "config.db"), Vault.of(f"file:{home.path}/master"))
    identity = ServerIdentity(chain, key)
    entry = replace(entry_from(identity, now=1.0), state=State.CURRENT, current_from=since)
    inventory.add(entry, identity, author="ann")
    return entry


def test_the_table_of_certificates_follows_the_inventory(run, home):
    (home.path / "master").touch(0o600)
    (home.path / "master").write_bytes(bytes(range(32)))
    home.settings(
        certificate_table={"address": "127.0.0.1:0"}, certificate=[], store={"master_key": f"file:{home.path}/master"}
    )
    script = run(SCRIPT, home.file)
    port = int(script.expect("port").split()[1])
    script.expect("WARNING no certificate bears mx.gate.example: browsers do not show the certificate table there")
    with pytest.raises(OSError, match=r"."):
        ask(port, home.anchors, *TABLE)

    first = added(home, *home.authority.issue(["mx.gate.example"]), 2.0)
    script.expect("INFO certificate table version ")
    page = ask(port, home.anchors, *TABLE)[1]
    assert first.leaf.sha256.upper() in page
    second = added(home, *home.authority.issue(["mx.gate.example", "b.example"]), 3.0)
    script.expect("INFO certificate table version ")
    names, page = ask(port, home.anchors, *TABLE)
    assert names == ["mx.gate.example", "b.example"]  # what is presented is what the table says
    assert second.leaf.sha256.upper() in page
    for path in ("/certificates.json", "/certificates.atom", "/certificates.p7b", "/certificates-roots.pem"):
        assert ask(port, home.anchors, TABLE[0], path)[1].startswith("HTTP/1.1 200 ")
    assert ask(port, home.anchors, "b.example", TABLE[1])[1].startswith("HTTP/1.1 404 ")
    assert ask(port, home.anchors, TABLE[0], PATH)[1].startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize("together", [True, False])
def test_each_address_serves_what_is_its_own(run, home, publish, together):
    home.issue("*.contoso.example")
    publish("contoso.example none")
    server = {"hostname": "mx.contoso.example", "data_dir": "data"}
    tables = {"address": "127.0.0.1:0" if together else "127.0.0.2:0"}
    home.settings(server=server, mta_sts={"address": "127.0.0.1:0"}, certificate_table=tables)
    script = run(SCRIPT, home.file)
    ports = [int(one) for one in script.expect("port").split()[1:]]
    script.expect("served at")
    policies, table = ports[0], ports[-1]
    asked = (
        (policies, HOST, PATH, True),
        (table, "mx.contoso.example", "/certificates", True),
        (table, HOST, PATH, together),
        (policies, "mx.contoso.example", "/certificates", together),
        (policies, HOST, "/certificates", False),
    )
    for port, host, path, served in asked:
        expected = "HTTP/1.1 200 " if served else "HTTP/1.1 404 "
        assert ask(port, home.anchors, host, path)[1].startswith(expected), (host, path)


def test_one_that_tls_refuses_does_not_stop_the_others(run, home, publish):
    """Such as a short key, which the profile of mail may allow: no policy would be found while it is current."""
    home.issue(HOST)
    publish("contoso.example testing")
    key, name = rsa_key(1024), f"file:{home.path}/master"
    (leaf,) = x509.load_pem_x509_certificates(home.authority.issue([HOST])[0])
    builder = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.issuer).serial_number(9)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    builder = builder.public_key(key.public_key())
    short = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False).sign(key, SHA256())
    identity = ServerIdentity(
        short.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (home.path / "master").touch(0o600)
    (home.path / "master").write_bytes(bytes(range(32)))
    home.settings(mta_sts={"address": "127.0.0.1:0"}, store={"master_key": name})
    config = ConfigStore(home.data / "config.db")
    entry = replace(entry_from(identity, now=1.0), state=State.CURRENT, current_from=2.0)
    Inventory(config, Vault.of(name)).add(entry, identity, author="ann")
    config.close()
    script = run(SCRIPT, home.file)
    port = int(script.expect("port").split()[1])
    script.expect("ERROR a current certificate is not presented: ")
    script.expect("served at")
    names, page = ask(port, home.anchors)
    assert names == [HOST]
    assert "mode: testing" in page
