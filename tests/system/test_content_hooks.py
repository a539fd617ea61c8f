"""Proves that rspamd and ClamAV decide about messages before they are taken, and what happens when they cannot.

Debian's rspamd and clamd with rules of the tests; scanners that hang, die and lie are small servers of the tests. What
was refused is nowhere: neither in a mailbox nor in the queue.
"""

from __future__ import annotations

import itertools
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.gateway import Gateway
from support.process import run_gatepost
from support.raw import RawClient
from support.scanners import EICAR, GTUBE, Clamd, Misbehaving, Rspamd, answering, deaf, dying, http, silent
from support.scenes import ALICE, STRANGER, contoso, message, send

from gatepost.testing.mail import without_trace
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

ANN = "ann@contoso.example"
JOE = "joe@fabrikam.example"
BIG = b"x" * 998 + b"\r\n"
REFUSED = "554 5.7.1 Message refused because of its content"
LATER = "451 4.7.1 Message not accepted for now because of its content, try again later"
UNEXAMINED = "451 4.7.1 Message cannot be examined now, try again later"


def with_fabrikam(**fields: Any) -> dict[str, Any]:
    """Beside contoso an organization without hooks."""
    resources = contoso(**fields)
    resources["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": JOE}],
    }
    return resources


def big(subject: str, kilobytes: int = 1500) -> bytes:
    """More than is kept in memory."""
    return message(subject) + BIG * kilobytes


def reply_to(port: int, content: bytes, to: str = ANN, sender: str = STRANGER) -> str:
    """The reply to one message, without the stamp at its end."""
    try:
        send(port, to, sender=sender, content=content, timeout=60)
    except smtplib.SMTPDataError as error:
        return f"{error.smtp_code} {error.smtp_error.decode()}".partition(" [")[0]
    return "250"


def found(gateway: Gateway, subject: str) -> dict[str, Any]:
    """What the trace has of the hook's answer to a message that was taken."""
    rows = wait_until(
        lambda: [row for row in gateway.trace(event="RECEIVE") if row["subject"] == subject], f"a row of {subject}"
    )
    (record,) = rows[0]["detail"]["content_hooks"]
    return dict(record)


def refused(gateway: Gateway, sender: str) -> dict[str, dict[str, Any]]:
    """What it has of one that was refused, by hook. sender: of that one alone."""
    (row,) = gateway.wait_trace(event="REFUSE", sender=sender)
    return {one["hook"]: one for one in row["detail"]["content_hooks"]}


_senders = itertools.count(1)


def nobody() -> str:
    """An address that no other message of the tests is from."""
    return f"nobody{next(_senders)}@elsewhere.example"


def mail_of(gateway: Gateway, subject: str, to: str = ANN) -> Any:
    """The message of that subject in a mailbox, once it is there."""

    def there() -> list[Any]:
        return [mail for mail in gateway.maildir(to) if subject in mail.field("Subject")]

    return wait_until(there, f"the message {subject}", timeout=40)[0]


# ClamAV


@pytest.fixture(scope="module")
def guarded(clamd: Clamd) -> Iterator[Gateway]:
    with Gateway(contoso(content_hook=[{"name": "av", "type": "clamav", "address": clamd.socket}])) as running:
        yield running


VIRUS = message("virus", EICAR.decode())
HIDDEN = message("hidden").replace(
    b"\r\n\r\nHello.",
    b"\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo=",
)


@pytest.mark.parametrize(
    "content",
    [VIRUS, HIDDEN, big("large") + EICAR + b"\r\n"],
    ids=["in the text", "in base64", "behind 1.5 MB"],
)
def test_a_virus_is_refused_while_its_sender_waits(guarded: Gateway, content: bytes) -> None:
    sender = nobody()
    assert reply_to(guarded.port, content, sender=sender) == REFUSED  # and not by which signature
    record = refused(guarded, sender)["av"]
    assert record["signature"].startswith("Eicar-Signature")
    assert (record["hook"], record["action"], record["does"]) == ("av", "reject", f"refuses with {REFUSED}")
    # What was taken of other tests leaves the queue a moment after it has arrived.
    wait_until(lambda: guarded.cli("queue", "list", json=True).data == [], "nothing in the queue")
    assert not list(guarded.data_dir.glob("*/*/big/*"))


