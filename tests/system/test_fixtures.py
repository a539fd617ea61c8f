"""The fixtures of the system tests do what they say, shown with each other, and without gatepost but for its own."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
from support import debian, process
from support.clients import openssl_s_client, swaks
from support.gateway import Gateway
from support.peers import Exim, Postfix
from support.process import Child
from support.raw import ClosedError, RawClient

from gatepost.testing.mail import Mail, read_maildir, without_trace
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, ProcessId, alive, free_port, greets, wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.testing.status_server import StatusServer

MESSAGE = (
    b"From: Alice <alice@contoso.example>\r\nSubject: dots\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b".one\r\n..two\r\n\r\n" + "Grüße".encode() + b"\r\n" + b"x" * 998 + b"\r\n.\tend\r\n\r\n"
)


def with_stuffing(message: bytes) -> bytes:
    """RFC 5321 section 4.5.2, for messages whose first line has no dot."""
    return message.replace(b"\r\n.", b"\r\n..")


def test_postfix_receives_over_starttls(postfix: Callable[..., Postfix], pki: Pki) -> None:
    debian.need("swaks", "swaks-tls")
    server = postfix(certificates=[pki.leaf("mx.partner.example")])
    sent = swaks(
        server.port,
        to="bob@partner.example",
        message=MESSAGE,
        tls="require",
        anchors=pki.root,
        name="mx.partner.example",
    )
    assert sent.ok, sent.transcript
    (mail,) = server.wait_mails(1)
    assert mail.content == MESSAGE
    assert mail.recipient == "bob@partner.example"
    assert "ESMTPS" in mail.field("Received")
    assert "TLSv1.3" in mail.field("Received")


def test_postfix_relays_byte_for_byte_over_verified_tls(postfix: Callable[..., Postfix], pki: Pki) -> None:
    """Two instances side by side, the second by its certificate's name."""
    debian.need("swaks")
    receiver = postfix(certificates=[pki.leaf("mx.partner.example", key="rsa")])
    relay = postfix(
        hostname="relay.contoso.example",
        next_hop=("127.0.0.1", receiver.port),
        tls="secure",
        anchors=pki.root,
        match=["mx.partner.example"],
    )
    assert swaks(relay.port, to=["bob@partner.example", "carol@elsewhere.example"], message=MESSAGE).ok
    mails = receiver.wait_mails(2)
    assert [mail.content for mail in mails] == [MESSAGE, MESSAGE]
    assert {mail.recipient for mail in mails} == {"bob@partner.example", "carol@elsewhere.example"}
    relay.wait_log("Verified TLS connection established")


def test_postfix_keeps_what_it_may_not_send(postfix: Callable[..., Postfix], pki: Pki) -> None:
    debian.need("swaks")
    receiver = postfix()
    relay = postfix(next_hop=("127.0.0.1", receiver.port), tls="encrypt")
    assert swaks(relay.port, to="bob@partner.example").ok
    waiting = wait_until(
        lambda: [row for row in relay.queue() if row["queue_name"] == "deferred"], "a deferred message"
    )
    assert "TLS is required" in waiting[0]["recipients"][0]["delay_reason"]
    relay.stop()
    relay.start()
    assert len(relay.queue()) == 1
    assert receiver.mails() == []


def test_postfix_judges_client_certificates(postfix: Callable[..., Postfix], pki: Pki) -> None:
    debian.need("openssl")
    server = postfix(certificates=[pki.leaf("mx.partner.example")], client_anchors=pki.root)
    assert openssl_s_client(server.port, certificate=pki.client("alice.contoso.example")).ok
    server.wait_log("Trusted TLS connection established")


def test_postfix_leaves_nothing_behind(postfix: Callable[..., Postfix]) -> None:
    server = postfix()
    family = server.family()
    assert len(family) > 1
    server.remove()
    assert not server.folder.path.exists()
    assert not greets(server.port)
    assert alive(family) == []


def test_postfix_that_cannot_start_says_why_and_leaves_nothing_behind(postfix: Callable[..., Postfix]) -> None:
    """Its log is the failure's text."""
    with pytest.raises(FixtureError, match=r"(?s)ended with.*bad boolean configuration") as failure:
        postfix(settings={"smtputf8_enable": "perhaps"})
    folder = re.search(r"/\S+/gatepost-postfix-\w+", str(failure.value))
    assert folder is None or not Path(folder[0]).exists()


