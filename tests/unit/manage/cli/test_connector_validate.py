from __future__ import annotations

import json
import socket
import socketserver
import threading
import time

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.cli.connector_validate import issuer_lines, progress_line
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"

[[organization.contoso.mailbox]]
address = "ann@contoso.example"

[[organization.contoso.outbound_connector]]
name = "Bank out"
recipient_domains = ["bank.example"]
smart_hosts = ["127.0.0.1:{port}"]

[[organization.contoso.outbound_connector]]
name = "lost"
recipient_domains = ["lost.example"]
smart_hosts = ["mx.lost.example"]

[[organization.contoso.inbound_connector]]
name = "Bank in"
sender_domains = ["bank.example"]
tls_sender_certificate_name = "mail.bank.example"
"""


@pytest.fixture
def closed_port():
    """A port that nobody listens on while it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def stored(home, closed_port):
    authority = Authority("Root")
    (home.path / "roots.pem").write_bytes(authority.certificate_pem)
    home.settings(
        dns={"nameservers": ["127.0.0.1:1"], "timeout": "100ms", "attempts": 1},
        tls={"trust_anchors": str(home.path / "roots.pem")},
        certificate=[{"chain": "chain.pem", "key": "key.pem"}],
    )
    home.authority = authority
    home.call("apply", "-f", home.write(RESOURCES.format(port=closed_port)))
    return home


def validate(home, *words, code):
    return home.call("connector", "validate", *words, code=code)


def test_a_closed_port_is_a_clear_no(stored, closed_port):
    found = validate(stored, "bank OUT", code=1)
    assert f"\n127.0.0.1 (127.0.0.1:{closed_port})\n" in found.stdout
    assert f"  ✗ Connect         127.0.0.1:{closed_port}: Connection refused" in found.stdout  # and how long it took
    assert "                    -> Check the port in smart_hosts" in found.stdout
    assert (
        "  \N{EN DASH} skipped         EHLO, STARTTLS, TLS handshake, Certificate, Name, Revocation: Connect failed"
        in found.stdout
    )
    assert found.stdout.endswith(
        f"\nnot validated: Connect failed on 127.0.0.1 (127.0.0.1:{closed_port}): "
        f"127.0.0.1:{closed_port}: Connection refused\n"
    )
    assert found.stderr == ""


def test_a_dns_that_does_not_answer_leaves_it_open(stored):
    found = validate(stored, "lost", code=3)
    assert found.stdout.splitlines()[-1].startswith("could not tell: Resolve failed on mx.lost.example: ")
    assert "\n  ? Resolve         " in found.stdout
    assert "✗" not in found.stdout


def test_the_result_is_kept_for_lists(stored):
    record = stored.json("connector", "validate", "Bank out", code=1)
    kept = CheckRecords(Storage(SQLITE, stored.data), VALIDATIONS, "contoso").last("outbound", "bank out")
    assert kept == {key: value for key, value in record.items() if key != "draft"}
    assert (kept["outcome"], kept["configuration"]) == ("not-validated", 1)
    assert kept["at"] == pytest.approx(time.time(), abs=60)


def test_a_result_that_cannot_be_kept_is_said(stored):
    (stored.data / "validations").write_text("")
    assert "note: the result cannot be kept" in validate(stored, "Bank out", code=1).stdout


def test_a_draft_is_tried_without_being_stored(stored, closed_port):
    text = RESOURCES.format(port=closed_port).replace('"Bank out"', '"Draft"\nenabled = false')
    draft = stored.write(text, "draft.toml")
    found = validate(stored, "draft", "--file", draft, code=1)
    assert f"outbound connector 'Draft' of contoso, draft in {draft}" in found.stdout
    assert "note: the connector is disabled" in found.stdout
    assert stored.json("connector", "validate", "draft", "-f", draft, code=1)["draft"] == str(draft)
    assert stored.config()[0] == 1
    assert not (stored.data / "validations").exists()
    assert "there is no connector 'draft'" in validate(stored, "draft", code=2).stderr


def test_errors_of_a_draft(stored):
    draft = stored.write('[organization.contoso]\ncolour = "blue"\n', "draft.toml")
    assert "colour" in validate(stored, "Bank out", "-f", draft, code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "there is no connector 'nobody'"),
        (["Bank out", "--recipient", "bob@other.example"], "other.example"),
        (["Bank out", "--recipient", "bob"], "is not a mail address"),
        (["Bank out", "--recipient", "bob@bank.example", "--sender", "me"], "sender: 'me' is not"),
        (["Bank out", "--session", "5e55"], "--session: for inbound connectors only"),
        (["Bank out", "--ip", "192.0.2.1", "--from", ""], "--ip, --from: for inbound connectors only"),
        (["Bank in", "--recipient", "bob@bank.example"], "--recipient: for outbound connectors only"),
        (["Bank in", "--ip", "192.0.2.1"], "--ip, --from: both are needed"),
        (["Bank in", "--from", "eve@bank.example"], "--ip, --from: both are needed"),
        (["Bank in", "--to", "ann@contoso.example"], "--ip, --from: both are needed"),
        (["Bank in", "--ip", "nowhere", "--from", "eve@bank.example"], "--ip: 'nowhere' is not an IP address"),
        (["Bank in", "--session", "5e55"], "the message trace has no message or session 5e55"),
    ],
)
def test_bad_input(stored, words, said):
    found = validate(stored, *words, code=2)
    assert said in found.stderr
    assert found.stdout == ""