@pytest.mark.parametrize("content", [message("small one"), big("big one")], ids=["small", "1.5 MB"])
def test_clean_mail_arrives_unchanged(guarded: Gateway, content: bytes) -> None:
    subject = "big one" if len(content) > 1000 else "small one"
    assert reply_to(guarded.port, content) == "250"
    assert without_trace(mail_of(guarded, subject).raw) == content
    record = found(guarded, subject)
    assert (record["action"], record["does"]) == ("no-action", "passes it")


def test_the_session_goes_on_behind_a_refusal(guarded: Gateway) -> None:
    """Pipelined with what comes next, and in chunks (RFC 3030)."""
    with RawClient(guarded.port) as client:
        client.greet()
        client.command(f"MAIL FROM:<{STRANGER}>")
        client.command(f"RCPT TO:<{ANN}>")
        client.send(b"BDAT %d LAST\r\n" % len(VIRUS) + VIRUS + f"MAIL FROM:<{STRANGER}>\r\n".encode())
        assert client.reply().code == 554
        assert client.reply().code == 250
        assert client.command(f"RCPT TO:<{ANN}>").code == 250
        clean = message("after it")
        client.send(b"BDAT %d LAST\r\n" % len(clean) + clean)
        assert client.reply().code == 250
    assert mail_of(guarded, "after it")


def test_mail_of_our_own_servers_is_examined_too(guarded: Gateway) -> None:
    assert reply_to(guarded.port, VIRUS, sender=ALICE, to="bob@partner.example") == REFUSED
    assert refused(guarded, ALICE)["av"]["signature"]


def test_clamd_says_that_a_message_is_too_large_for_it(clamd: Clamd) -> None:
    hook = {"name": "av", "type": "clamav", "address": clamd.address}
    with Gateway(contoso(content_hook=[hook])) as running:
        assert reply_to(running.port, big("too large", 9000)) == UNEXAMINED
        assert "StreamMaxLength" in refused(running, STRANGER)["av"]["failure"]


def test_a_message_above_max_size_is_refused_or_passes_as_it_was_said(clamd: Clamd) -> None:
    hook = {"name": "av", "type": "clamav", "address": clamd.socket, "max_size": "100KB"}
    with Gateway(contoso(content_hook=[hook])) as running:
        assert reply_to(running.port, big("beyond", 200)) == "552 5.3.4 Message is too large to be examined"
        running.cli("hook", "set", "av", "over_max_size=accept")
        wait_until(lambda: reply_to(running.port, big("beyond", 200)) == "250", "the change")
        assert found(running, "beyond")["action"] == "too large"


def test_the_trial_of_a_hook_finds_the_test_file(guarded: Gateway, clamd: Clamd, running: Any) -> None:
    trials = guarded.cli("hook", "check", "av", json=True).data["trials"]
    assert [(one["message"], one["right"], bool(one["reply"])) for one in trials] == [
        ("harmless", True, False),
        ("EICAR", True, True),
    ]
    told = guarded.cli("hook", "check", "av").stdout
    assert "Eicar-Signature" in told
    file = guarded.folder.write("virus.eml", VIRUS.decode())
    assert "554" in guarded.cli("hook", "check", "av", "--message", str(file), expect=1).stdout
    nobody = running.enter_context(Misbehaving(answering(b"stream: OK\0")))
    guarded.cli("hook", "add", "blind", "type=clamav", f"address=127.0.0.1:{nobody.port}", "enabled=false")
    assert "WRONG" in guarded.cli("hook", "check", "blind", expect=1).stdout
    guarded.cli("hook", "set", "blind", f"address=127.0.0.1:{free_port()}")
    assert "Connect" in guarded.cli("hook", "check", "blind", expect=3).stdout


# rspamd


@pytest.fixture(scope="module")
def filtered(rspamd: Rspamd) -> Iterator[Gateway]:
    hook = {"name": "spam", "type": "rspamd", "address": rspamd.address, "settings_id": "tests"}
    with Gateway(contoso(content_hook=[hook])) as running:
        yield running


# Subject -> the reply, the action in the trace.
ACTIONS = {
    "plain": ("250", "no-action"),
    "grey": ("250", "greylist"),  # not among those that are obeyed unless it is written
    "marked": ("250", "add-header"),
    "rewritten": ("250", "rewrite-subject"),
    "later": (LATER, "soft-reject"),
    "refused": (REFUSED, "reject"),
}