def test_exim_receives_over_starttls(exim: Callable[..., Exim], pki: Pki) -> None:
    debian.need("swaks", "swaks-tls")
    server = exim(certificate=pki.leaf("exim.partner.example"))
    sent = swaks(server.port, to="bob@partner.example", message=MESSAGE, tls="require", anchors=pki.root)
    assert sent.ok, sent.transcript
    (mail,) = server.wait_mails(1)
    assert mail.content == MESSAGE
    assert mail.recipient == "bob@partner.example"
    assert "X=TLS1.3" in server.log()


def test_exim_without_certificate_offers_no_starttls(exim: Callable[..., Exim]) -> None:
    server = exim()
    with RawClient(server.port) as client:
        assert "STARTTLS" not in client.greet().lines


def test_s_client_tells_the_facts_of_a_handshake(postfix: Callable[..., Postfix], pki: Pki) -> None:
    debian.need("openssl")
    server = postfix(certificates=[pki.leaf("mx.partner.example"), pki.leaf("mx.partner.example", key="rsa")])
    new = openssl_s_client(server.port, anchors=pki.root, options=["-groups", "X25519"])
    assert (new.version, new.group, new.verified) == ("TLSv1.3", "X25519", True)
    assert new.signature.startswith("ecdsa")
    old = openssl_s_client(server.port, options=["-tls1_2", "-sigalgs", "RSA-PSS+SHA256"])
    assert (old.version, old.verified) == ("TLSv1.2", False)
    assert old.cipher.startswith("ECDHE-RSA-")
    assert "mx.partner.example" in old.subject


@pytest.mark.parametrize("kind", ["expired", "not_yet_valid", "self_signed", "strange", "incomplete", "name"])
def test_bad_certificates_are_refused_by_openssl(
    sink: Callable[..., Sink],
    pki: Pki,
    strange_pki: Pki,
    kind: str,
) -> None:
    debian.need("openssl")
    name = "mx.partner.example"
    leaf = {
        "expired": lambda: pki.expired(name),
        "not_yet_valid": lambda: pki.not_yet_valid(name),
        "self_signed": lambda: pki.self_signed(name),
        "strange": lambda: strange_pki.leaf(name),
        "incomplete": lambda: pki.leaf(name, incomplete=True),
        "name": lambda: pki.leaf("other.partner.example"),
    }[kind]()
    server = sink(certificate=leaf)
    strict = ["-verify_return_error", "-verify_hostname", name]
    assert not openssl_s_client(server.port, anchors=pki.root, options=strict).ok
    assert openssl_s_client(sink(certificate=pki.leaf(name)).port, anchors=pki.root, options=strict).ok


@pytest.mark.parametrize("real", [False, True], ids=["forked", "real"])
def test_a_gateway_that_does_not_get_ready_says_where_it_is(monkeypatch: pytest.MonkeyPatch, *, real: bool) -> None:
    monkeypatch.setattr(process, "_real", real)
    monkeypatch.setattr(Gateway, "_greets", lambda _: False)
    server = Gateway()
    server.patience = 0.03
    with pytest.raises(FixtureError, match="not ready") as late:
        server.__enter__()
    assert "Fatal Python error: Aborted" in str(late.value)
    assert '.py", line' in str(late.value)
    assert not server.folder.path.exists()


_LOADED = "import sys; print('gatepost.manage.cli' in sys.modules)"  # a fork has what a new Python has not


def test_half_the_files_start_python_for_each_kind_of_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_REAL", "half")
    monkeypatch.setattr(process, "_real", False)
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    forked = []
    for file in (files[0], files[1], files[2]):
        process.choose_start(file)
        forked.append(
            [b"True" in process.run_gatepost("-c", _LOADED, *words).stdout for words in (["list"], ["list"], ["add"])]
        )
    assert forked == [[False, True, False], [True, True, True], [False, True, False]]
    monkeypatch.setattr(process, "_REAL", "1")
    process.choose_start(files[1])
    assert [process.run_gatepost("-c", _LOADED).stdout for _ in range(2)] == [b"False\n"] * 2


