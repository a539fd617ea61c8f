"""Proves that users log in and send on both submission ports with clients of other people, and nothing without TLS.

swaks, curl, msmtp (SCRAM, with and without channel binding) and Python's own; then what must not work, octet by octet.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.clients import swaks
from support.debian import need
from support.gateway import Gateway
from support.raw import ClosedError, RawClient
from support.scenes import blind_context, connector, contoso

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

HOST = "mx1.contoso.example"
ANN = "ann@contoso.example"
ALICE = "alice@contoso.example"
BOB = "bob@partner.example"
WORD = "correct horse"
BLIND = b"Bcc: secret@partner.example,\r\n more@partner.example\r\n"
NO_DATE = b"From: <ann@contoso.example>\r\n" + BLIND + b"Subject: %s\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def users(pki: Pki, partner: Sink) -> Iterator[Gateway]:
    resources = contoso(inbound=[], outbound=[connector("partner.example", partner.address)])
    roles = ("mx", "submission", "submissions")
    with Gateway(resources, certificates=[pki.leaf(HOST)], anchors=pki.root, listeners=roles) as running:
        set_password(running, ANN)
        yield running


def set_password(gateway: Gateway, address: str) -> None:
    gateway.cli("mailbox", "password", address, "--stdin", given=WORD)


def arrived(partner: Sink, subject: str) -> bytes:
    """The message of that subject as the partner got it."""
    line = f"Subject: {subject}\r\n".encode()

    def found() -> list[bytes]:
        return [one.mail.raw for one in partner.wait_messages(0) if line in one.mail.raw]

    return wait_until(found, f"the message {subject}")[0]


def received(users: Gateway, subject: str) -> list[dict[str, str]]:
    return [row["detail"] for row in users.trace(event="RECEIVE") if row["subject"] == subject]


_hosts = itertools.count(1)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(word: str = WORD, name: str = ANN) -> str:
    return base64.b64encode(f"\0{name}\0{word}".encode()).decode()


# Clients of other people


@pytest.mark.parametrize("role", ["submission", "submissions"])
def test_swaks(users: Gateway, partner: Sink, pki: Pki, role: str) -> None:
    need("swaks", "swaks-tls")
    tls = {"submission": "require", "submissions": "wrapper"}[role]
    login = ["--auth", "PLAIN", "--auth-user", ANN, "--auth-password", WORD]
    subject = f"swaks-{role}"
    message = NO_DATE % subject.encode()
    run = swaks(users.ports[role], to=BOB, sender=ANN, message=message, tls=tls, anchors=pki.root, options=login)
    assert run.ok, run.transcript
    mail = arrived(partner, subject)
    assert b"Bcc" not in mail
    assert b"secret@" not in mail
    assert b"with ESMTPSA (version=TLSv1.3" in mail
    assert mail.count(b"\r\nDate: ") == 1
    assert f"@{HOST}>\r\n".encode() in mail.partition(b"Message-ID: <")[2]


@pytest.mark.parametrize("role", ["submission", "submissions"])
def test_curl(users: Gateway, partner: Sink, pki: Pki, tmp_path: Path, role: str) -> None:
    need("curl")
    (tmp_path / "mail").write_bytes(NO_DATE % f"curl-{role}".encode())
    port = users.ports[role]
    scheme = {"submission": "smtp", "submissions": "smtps"}[role]
    command = ["curl", "-sS", "--ssl-reqd", "--cacert", pki.root, "--resolve", f"{HOST}:{port}:127.0.0.1"]
    command += ["--user", f"{ANN}:{WORD}", "--mail-from", ANN, "--mail-rcpt", BOB, "-T", tmp_path / "mail"]
    done = subprocess.run([*command, f"{scheme}://{HOST}:{port}"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Bcc" not in arrived(partner, f"curl-{role}")


@pytest.mark.parametrize(
    ("role", "mechanism", "word", "status"),
    [
        ("submission", "scram-sha-256-plus", WORD, 0),
        ("submissions", "scram-sha-256-plus", WORD, 0),
        ("submission", "plain", WORD, 0),
        ("submission", "on", WORD, 0),  # it chooses for itself
        ("submission", "scram-sha-256-plus", "wrong", 77),  # EX_NOPERM
    ],
)
def test_msmtp(  # noqa: PLR0917 - a table and its fixtures
    users: Gateway, partner: Sink, pki: Pki, role: str, mechanism: str, word: str, status: int
) -> None:
    """SCRAM without channel binding is below: where both are offered, GNU SASL itself refuses to do with less."""
    need("msmtp")
    command = ["msmtp", "--file=/dev/null", "--host=127.0.0.1", f"--port={users.ports[role]}", f"--from={ANN}"]
    command += ["--tls=on", f"--tls-starttls={'on' if role == 'submission' else 'off'}", f"--tls-trust-file={pki.root}"]
    command += [f"--tls-host-override={HOST}", f"--auth={mechanism}", f"--user={ANN}"]
    command += [f"--passwordeval=echo {word}", "--domain=client.example", BOB]
    subject = f"msmtp-{role}-{mechanism}"
    done = subprocess.run(command, input=NO_DATE % subject.encode(), capture_output=True, timeout=30, check=False)
    assert done.returncode == status, done.stderr
    if status:
        assert b"535 5.7.8" in done.stderr
        return
    arrived(partner, subject)
    rows = wait_until(lambda: received(users, subject), f"a trace row of {subject}")
    used = "PLAIN" if mechanism == "plain" else "SCRAM-SHA-256-PLUS"
    assert [(one["user"], one["mechanism"]) for one in rows] == [(ANN, used)]


def test_python(users: Gateway, pki: Pki) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.root)
    context.check_hostname = False
    with smtplib.SMTP("127.0.0.1", users.ports["submission"], timeout=20) as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(ALICE, WORD)  # no password was set
        assert refused.value.smtp_code == 535
        client.login(ANN.upper(), WORD)
        with pytest.raises(smtplib.SMTPSenderRefused) as denied:
            client.sendmail(ALICE, [BOB], NO_DATE % b"not hers")
        assert denied.value.smtp_error.startswith(b"5.7.60 SMTP; Client does not have permissions to send as")
        client.sendmail(ANN, [ALICE], NO_DATE % b"inside")
    mail = users.wait_maildir(ALICE)[0]
    assert mail.field("subject") == "inside"
    assert mail.fields("bcc") == []


@pytest.mark.parametrize(("word", "codes"), [(WORD, [334, 334, 235]), ("wrong", [334, 535])])
def test_scram_without_channel_binding(users: Gateway, word: str, codes: list[int]) -> None:
    """With the arithmetic of RFC 5802 section 3, done once more."""
    with open_session(users, "submissions") as client:
        bare = f"n={ANN},r=nonce"
        replies = [client.command(f"AUTH SCRAM-SHA-256 {b64(f'n,,{bare}')}")]
        challenge = base64.b64decode(replies[0].text).decode()
        said = dict(field.split("=", 1) for field in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", word.encode(), base64.b64decode(said["s"]), int(said["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={said['r']}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{challenge},{last}".encode(), "sha256")
        proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True))).decode()
        replies.append(client.command(b64(f"{last},p={proof}")))
        if replies[-1].code == 334:
            mine = hmac.digest(salted, b"Server Key", "sha256")
            mine = hmac.digest(mine, f"{bare},{challenge},{last}".encode(), "sha256")
            assert base64.b64decode(replies[-1].text) == b"v=" + base64.b64encode(mine)
            replies.append(client.command(""))
        assert [one.code for one in replies] == codes


# What must not work


def open_session(users: Gateway, role: str, source: str = "") -> RawClient:
    """A session under TLS that said EHLO. Each from an address of its own: failures are counted by it."""
    client = RawClient(users.ports[role], source=source or f"127.0.1.{next(_hosts)}")
    if role == "submission":
        client.greet()
        client.starttls()
    else:
        client.handshake()
        client.reply()
    client.command("EHLO client.example")
    return client


def test_nothing_without_tls(users: Gateway) -> None:
    with RawClient(users.ports["submission"]) as client:
        offers = client.greet().lines
        assert "STARTTLS" in offers
        assert not [one for one in offers if one.startswith("AUTH")]
        assert client.command(f"AUTH PLAIN {plain()}").text.startswith("5.7.11 ")
        assert client.command(f"MAIL FROM:<{ANN}>").text.startswith("5.7.0 Must issue a STARTTLS command first")
        client.starttls()
        assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN" in client.command("EHLO client.example").lines
        assert client.command(f"MAIL FROM:<{ANN}>").text.startswith("5.7.0 Authentication required")
    with RawClient(users.ports["mx"]) as client:
        client.greet()
        client.starttls()
        assert not [one for one in client.command("EHLO client.example").lines if one.startswith("AUTH")]
        assert client.command(f"AUTH PLAIN {plain()}").code == 502


@pytest.mark.parametrize("role", ["submission", "submissions"])
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["AUTH"], 501),
        (["AUTH LOGIN"], 504),
        (["AUTH PLAIN !"], 501),
        (["AUTH PLAIN AA=="], 501),
        (["AUTH PLAIN", "*"], 501),
        (["AUTH PLAIN", "=" * 20_000], 500),
        (["AUTH SCRAM-SHA-256 " + base64.b64encode(b"y,,n=a,r=c").decode()], 501),  # a downgrade
        (["AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=a,r=c").decode(), "Yz1iaXdzLHI9eA=="], 501),
        (["AUTH SCRAM-SHA-256-PLUS " + base64.b64encode(b"p=tls-unique,,n=a,r=c").decode()], 501),
        ([f"AUTH PLAIN {plain()}", f"AUTH PLAIN {plain()}"], 503),
        ([f"AUTH PLAIN {plain()}", f"MAIL FROM:<{ANN}>", f"AUTH PLAIN {plain()}"], 503),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input(users: Gateway, role: str, lines: list[str], code: int) -> None:
    with open_session(users, role) as client:
        replies = [client.command(line) for line in lines]
        assert replies[-1].code == code
        assert client.command("NOOP").code == 250


def test_ten_megabytes_of_base64(users: Gateway) -> None:
    with open_session(users, "submissions") as client:
        client.command("AUTH PLAIN")
        before = users.resident()
        for _ in range(160):
            client.send(b"QUJD" * 16_384)
        assert client.command("").code == 500
        assert client.command("NOOP").code == 250
        assert users.resident() - before < 5_000_000


def test_a_stolen_binding_does_not_match(users: Gateway) -> None:
    with open_session(users, "submission") as client:
        first = base64.b64encode(f"p=tls-exporter,,n={ANN},r=c".encode()).decode()
        challenge = base64.b64decode(client.command(f"AUTH SCRAM-SHA-256-PLUS {first}").text).decode()
        theirs = base64.b64encode(b"p=tls-exporter,," + b"x" * 32).decode()
        last = f"c={theirs},{challenge.partition(',')[0]},p=AAAA"
        reply = client.command(base64.b64encode(last.encode()))
        assert reply.text.startswith("5.7.8 Channel binding does not match")


def test_guessing_is_slowed(users: Gateway) -> None:
    replies: list[int] = []
    while 454 not in replies and len(replies) < 12:  # a slow machine may let the first wait pass
        with open_session(users, "submission", "127.0.0.7") as client:
            replies += [client.command(f"AUTH PLAIN {plain('guess', 'eve@contoso.example')}").code for _ in range(2)]
    assert replies[:6] == [535] * 6
    assert 454 in replies
    with open_session(users, "submission") as client:
        three = [client.command(f"AUTH PLAIN {plain('guess')}").code for _ in range(3)]
        assert three == [535, 535, 421]
        with pytest.raises(ClosedError):
            client.command("NOOP")


def test_no_secret_is_shown(users: Gateway) -> None:
    shown = users.cli("export").stdout + users.cli("history").stdout + users.log() + str(users.trace())
    assert "argon2" not in shown
    assert WORD not in shown
    assert plain() not in shown
    status = users.cli("status").stdout
    assert f"submissions 127.0.0.1:{users.ports['submissions']} 220 {HOST}" in status


def test_a_new_password_and_none(users: Gateway) -> None:
    users.cli("mailbox", "password", ANN, "--remove")
    with open_session(users, "submissions") as client:
        assert client.command(f"AUTH PLAIN {plain()}").code == 535
    set_password(users, ANN)
    with open_session(users, "submissions") as client:
        assert client.command(f"AUTH PLAIN {plain()}").code == 235


@pytest.mark.parametrize("what", ["another password", "no password", "no mailbox"])
def test_a_session_ends_with_the_log_in_it_is_of(pki: Pki, partner: Sink, what: str) -> None:
    """Whoever stole a password sends nothing more by a session that they keep open."""
    resources = contoso(inbound=[], outbound=[connector("partner.example", partner.address)], mailboxes=[ANN, ALICE])
    with Gateway(
        resources, certificates=[pki.leaf(HOST)], anchors=pki.root, listeners=("mx", "submissions")
    ) as running:
        set_password(running, ANN)
        with smtplib.SMTP_SSL("127.0.0.1", running.ports["submissions"], context=blind_context()) as client:
            client.login(ANN, WORD)
            client.sendmail(ANN, [BOB], NO_DATE % b"before")
            running.cli("mailbox", "password", ALICE, "--stdin", given="another word for alice")
            client.sendmail(ANN, [BOB], NO_DATE % b"still before")
            if what == "another password":
                running.cli("mailbox", "password", ANN, "--stdin", given="a new secret")
            elif what == "no password":
                running.cli("mailbox", "password", ANN, "--remove")
            else:
                running.cli("mailbox", "remove", ANN)
                time.sleep(1.5)  # the time in which resources come into force
            code, said = client.mail(ANN)
        assert (code, said[:5]) == (421, b"4.7.0")
        (refused,) = wait_until(lambda: running.trace(event="REFUSE"), "the refusal in the trace")
        assert "the log-in of the session" in refused["detail"]["reasons"][0]


def test_several_workers_give_no_more_tries_than_one(pki: Pki) -> None:
    """Each session is with the worker that takes it; one that is started again knows what was tried before."""
    roles, settings = ("mx", "submission", "submissions"), {"server": {"workers": 3}}
    with Gateway(
        contoso(inbound=[]), certificates=[pki.leaf(HOST)], anchors=pki.root, listeners=roles, settings=settings
    ) as running:
        set_password(running, ANN)

        def tried() -> int:
            with open_session(running, "submission", "127.0.0.7") as client:
                return client.command(f"AUTH PLAIN {plain('guess')}").code

        def tried_again() -> int:
            with suppress(OSError, ClosedError):
                return tried()
            return 0

        replies = [tried() for _ in range(6)]
        since = time.monotonic()
        replies += [tried() for _ in range(6)]
        before = set(running.family()) - {running.pid}
        for child in before:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not before & set(running.family()), "no worker of before")
        replies.append(wait_until(tried_again, "another worker", timeout=60))
        assert replies[:6] == [535] * 6
        if time.monotonic() - since < 10.0:  # a slow machine may let the first wait pass
            assert replies[6:] == [454] * 7