@pytest.mark.parametrize("subject", ACTIONS)
def test_rspamd_decides(filtered: Gateway, subject: str) -> None:
    reply, action = ACTIONS[subject]
    sender = nobody()
    assert reply_to(filtered.port, message(subject), sender=sender) == reply
    record = found(filtered, subject) if reply == "250" else refused(filtered, sender)["spam"]
    assert record["action"] == action
    if action == "reject":
        assert (record["score"], record["required"], record["symbols"]) == (20.0, 15.0, ["T_REFUSE(20)"])
    if action == "soft-reject":
        assert record["said"] == "come back"  # to us; the peer is told less


@pytest.mark.parametrize("make", [message, big], ids=["small", "1.5 MB"])
def test_fields_come_and_go_whatever_the_size(filtered: Gateway, make: Callable[[str], bytes]) -> None:
    subject = f"fields of {make.__name__}"
    content = make(subject).replace(b"Subject:", b"X-Forged: yes\r\n of old\r\nSubject:")
    assert reply_to(filtered.port, content) == "250"
    mail = mail_of(filtered, subject)
    assert mail.fields("X-Forged") == []
    assert mail.fields("X-Several") == ["one", "two"]
    ip, hello, queue_id, sender, recipient, user, tag, tls, settings = mail.field("X-Seen").split()
    assert (ip, hello, sender, recipient, user) == ("127.0.0.1", "client.example", STRANGER, ANN, "nil")
    assert (tag, tls, settings) == ("contoso", "nil", "tests")
    assert f"id {queue_id}" in mail.field("Received")
    assert without_trace(mail.raw).endswith(make(subject))
    does = found(filtered, subject)["does"]
    assert all(name in does for name in ("X-Seen", "X-Size", "X-Several", "removes X-Forged"))


@pytest.mark.parametrize("make", [message, big], ids=["small", "1.5 MB"])
def test_spam_is_marked_and_its_subject_rewritten(filtered: Gateway, make: Callable[[str], bytes]) -> None:
    subject = f"marked {make.__name__}"
    assert reply_to(filtered.port, make(subject).replace(b"Subject:", b"X-Spam: No\r\nSubject:")) == "250"
    assert mail_of(filtered, subject).fields("X-Spam") == ["Yes"]
    subject = f"rewritten {make.__name__}"
    assert reply_to(filtered.port, make(subject)) == "250"
    assert mail_of(filtered, subject).fields("Subject") == [f"*** SPAM *** {subject}"]


def test_a_large_changed_message_survives_a_crash_and_leaves_nothing(rspamd: Rspamd) -> None:
    hook = {"name": "spam", "type": "rspamd", "address": rspamd.address}
    port = free_port()
    away = {"name": "away", "recipient_domains": ["*"], "smart_hosts": [f"127.0.0.1:{port}"]}
    with Gateway(contoso(content_hook=[hook], outbound=[away])) as running:
        assert reply_to(running.port, big("lasting"), sender=ALICE, to="bob@partner.example") == "250"
        row = running.wait_trace(event="DEFER")[0]
        running.kill()
        running.start()
        (entry,) = wait_until(lambda: running.cli("queue", "list", json=True).data, "the message")
        assert entry["message"]["id"] == row["message"]
        shown = run_gatepost("--config", running.config, "queue", "show", row["message"], "--body").stdout
        assert b"X-Seen: 127.0.0.1 " in shown
        with Sink(port=port) as partner:
            running.cli("queue", "retry", row["message"])
            (received,) = partner.wait_messages(1, timeout=60)
        assert received.mail.field("X-Seen")
        assert received.mail.raw.endswith(big("lasting"))
        assert len(received.mail.raw) == row["size"]
        wait_until(lambda: not list(running.data_dir.glob("*/*/big/*")), "an empty queue")


def test_gtube_is_what_the_trial_of_an_rspamd_hook_sends(filtered: Gateway) -> None:
    told = filtered.cli("hook", "check", "spam", json=True).data
    assert [one["right"] for one in told["trials"]] == [True, True]
    assert told["trials"][1]["answer"]["symbols"] == ["GTUBE(0)"]
    assert reply_to(filtered.port, message("gtube", GTUBE.decode())) == REFUSED