def test_commands_are_of_one_kind_that_differ_in_values_alone(tmp_path: Path) -> None:
    def settings(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    first = settings("a.toml", '[server]\nworkers = 1\n[admin]\naddress = "127.0.0.1:1"\n')
    like = settings("b.toml", '[server]\nworkers = 2\n[admin]\naddress = "127.0.0.1:2"\n')
    without = settings("c.toml", '[server]\nworkers = 2\n[admin]\naddress = ""\n')
    wrong = settings("d.toml", "[server\n")
    same = [["--config", file, "queue", "list", "--limit", number] for file, number in ((first, "1"), (like, "20"))]
    others = [
        ["--config", without, "queue", "list", "--limit", "1"],
        ["--config", wrong, "queue", "list", "--limit", "1"],
        ["--config", first, "queue", "list", "--limit=1", "--json"],
        ["--config", first, "queue", "retry", "--limit", "1"],
        ["queue", "list", "--limit", "1"],
        ["-c", "pass", "--config", first, "queue", "list", "--limit", "1"],
    ]
    kinds = [process.command_kind(words) for words in (*same, *others)]
    assert kinds[0] == kinds[1]
    assert len(set(kinds)) == 1 + len(others)


def test_two_runs_beside_each_other_share_no_port_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[set[int]] = []
    addresses: list[set[str]] = []
    for half in ("even", "odd"):
        monkeypatch.setenv("GATEPOST_PORTS", half)
        ports.append({free_port() // 1000 for _ in range(100)})
        addresses.append(set())
        for run in range(50):
            monkeypatch.setattr(process, "_RUN", str(run))
            addresses[-1] |= {process.loopback("1", of_process=of_process) for of_process in (False, True)}
    assert ports[0].isdisjoint(ports[1])
    assert addresses[0].isdisjoint(addresses[1])


def test_sink_records_over_tls(sink: Callable[..., Sink], pki: Pki) -> None:
    debian.need("swaks", "swaks-tls")
    server = sink(certificate=pki.leaf("sink.partner.example"))
    assert swaks(server.port, to=["a@b.example", "c@b.example"], message=MESSAGE, tls="require", anchors=pki.root).ok
    (message,) = server.messages
    assert message.reverse_path == "alice@contoso.example"
    assert message.recipients == ("a@b.example", "c@b.example")
    assert message.data == MESSAGE
    assert message.tls == "TLSv1.3"
    assert server.counts["TLS"] == 1


def test_sink_takes_bdat_and_empty_messages(sink: Callable[..., Sink]) -> None:
    server = sink()
    with RawClient(server.port) as client:
        client.greet()
        client.send(b"MAIL FROM:<> SIZE=3\r\nRCPT TO:<a@b.example>\r\nBDAT 3\r\nab\nBDAT 1 LAST\r\n.")
        assert [client.reply().code for _ in range(4)] == [250, 250, 250, 250]
        for body in (b".\r\n", b"\r\n.\r\n", b"a.\r\n..\r\n.\r\n"):
            client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n" + body)
            assert [client.reply().code for _ in range(4)] == [250, 250, 354, 250]
    assert [message.data for message in server.messages] == [b"ab\n.", b"", b"\r\n", b"a.\r\n.\r\n"]
    assert server.messages[0].parameters == ("SIZE=3",)


def test_sink_takes_no_message_whose_mail_was_refused(sink: Callable[..., Sink]) -> None:
    server = sink(behaviour=Behaviour(replies={"MAIL": "451 4.3.0 Later"}))
    with RawClient(server.port) as client:
        client.greet()
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 2 LAST\r\n\r\n")
        assert [client.reply().code for _ in range(3)] == [451, 503, 503]
    assert server.messages == []


def test_sink_speaks_lmtp_to_a_client_that_begins_so(sink: Callable[..., Sink]) -> None:
    """RFC 2033: the end of a message has a reply for each recipient."""
    server = sink(behaviour=Behaviour(results={"b@b.example": "452 4.2.2 Mailbox full"}))
    with RawClient(server.port) as client:
        client.reply()
        assert "SIZE" in " ".join(client.command("LHLO x").lines)
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nx\r\n.\r\n")
        assert [client.reply().code for _ in range(6)] == [250, 250, 250, 354, 250, 452]
    assert [message.recipients for message in server.messages] == [("a@b.example",)]
    server.behaviour = Behaviour(replies={"LHLO": "421 4.3.2 Later", "ETRN": "250 2.0.0 Queue started"})
    with RawClient(server.port) as client:
        client.reply()
        assert client.command("ETRN b.example").code == 250
        assert client.command("LHLO x").code == 421


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "."])
def test_sink_refuses_and_drops_at_any_point(sink: Callable[..., Sink], point: str) -> None:
    server = sink(behaviour=Behaviour(replies={point: "450 4.2.1 later"}))
    transaction = {"MAIL": "MAIL FROM:<>", "RCPT": "RCPT TO:<a@b.example>", "DATA": "DATA", ".": "."}
    for drop in (False, True):
        if drop:
            server.behaviour = Behaviour(drops=frozenset({point}))
        with RawClient(server.port) as client:
            client.greet()
            for step, line in transaction.items():
                if step != point:
                    assert client.command(line).code in {250, 354}
                    continue
                if drop:
                    with pytest.raises(ClosedError):
                        client.command(line)
                else:
                    assert client.command(line).enhanced == "4.2.1"
                break
    assert server.messages == []


def test_sink_delays_and_breaks_starttls(sink: Callable[..., Sink], pki: Pki) -> None:
    server = sink(certificate=pki.leaf("sink.partner.example"), behaviour=Behaviour(delays={"CONNECT": 0.3}))
    begun = time.monotonic()
    assert greets(server.port)
    assert time.monotonic() - begun >= 0.3
    server.behaviour = Behaviour(starttls="absent")
    with RawClient(server.port) as client:
        assert "STARTTLS" not in client.greet().lines
    server.behaviour = Behaviour(starttls="garbage")
    with RawClient(server.port) as client:
        assert "STARTTLS" in client.greet().lines
        with pytest.raises(OSError, match=r"SSL|record"):
            client.starttls()


def test_dns_answers_over_udp_and_tcp(dns_server: Callable[..., DnsServer]) -> None:
    many = [f"{number} mx{number}.partner.example." for number in range(200)]
    server = dns_server(
        {"Partner.example MX": many, "alias.example CNAME": ["mx.example."], "mx.example A": ["127.0.0.1"]},
        failures={"broken.example": "SERVFAIL", "slow.example A": "TIMEOUT"},
        authentic=True,
    )

    def ask(name: str, kind: str, timeout: float = 60) -> dns.message.Message:
        question = dns.message.make_query(name, kind)
        return dns.query.udp_with_fallback(question, "127.0.0.1", port=server.port, timeout=timeout)[0]

    assert len(ask("partner.example", "MX").answer[0]) == 200
    assert [query.transport for query in server.queries] == ["udp", "tcp"]
    assert [rrset.to_text() for rrset in ask("alias.example", "A").answer] == [
        "alias.example. 60 IN CNAME mx.example.",
        "mx.example. 60 IN A 127.0.0.1",
    ]
    assert ask("mx.example", "AAAA").rcode() == dns.rcode.NOERROR
    assert ask("nobody.example", "A").rcode() == dns.rcode.NXDOMAIN
    assert ask("example", "A").rcode() == dns.rcode.NOERROR
    assert ask("broken.example", "MX").rcode() == dns.rcode.SERVFAIL
    assert ask("mx.example", "A").flags & dns.flags.AD
    with pytest.raises(dns.exception.Timeout):
        ask("slow.example", "A", timeout=0.2)


def test_a_child_ends_with_everything_it_started(tmp_path: Path) -> None:
    """Also what ignores SIGTERM and what its parent has forgotten."""
    script = "trap '' TERM; (trap '' TERM; sleep 600) & sleep 600 & wait"
    child = Child(["/bin/sh", "-c", script], tmp_path / "log")
    try:
        family = wait_until(lambda: child.family() if len(child.family()) >= 3 else [], "the children")
    finally:
        child.stop(grace=0.2)
    assert alive(family) == []


def test_a_later_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    """Numbers begin anew after 32,768 processes; nobody waits for a stranger's, or ends it."""
    child = Child(["/bin/sleep", "600"], tmp_path / "log")
    try:
        (ours,) = child.family()
        assert alive([ours]) == alive([int(ours)]) == [ours]
        assert alive([ProcessId(ours, ours.began - 1)]) == []  # type: ignore[attr-defined] # an int to who only counts
    finally:
        child.stop()
    assert alive([ours, int(ours)]) == []


def test_a_child_that_ends_early_is_reported_with_its_output(tmp_path: Path) -> None:
    child = Child(["/bin/sh", "-c", "echo no such setting; exit 2"], tmp_path / "log")
    with pytest.raises(FixtureError, match="ended with 2\nno such setting"):
        child.wait_ready(lambda: False)


def test_gateway_delivers_and_starts_again_after_a_kill(gateway: Callable[..., Gateway]) -> None:
    domain = {"name": "contoso.example", "type": "authoritative"}
    mailbox = {"address": "ann@contoso.example", "delivery": "maildir"}
    server = gateway({"organization": {"contoso": {"accepted_domain": [domain], "mailbox": [mailbox]}}})
    for count in (1, 2):
        with RawClient(server.port) as client:
            client.greet()
            for line in ("MAIL FROM:<bob@partner.example>", "RCPT TO:<ann@contoso.example>", "DATA"):
                assert client.command(line).code in {250, 354}
            client.send(with_stuffing(MESSAGE) + b".\r\n")
            assert client.reply().code == 250
        assert server.wait_maildir("ann@contoso.example", count)[-1].content == MESSAGE
        if count == 1:
            server.kill()
            server.start()
    assert server.wait_trace(recipient="ann@contoso.example", event="DELIVER")
    assert server.stop() == 0


def test_a_mailbox_is_read_in_the_order_in_which_mail_came(tmp_path: Path) -> None:
    """By gatepost's names and by Postfix's, of which digits are missing in front."""
    names = ["99.M5Q1P7.h", "100.M99999Q2P7.h", "100.M100000Q1P7.h", "101.V802I40bM7.h", "101.V802I3aM12.h"]
    (tmp_path / "new").mkdir()
    for name in reversed(names):
        (tmp_path / "new" / name).write_text(f"Subject: {name}\n\n")
    assert [mail.field("Subject") for mail in read_maildir(tmp_path)] == names


def test_mail_is_read_and_compared_without_its_trace() -> None:
    own = b"Subject: a\r\n b\r\nReceived: by an earlier host\r\n\r\nbody\r\n"
    mail = Mail(b"Return-Path: <>\r\nReceived: from x\r\n\tby y\r\nDelivered-To: bob@b.example\r\n" + own)
    assert mail.content == own
    assert without_trace(own) == own
    assert mail.fields("received") == ["from x\tby y", "by an earlier host"]
    assert mail.field("Subject") == "a b"
    assert mail.body == b"body\r\n"


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 failed"), ("", "1 skipped")])
def test_a_missing_peer_is_loud(tmp_path: Path, ci: str, outcome: str) -> None:
    """Skipped with a red line that names the package; under CI=true a failure."""
    test = "from support.debian import need\n\ndef test_it():\n    need('swaks', 'postfix')\n"
    (tmp_path / "test_it.py").write_text(test)
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "support").symlink_to(Path(debian.__file__).parent)
    environment = {**os.environ, "CI": ci, "PATH": str(tmp_path)}
    bare = [
        sys.executable,
        "-c",
        (
            "import shutil, sys, pytest\nshutil.which = lambda *a, **k: None\n"
            "sys.exit(pytest.main(['-q', '--color=yes', '-p', 'no:randomly', '-p', 'no:cacheprovider', 'test_it.py']))"
        ),
    ]
    done = subprocess.run(bare, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert outcome in done.stdout, done.stdout + done.stderr
    loud = "PEER MISSING: swaks, postfix" if ci else "\x1b[31m\x1b[1mNOT TESTED for want of swaks, postfix: 1 test(s)"
    assert loud in done.stdout


def test_of_a_client_that_leaves_a_status_server_says_nothing(pki: Pki, capfd: pytest.CaptureFixture[str]) -> None:
    with StatusServer(pki) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends by a reset
        client.sendall(b"GET /crl HTTP/1.1\r\n")
        time.sleep(0.2)  # its thread reads the next line by then
        client.close()
    assert capfd.readouterr().err == ""