def test_a_large_file_is_no_certificate(stored):
    file = stored.write("x" * (2 << 20), "large.pem")
    words = ["Bank in", "--ip", "192.0.2.1", "--from", "eve@bank.example", "--certificate", file]
    assert "larger than" in validate(stored, *words, code=2).stderr


def test_an_inbound_connector_that_took_mail(stored):
    tls = {"version": "TLSv1.3", "chain": "trusted", "certificate": {"names": ["mail.bank.example"]}}
    stored.events(
        {
            "at": time.time() - 3600,
            "connector": "Bank in",
            "sender": "eve@bank.example",
            "peer_address": "198.51.100.9",
            "tls": tls,
            "tls_version": "TLSv1.3",
        }
    )
    found = validate(stored, "Bank in", code=0)
    assert "  ✓ Seen            last at " in found.stdout
    assert "198.51.100.9 TLSv1.3 with the certificate mail.bank.example (trusted) (1)" in found.stdout
    assert found.stdout.splitlines()[-1].startswith("validated: all ")
    assert stored.json("connector", "validate", "Bank in", "--within", "30m", code=3)["outcome"] == "unknown"
    assert "  ? Seen            no mail came" in validate(stored, "Bank in", "--within", "30m", code=3).stdout
    assert (
        CheckRecords(Storage(SQLITE, stored.data), VALIDATIONS, "contoso").last("inbound", "Bank in")["outcome"]
        == "unknown"
    )


def test_a_captured_session_and_an_uploaded_certificate(stored):
    stored.events(
        {
            "at": time.time() - 3600,
            "sender": "eve@bank.example",
            "peer_address": "198.51.100.9",
            "tls": {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "group": "X25519"},
            "tls_version": "TLSv1.3",
        }
    )
    for identity in ("5e55100000000001", "000000000000001a"):
        assert "✓ Replay" in validate(stored, "Bank in", "--session", identity, code=0).stdout
    pem = stored.path / "client.pem"
    pem.write_bytes(stored.authority.issue(["mail.bank.example"])[0])
    words = ["--certificate", pem, "--ip", "198.51.100.9", "--from"]
    assert "✓ Presented" in validate(stored, "Bank in", *words, "eve@bank.example", code=0).stdout
    found = validate(stored, "Bank in", *words, "eve@other.example", code=1)
    assert found.stdout.splitlines()[-1].startswith("not validated: Presented failed: ")


def test_a_trace_that_cannot_be_read_is_said(stored):
    (stored.data / "trace").mkdir(exist_ok=True)
    (stored.data / "trace" / f"{time.strftime('%Y-%m-%d', time.gmtime())}.0.db").write_bytes(b"not a database" * 100)
    found = validate(stored, "Bank in", code=3)
    assert "note: the trace could not be read: " in found.stdout


def test_signs_that_the_terminal_cannot_show_become_words(stored, monkeypatch):
    from gatepost.manage.cli import connector_validate  # noqa: PLC0415 - only here

    monkeypatch.setattr(connector_validate, "writes", lambda _mark: False)
    assert "  FAILED Connect    127.0.0.1" in validate(stored, "Bank out", code=1).stdout


def test_what_a_peer_made_is_harmless_for_a_terminal(stored):
    stored.events({"at": time.time(), "connector": "Bank in", "peer_address": "\x1b[31mred"})
    assert "\x1b" not in validate(stored, "Bank in", code=0).stdout


def test_json_is_one_document(stored):
    assert json.loads(validate(stored, "Bank out", "--json", code=1).stdout)["connector"] == "Bank out"


def test_an_issuer_that_only_lacks_trust_is_shown_with_the_command_that_trusts_it():
    issuer = {
        "subject": "CN=Bank Root",
        "issuer": "CN=Bank Root",
        "sha256": "ab01",
        "not_before": 0.0,
        "not_after": 1.0,
    }
    hosts = [{"host": f"mx{number}", "issuer": issuer | {"pem": ""}} for number in (1, 2)]
    assert list(issuer_lines({"connector": "the bank", "hosts": [*hosts, {"host": "mx3"}]})) == [
        "issuer seen: CN=Bank Root, SHA-256 AB:01",
        "  once the partner has confirmed it over another channel: gatepost connector trust 'the bank' ab01",
    ]


def test_the_line_of_progress_says_what_runs_and_what_ended_before_it():
    task = {"name": "EHLO", "status": "succeeded", "detail": "220 mx"}
    running = {"name": "STARTTLS", "status": "running", "detail": ""}
    record = {
        "hosts": [
            {"host": "mx1", "tasks": [task, running]},
            {"host": "mx2", "tasks": [running]},
            {"host": "mx3", "tasks": [task]},
        ],
        "tasks": [running | {"name": "Seen"}],
    }
    assert progress_line(record) == "mx1: EHLO ok (220 mx); STARTTLS …; mx2: STARTTLS …; Seen …"
    assert progress_line({"hosts": [], "tasks": []}) == ""


def test_what_was_said_is_shown_if_asked(stored):
    class Says(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"554 5.7.1 not you\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Says) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_address[1]
        draft = stored.write(RESOURCES.format(port=port), "draft.toml")
        found = validate(stored, "Bank out", "-f", draft, "--verbose", code=1).stdout
    assert "    SMTP dialogue:\n      < 554 5.7.1 not you\n" in found