def test_a_rehearsal_asks_records_and_changes_nothing(rspamd: Rspamd, clamd: Clamd) -> None:
    hooks = [
        {"name": "spam", "type": "rspamd", "address": rspamd.address, "mode": "rehearse"},
        {"name": "virus", "type": "clamav", "address": clamd.socket, "mode": "rehearse"},
        {"name": "lost", "type": "clamav", "address": f"127.0.0.1:{free_port()}", "mode": "rehearse"},
    ]
    with Gateway(contoso(content_hook=hooks)) as running:
        content = message("marked refused", EICAR.decode())
        assert reply_to(running.port, content) == "250"
        assert without_trace(mail_of(running, "marked refused").raw) == content
        (row,) = running.wait_trace(event="RECEIVE")
        records = {one["hook"]: one for one in row["detail"]["content_hooks"]}
        assert all(one["rehearsal"] for one in records.values())
        assert records["spam"]["does"] == records["virus"]["does"] == f"refuses with {REFUSED}"
        assert records["lost"]["does"] == f"refuses with {UNEXAMINED}"
        shown = running.cli("trace", "show", row["message"]).stdout
        assert "content hook" in shown
        assert "Eicar-Signature" in shown


# scanners that do not do what they should


MARKUP = b'{"action": "no action", "milter": {"add_headers": {"X-A": "b\\r\\nX-Injected: yes"}}}'
MANY = b'{"action": "no action", "milter": {"add_headers": {"X-A": [' + b",".join([b'"v"'] * 1000) + b"]}}}"

# What a scanner does, of which kind, and words of the reason that the trace has.
FAULTS: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "clamd never answers": ("clamav", silent, "no whole answer within 1 s"),
    "clamd never reads": ("clamav", deaf, "no whole answer within 1 s"),
    "clamd dies": ("clamav", dying, "without an answer"),
    "clamd hangs up": ("clamav", answering(b""), "without an answer"),
    "clamd stops in its answer": ("clamav", answering(b"stream: O"), "in the middle"),
    "clamd says something else": ("clamav", answering(b"HTTP/1.1 400 Bad\0"), "clamd answered"),
    "clamd never ends": ("clamav", answering(b"x" * 100_000), "longer than"),
    "clamd is not text": ("clamav", answering(b"stream: \xff FOUND\0"), "not UTF-8"),
    "rspamd never answers": ("rspamd", silent, "no whole answer within 1 s"),
    "rspamd never reads": ("rspamd", deaf, "no whole answer within 1 s"),
    "rspamd dies": ("rspamd", dying, "127.0.0.1"),
    "rspamd fails": ("rspamd", http(b"{}", "503 Busy"), "status 503"),
    "rspamd is not JSON": ("rspamd", http(b"<html>"), "not JSON"),
    "rspamd is not UTF-8": ("rspamd", http(b'{"action": "\xff"}'), "not JSON in UTF-8"),
    "rspamd is endless": ("rspamd", http(b"[" * 5_000_000), "larger than"),
    "rspamd is deep": ("rspamd", http(b"[" * 500_000), "not JSON"),
    "rspamd has endless fields": ("rspamd", http(b"{}", fields="X: y\r\n" * 100_000), "127.0.0.1"),
    "rspamd wants another line": ("rspamd", http(MARKUP), "X-A"),
    "rspamd wants many fields": ("rspamd", http(MANY), "more than 50"),
    "rspamd wants a Received": (
        "rspamd",
        http(b'{"action": "no action", "milter": {"add_headers": {"Received": "x"}}}'),
        "Received",
    ),
    "rspamd has an action of its own": ("rspamd", http(b'{"action": "quarantine"}'), "quarantine"),
}


@pytest.fixture(scope="module", params=["1s", "60s"])
def faulty(request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, Misbehaving]]:
    """Two organizations ask the same misbehaving scanner: contoso defers what it does not answer, fabrikam accepts.

    Whatever answers has the time that it needs on a busy machine.
    """
    with Misbehaving(silent) as scanner:
        where = f"127.0.0.1:{scanner.port}"
        hooks = [
            {"name": "clamav", "type": "clamav", "address": where, "timeout": request.param},
            {"name": "rspamd", "type": "rspamd", "address": f"http://{where}", "timeout": request.param},
        ]
        resources = contoso(content_hook=hooks)
        resources["organization"]["fabrikam"] = {
            "accepted_domain": [{"name": f"{kind}.fabrikam.example"} for kind in ("clamav", "rspamd")],
            "mailbox": [{"address": f"joe@{kind}.fabrikam.example"} for kind in ("clamav", "rspamd")],
            "content_hook": [one | {"on_failure": "accept"} for one in hooks],
        }
        with Gateway(resources) as running:
            yield running, scanner


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [("1s" if "within 1 s" in why else "60s", fault) for fault, (_, _, why) in FAULTS.items()],
    indirect=["faulty"],
)
def test_whatever_a_scanner_does_mail_is_deferred_or_accepted_as_it_was_said(
    faulty: tuple[Gateway, Misbehaving], fault: str
) -> None:
    running, scanner = faulty
    kind, behave, why = FAULTS[fault]
    scanner.behave = behave
    subject = fault.replace(" ", "-")
    sender = nobody()
    assert reply_to(running.port, big(subject, 600), sender=sender) == UNEXAMINED
    assert why in refused(running, sender)[kind]["failure"]
    assert reply_to(running.port, big(subject, 600), to=f"joe@{kind}.fabrikam.example") == "250"
    mail = mail_of(running, subject, f"joe@{kind}.fabrikam.example")
    assert without_trace(mail.raw) == big(subject, 600)
    assert b"X-Injected" not in mail.raw


def test_the_log_says_once_that_a_scanner_fails_and_once_that_it_answers_again(running: Any) -> None:
    with Misbehaving(dying) as scanner:
        hook = {"name": "av", "type": "clamav", "address": f"127.0.0.1:{scanner.port}", "timeout": "20s"}
        gateway = running.enter_context(Gateway(contoso(content_hook=[hook])))
        for number in range(3):
            assert reply_to(gateway.port, message(f"failing {number}")) == UNEXAMINED
        scanner.behave = answering(b"stream: OK\0")
        for number in range(2):
            assert reply_to(gateway.port, message(f"passing {number}")) == "250"
        wait_until(lambda: "answers again" in gateway.log(), "the good news")
        assert gateway.log().count("content hook 'av' of contoso") == 2


def test_a_slow_scanner_gets_no_more_than_its_connections_and_holds_nobody_elses_mail(running: Any) -> None:
    answer = threading.Event()

    def slow(connection: socket.socket) -> None:
        answer.wait(100)
        answering(b"stream: OK\0")(connection)

    with Misbehaving(slow) as scanner:
        hook = {"name": "av", "type": "clamav", "address": f"127.0.0.1:{scanner.port}"}
        hook |= {"timeout": "2m", "connections": 2, "direction": "inbound"}
        gateway = running.enter_context(Gateway(with_fabrikam(content_hook=[hook], inbound=[])))
        clients = [RawClient(gateway.port, timeout=90) for _ in range(6)]
        for client in clients:
            client.greet()
            client.command(f"MAIL FROM:<{STRANGER}>")
            client.command(f"RCPT TO:<{ANN}>")
            client.command("DATA")
            client.send(message("slow") + b".\r\n")
        wait_until(lambda: scanner.connections == 2, "two connections")
        assert reply_to(gateway.port, message("meanwhile"), to=JOE) == "250"
        assert scanner.connections == 2
        answer.set()
        assert [client.reply().code for client in clients] == [250] * 6
        assert scanner.connections == 6
        for client in clients:
            assert client.command("NOOP").code == 250
            client.close()


def test_who_hangs_up_meanwhile_leaves_nothing(running: Any) -> None:
    with Misbehaving(silent) as scanner:
        hook = {"name": "av", "type": "clamav", "address": f"127.0.0.1:{scanner.port}", "timeout": "5m"}
        gateway = running.enter_context(Gateway(contoso(content_hook=[hook | {"connections": 1}])))
        for number in range(3):
            client = RawClient(gateway.port)
            client.greet()
            client.command(f"MAIL FROM:<{STRANGER}>")
            client.command(f"RCPT TO:<{ANN}>")
            client.command("DATA")
            client.send(big("gone", 600) + b".\r\n")
            wait_until(lambda seen=number: scanner.connections > seen, "the question")  # the one before has ended
            client.reset()
        wait_until(lambda: not list(gateway.data_dir.glob("*/*/big/*")), "no file left")
        scanner.behave = answering(b"stream: OK\0")
        assert reply_to(gateway.port, message("next")) == "250"


# whose hooks


def test_recipients_of_organizations_with_other_hooks_need_a_message_of_their_own(running: Any) -> None:
    with Misbehaving(answering(b"stream: X FOUND\0")) as found_there:
        hook = {"name": "av", "type": "clamav", "address": f"127.0.0.1:{found_there.port}", "timeout": "20s"}
        gateway = running.enter_context(Gateway(with_fabrikam(content_hook=[hook], inbound=[])))
        with RawClient(gateway.port) as client:
            client.greet()
            client.command(f"MAIL FROM:<{STRANGER}>")
            assert client.command(f"RCPT TO:<{JOE}>").code == 250
            apart = client.command(f"RCPT TO:<{ANN}>")
            assert (apart.code, apart.enhanced) == (452, "4.5.3")
            client.command("DATA")
            client.send(message("for joe") + b".\r\n")
            assert client.reply().code == 250
        (row,) = gateway.wait_trace(event="REFUSE", recipient=ANN)
        assert "goes to other content hooks" in row["detail"]["reasons"][-1]
        assert reply_to(gateway.port, message("for ann")) == REFUSED
        explained = gateway.cli("explain", "--from", STRANGER, "--to", ANN, json=True).data
        assert [one["hook"] for one in explained["inbound"]["content_hooks"]] == ["av"]
        told = " ".join(gateway.cli("explain", "--from", STRANGER, "--to", ANN).stdout.split())
        assert "scans the message" in told
        assert found_there.connections == 1


BELIEVED = (
    b'{"action": "no action", "milter": {"add_headers": {"X-Own": "1", "Authentication-Results": '
    b'"mx.gate.example; dmarc=pass header.from=bank.example", "X-MS-Exchange-Organization-AuthAs": "Internal"}}}'
)


def test_a_tenants_scanner_puts_nothing_into_anothers_mail_that_is_believed_there(running: Any) -> None:
    with Misbehaving(http(BELIEVED)) as scanner:
        address = f"http://127.0.0.1:{scanner.port}"
        resources = with_fabrikam(content_hook=[{"name": "own", "type": "rspamd", "address": address}])
        for organization in resources["organization"].values():
            organization["authentication_results"] = "rspamd"
        gateway = running.enter_context(Gateway(resources, hostname="mx.gate.example"))
        assert reply_to(gateway.port, message("from a neighbour"), to=JOE, sender=ALICE) == "250"
        assert reply_to(gateway.port, message("our own"), to=ANN, sender=ALICE) == "250"
        theirs, own = mail_of(gateway, "from a neighbour", JOE), mail_of(gateway, "our own")
        for name in ("Authentication-Results", "X-MS-Exchange-Organization-AuthAs"):
            assert (theirs.field(name), bool(own.field(name))) == ("", True)
        assert theirs.field("X-Own") == own.field("X-Own") == "1"
        assert found(gateway, "from a neighbour")["does"] == "adds X-Own"


def test_hooks_are_resources_like_others(running: Any) -> None:
    gateway = running.enter_context(Gateway(contoso()))
    bad = gateway.cli("hook", "add", "av", "type=clamav", "address=http://127.0.0.1:1", "obey=reject", expect=2)
    assert "does not fit the type" in bad.stderr
    assert "ClamAV recommends nothing" in bad.stderr
    gateway.cli("hook", "add", "av", "type=clamav", "address=192.0.2.1", "mode=rehearse")
    (row,) = gateway.cli("hook", "list", json=True).data
    assert (row["status"], row["address"], row["on_failure"]) == ("rehearsal", "192.0.2.1:3310", "defer")
    again = gateway.cli("hook", "set", "av", "mode=enforce", "timeout=10s")
    assert "unencrypted" in again.stderr
    assert gateway.cli("hook", "show", "av", "--toml").stdout.count("10s") == 1
    gateway.cli("hook", "remove", "av")
    assert gateway.cli("hook", "list", json=True).data == []
