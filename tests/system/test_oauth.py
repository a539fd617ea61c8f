"""Proves that users log in with tokens of their own organization's issuer, and with no others.

The issuers are HTTPS servers that sign with real keys; curl, msmtp and Python bring the tokens; then come plain octets.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.issuer import CONFIGURATION, KEYS, Issuer
from support.raw import ClosedError, RawClient, RawReply

from gatepost.testing.pki import Pki, make_key
from gatepost.testing.process import wait_until

HOST = "mx1.contoso.example"
ANN = "ann@contoso.example"
JOE = "joe@contoso.example"
FAY = "fay@fabrikam.example"
WORD = "correct horse"
MAIL = b"From: <ann@contoso.example>\r\nSubject: %s\r\n\r\nHello.\r\n"


@dataclass(frozen=True, slots=True)
class World:
    """A gateway with two organizations. mine: the issuer that contoso trusts. theirs: fabrikam's, which has EC keys."""

    gateway: Gateway
    mine: Issuer
    theirs: Issuer


def organization(domain: str, issuer: Issuer, *mailboxes: str, **fields: Any) -> dict[str, Any]:
    trusted = {"name": "idp", "issuer": issuer.url, "audiences": ["smtp"], "required_scopes": ["smtp.send"]}
    return {
        **fields,
        "accepted_domain": [{"name": domain}],
        "mailbox": [{"address": one} for one in mailboxes],
        "oauth_issuer": [trusted],
    }


@pytest.fixture(scope="module")
def world(pki: Pki) -> Iterator[World]:
    with ExitStack() as stack:
        mine = stack.enter_context(Issuer(pki.leaf("127.0.0.1")))
        theirs = stack.enter_context(Issuer(pki.leaf("127.0.0.1"), "ecdsa"))
        resources = {
            "organization": {
                "contoso": organization("contoso.example", mine, ANN, JOE),
                "fabrikam": organization("fabrikam.example", theirs, FAY, allow_basic_auth_smtp=False),
            }
        }
        gateway = Gateway(
            resources,
            certificates=[pki.leaf(HOST)],
            anchors=pki.root,
            listeners=("mx", "submission", "submissions"),
            settings={"oauth": {"private_issuers": True, "timeout": "20s"}},
        )
        for address in (ANN, FAY):
            gateway.apply(resources)
            gateway.cli("mailbox", "password", address, "--stdin", given=WORD)
        yield World(stack.enter_context(gateway), mine, theirs)


_hosts = (f"127.0.{net}.{host}" for net in itertools.count(2) for host in range(1, 255))


def _now() -> int:
    return int(time.time())


def open_session(world: World, role: str = "submissions", source: str = "") -> RawClient:
    """A session under TLS that said EHLO, from an address of its own: failures are counted by it."""
    client = RawClient(world.gateway.ports[role], source=source or next(_hosts), timeout=30)
    if role == "submissions":
        client.handshake()
        client.reply()
    else:
        client.greet()
        client.starttls()
    return client


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def bearer(token: str, user: str = "", header: str = "") -> str:
    """The initial response of OAUTHBEARER."""
    return b64(f"{header or f'n,{f"a={user}" if user else ""},'}\1host={HOST}\1port=465\1auth=Bearer {token}\1\1")


def xoauth2(token: str, user: str) -> str:
    return b64(f"user={user}\1auth=Bearer {token}\1\1")


def attempt(world: World, response: str, mechanism: str = "OAUTHBEARER", source: str = "") -> list[RawReply]:
    """All replies to one AUTH; an error gets the answer that the RFC asks for."""
    with open_session(world, source=source) as client:
        client.command("EHLO client.example")
        replies = [client.command(f"AUTH {mechanism} {response}")]
        if replies[0].code == 334:
            replies.append(client.command("AQ==" if mechanism == "OAUTHBEARER" else ""))
        return replies


def last(replies: list[RawReply]) -> int:
    return replies[-1].code


# Clients of other people


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("role", ["submission", "submissions"])
def test_curl(world: World, pki: Pki, tmp_path: Path, role: str, mechanism: str) -> None:
    need("curl")
    subject = f"curl-{role}-{mechanism}"
    (tmp_path / "mail").write_bytes(MAIL % subject.encode())
    (tmp_path / "token").write_text(f'oauth2-bearer = "{world.mine.token(ANN)}"\n')
    port = world.gateway.ports[role]
    scheme = {"submission": "smtp", "submissions": "smtps"}[role]
    command = ["curl", "-sS", "--ssl-reqd", "--cacert", pki.root, "--resolve", f"{HOST}:{port}:127.0.0.1"]
    command += ["--user", ANN, "-K", tmp_path / "token", "--login-options", f"AUTH={mechanism}"]
    command += ["--mail-from", ANN, "--mail-rcpt", JOE, "-T", tmp_path / "mail", f"{scheme}://{HOST}:{port}"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert_arrived(world, subject, mechanism)


@pytest.mark.parametrize(("mechanism", "good"), [("oauthbearer", True), ("xoauth2", True), ("oauthbearer", False)])
def test_msmtp(world: World, pki: Pki, tmp_path: Path, mechanism: str, good: bool) -> None:
    need("msmtp")
    (tmp_path / "token").write_text(world.mine.token(ANN) if good else world.theirs.token(ANN))
    command = ["msmtp", "--file=/dev/null", "--host=127.0.0.1", f"--port={world.gateway.ports['submission']}"]
    command += ["--tls=on", f"--tls-trust-file={pki.root}", f"--tls-host-override={HOST}", f"--from={ANN}"]
    command += [f"--auth={mechanism}", f"--user={ANN}", f"--passwordeval=cat {tmp_path / 'token'}"]
    subject = f"msmtp-{mechanism}"
    message = MAIL % subject.encode()
    done = subprocess.run([*command, JOE], input=message, capture_output=True, timeout=30, check=False)
    if good:
        assert done.returncode == 0, done.stderr
        assert_arrived(world, subject, mechanism.upper())
    else:
        assert done.returncode == 77, done.stderr  # EX_NOPERM
        assert b"535 5.7.8" in done.stderr


def test_python(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", world.gateway.ports["submission"], timeout=30) as client:
        client.starttls(context=context)
        client.ehlo()
        said = f"user={ANN}\1auth=Bearer {world.mine.token(ANN)}\1\1"
        assert client.auth("XOAUTH2", lambda challenge=None: said)[0] == 235
        with pytest.raises(smtplib.SMTPSenderRefused) as denied:
            client.sendmail(JOE, [ANN], MAIL % b"not hers")
        assert denied.value.smtp_error.startswith(b"5.7.60 SMTP; Client does not have permissions to send as")


def assert_arrived(world: World, subject: str, mechanism: str) -> None:
    def found() -> bool:
        return any(mail.field("subject") == subject for mail in world.gateway.maildir(JOE))

    wait_until(found, f"the message {subject}")
    rows = wait_until(
        lambda: [row["detail"] for row in world.gateway.trace(event="RECEIVE") if row["subject"] == subject],
        f"a trace row of {subject}",
    )
    assert [(one["user"], one["mechanism"]) for one in rows] == [(ANN, mechanism)]


# What is offered


def test_tokens_are_offered_over_tls_to_users_alone(world: World) -> None:
    offer = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN OAUTHBEARER XOAUTH2"
    for role in ("submission", "submissions"):
        with open_session(world, role) as client:
            assert offer in client.command("EHLO client.example").lines
    with RawClient(world.gateway.ports["submission"]) as client:
        assert not [one for one in client.greet().lines if one.startswith("AUTH")]
        reply = client.command(f"AUTH OAUTHBEARER {bearer(world.mine.token(ANN))}")
        assert reply.text.startswith("5.7.11 ")
    status = world.gateway.cli("status")
    assert "tokens of contoso (idp), fabrikam (idp)" in status.stdout


# What logs in, and what does not


GOOD: dict[str, Callable[[World], str]] = {
    "without a name": lambda world: bearer(world.mine.token(ANN)),
    "with her own": lambda world: bearer(world.mine.token(ANN), ANN.upper()),
    "a client that could bind channels": lambda world: bearer(world.mine.token(ANN), header="y,,"),
    "without typ": lambda world: bearer(world.mine.token(ANN, header={"typ": None})),
    "one audience of several": lambda world: bearer(world.mine.token(ANN, aud=["other", "smtp"])),
    "scp as a list": lambda world: bearer(world.mine.token(ANN, scope=None, scp=["smtp.send"])),
    "just expired, within the leeway": lambda world: bearer(world.mine.token(ANN, exp=_now() - 10)),
    "without kid": lambda world: bearer(world.mine.token(ANN, header={"kid": None})),
    "of another organization with its own issuer": lambda world: bearer(world.theirs.token(FAY), FAY),
    "6 KB": lambda world: bearer(world.mine.token(ANN, groups="g" * 4000)),
}


@pytest.mark.parametrize("case", list(GOOD))
def test_a_token_logs_in(world: World, case: str) -> None:
    assert [one.code for one in attempt(world, GOOD[case](world))] == [235]


BAD: dict[str, tuple[Callable[[World], str], str]] = {
    "expired": (lambda world: world.mine.token(ANN, exp=_now() - 100), "the token has expired"),
    "not yet": (lambda world: world.mine.token(ANN, nbf=_now() + 1000), "does not hold yet"),
    "without an end": (lambda world: world.mine.token(ANN, exp=None), "lacks one of exp, iss and aud"),
    "wrong audience": (lambda world: world.mine.token(ANN, aud="imap"), "is for another audience"),
    "no audience": (lambda world: world.mine.token(ANN, aud=None), "lacks one of exp, iss and aud"),
    "wrong issuer": (lambda world: world.mine.token(ANN, iss="https://evil.example"), "issuer is none that"),
    "no scope": (lambda world: world.mine.token(ANN, scope="openid"), "lacks the scope smtp.send"),
    "alg none": (lambda world: world.mine.token(ANN, header={"alg": "none"}), "no algorithm that is taken"),
    "HS256 with the public key": (
        lambda world: world.mine.token(ANN, header={"alg": "HS256"}),
        "no algorithm that is taken",
    ),
    "another key under its kid": (
        lambda world: world.mine.token(ANN, key=make_key("rsa")),
        "signature is not the issuer's",
    ),
    "a key of another kind": (
        lambda world: world.mine.token(ANN, key=make_key("ecdsa")),
        "signature is not the issuer's",
    ),
    "altered": (lambda world: world.mine.token(ANN)[:-8] + "AAAAAAAA", "signature is not the issuer's"),
    "an unknown kid": (lambda world: world.mine.token(ANN, header={"kid": "none"}), "key"),
    "of another tenant's issuer": (lambda world: world.theirs.token(ANN), "issuer is none that"),
    "another tenant's user": (lambda world: world.mine.token(FAY), "issuer is none that"),
    "another tenant's key": (
        lambda world: world.mine.token(ANN, key=world.theirs.key, header={"kid": world.theirs.kid}),
        "key",
    ),
    "no mailbox": (lambda world: world.mine.token("eve@contoso.example"), "not an address of a mailbox"),
    "an address not verified": (lambda world: world.mine.token(ANN, email_verified=False), "email_verified"),
    "no address": (lambda world: world.mine.token(ANN, email=["x"]), "issuer is none that"),
    "bound to a key": (lambda world: world.mine.token(ANN, cnf={"jkt": "x"}), "bound to a key"),
    "a logout token": (lambda world: world.mine.token(ANN, header={"typ": "logout+jwt"}), "another kind"),
    "opaque": (lambda _: "ya29.opaque", "is not a JWT"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_token_is_refused(world: World, case: str) -> None:
    make, why = BAD[case]
    replies = attempt(world, bearer(make(world)))
    if case in {"an unknown kid", "another tenant's key"}:  # 454: the issuer was asked just now, by another test
        assert last(replies) in {454, 535}
    else:
        assert [one.code for one in replies] == [334, 535]
        said = json.loads(base64.b64decode(replies[0].text))
        assert said["status"] == ("insufficient_scope" if case == "no scope" else "invalid_token")
    session = replies[-1].text.rpartition(" ")[2].removesuffix("]")
    (row,) = world.gateway.wait_trace(event="REFUSE", session=session)
    (reason,) = row["detail"]["reasons"]
    assert why in reason


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_a_session_ends_with_its_token(world: World, mechanism: str) -> None:
    expires = _now() - 53  # with the leeway of a minute, in seven seconds
    token = world.mine.token(ANN, exp=expires)
    with open_session(world) as client:
        client.command("EHLO client.example")
        assert (
            client.command(
                f"AUTH {mechanism} {bearer(token) if mechanism == 'OAUTHBEARER' else xoauth2(token, ANN)}"
            ).code
            == 235
        )
        assert client.command(f"MAIL FROM:<{ANN}>").code == 250
        time.sleep(max(0.0, expires + 60.1 - time.time()))
        for line, code in ((f"RCPT TO:<{JOE}>", 250), ("DATA", 354), ("Subject: begun before\r\n\r\nHello.\r\n.", 250)):
            assert client.command(line).code == code
        ended = client.command(f"MAIL FROM:<{ANN}>")
        assert (ended.code, ended.enhanced) == (421, "4.7.0")
        with pytest.raises(ClosedError):
            client.reply()
    ended_for = ["the log-in of the session holds no more: its token has expired"]

    def reasons() -> list[list[str]]:
        return [row["detail"]["reasons"] for row in world.gateway.wait_trace(event="REFUSE")]

    wait_until(lambda: ended_for in reasons(), "the row of the session that ended")


def test_nobody_acts_as_another(world: World) -> None:
    assert last(attempt(world, bearer(world.mine.token(ANN), JOE))) == 535
    assert last(attempt(world, xoauth2(world.mine.token(ANN), JOE), "XOAUTH2")) == 535
    assert last(attempt(world, xoauth2(world.mine.token(ANN), ANN), "XOAUTH2")) == 235


def test_the_error_says_where_to_get_a_token(world: World) -> None:
    replies = attempt(world, b64(f"n,a={ANN},\1auth=\1\1"))
    assert json.loads(base64.b64decode(replies[0].text)) == {
        "status": "invalid_token",
        "scope": "smtp.send",
        "openid-configuration": world.mine.url + CONFIGURATION,
    }
    replies = attempt(world, xoauth2(world.theirs.token(ANN), ANN), "XOAUTH2")
    assert json.loads(base64.b64decode(replies[0].text)) == {"status": "401", "schemes": "bearer", "scope": "smtp.send"}


@pytest.mark.parametrize(
    ("mechanism", "response", "code"),
    [
        ("OAUTHBEARER", "", 501),
        ("OAUTHBEARER", "!", 501),
        ("OAUTHBEARER", b64("\1"), 501),
        ("OAUTHBEARER", b64("n,,\1auth=Bearer x\1"), 501),
        ("OAUTHBEARER", b64("n,,\1auth=Basic x\1\1"), 501),
        ("OAUTHBEARER", b64("p=tls-exporter,,\1auth=Bearer x\1\1"), 501),
        ("OAUTHBEARER", b64("n,,\1auth=Bearer " + "x" * 9000 + "\1\1"), 501),
        ("OAUTHBEARER", b64("n,,\1auth=Bearer " + "x" * 12000 + "\1\1"), 500),
        ("XOAUTH2", b64(f"user={ANN}\1auth=Bearer x\1"), 501),
        ("XOAUTH2", b64(f"n,,\1user={ANN}\1auth=Bearer x\1\1"), 501),
        ("XOAUTH2", base64.b64encode(b"user=\xff\1auth=Bearer x\1\1").decode(), 501),
    ],
)
def test_malformed(world: World, mechanism: str, response: str, code: int) -> None:
    with open_session(world) as client:
        client.command("EHLO client.example")
        client.command(f"AUTH {mechanism}")
        assert client.command(response).code == code
        assert client.command("NOOP").code == 250


def test_ten_megabytes_of_base64(world: World) -> None:
    with open_session(world) as client:
        client.command("EHLO client.example")
        client.command("AUTH OAUTHBEARER")
        before = world.gateway.resident()
        for _ in range(160):
            client.send(b"QUJD" * 16_384)
        assert client.command("").code == 500
        assert client.command("NOOP").code == 250
        assert world.gateway.resident() - before < 5_000_000


def test_forgeries_are_slowed_and_expired_tokens_are_not(world: World) -> None:
    expired = bearer(world.mine.token(ANN, exp=_now() - 100))
    assert [last(attempt(world, expired, source="127.0.0.7")) for _ in range(8)] == [535] * 8
    forged = bearer(world.mine.token(ANN, key=make_key("rsa")))
    codes: list[int] = []
    while 454 not in codes and len(codes) < 12:  # a slow machine may let the first wait pass
        codes.append(last(attempt(world, forged, source="127.0.0.8")))
    assert codes[:6] == [535] * 6
    assert codes[-1] == 454
    assert last(attempt(world, bearer(world.mine.token(ANN)), source="127.0.0.7")) == 235
    assert last(attempt(world, bearer(world.mine.token(ANN)))) == 235  # her name counts for nothing


def test_an_organization_without_passwords(world: World) -> None:
    assert last(attempt(world, b64(f"\0{ANN}\0{WORD}"), "PLAIN")) == 235
    assert last(attempt(world, b64(f"\0{FAY}\0{WORD}"), "PLAIN")) == 535


# Keys


def test_a_new_key_is_fetched_when_a_token_names_it(world: World) -> None:
    world.mine.rotate()
    token = bearer(world.mine.token(ANN))
    wait_until(lambda: last(attempt(world, token)) == 235, "a log-in with the new key", timeout=40)
    asked = world.mine.requests.count(KEYS)
    assert [last(attempt(world, token)) for _ in range(5)] == [235] * 5
    assert world.mine.requests.count(KEYS) == asked


def test_the_old_keys_do_while_the_issuer_is_away_and_without_any_nobody_is_wrong(world: World) -> None:
    assert last(attempt(world, bearer(world.mine.token(ANN)))) == 235
    world.mine.stop()
    try:
        assert last(attempt(world, bearer(world.mine.token(ANN)))) == 235
        world.gateway.stop()
        world.gateway.start()
        replies = attempt(world, bearer(world.mine.token(ANN)))
        assert [one.text.partition(" [")[0] for one in replies] == [
            "4.7.0 Temporary authentication failure, try again later"
        ]
        assert last(attempt(world, bearer(world.theirs.token(FAY)))) == 235  # another issuer's absence is not hers
    finally:
        world.mine.start()
    os.kill(world.gateway.pid, signal.SIGHUP)  # or wait for half a minute
    good = bearer(world.mine.token(ANN))
    wait_until(lambda: last(attempt(world, good)) == 235, "a log-in when the issuer is back", timeout=60)


def test_no_token_is_shown(world: World) -> None:
    token = world.mine.token(ANN)
    assert last(attempt(world, bearer(token))) == 235
    refused = world.theirs.token(ANN)
    assert last(attempt(world, bearer(refused))) == 535
    shown = world.gateway.cli("export").stdout + world.gateway.cli("history").stdout
    shown += world.gateway.log() + str(world.gateway.trace())
    for one in (token, refused):
        for part in (*one.split("."), bearer(one)):
            assert part not in shown


# The commands


def test_issuer_check(world: World) -> None:
    found = world.gateway.cli("issuer", "check", "idp", "--organization", "contoso", json=True).data
    assert found == {"keys": [{"kid": world.mine.kid, "key": "RSA", "algorithm": ""}], "token": None}
    words = ("issuer", "check", "idp", "--organization", "contoso", "--token-stdin")
    good = world.gateway.cli(*words, given=world.mine.token(ANN))
    assert good.stdout.splitlines()[-1] == f"logs in {ANN}"
    bad = world.gateway.cli(*words, given=world.mine.token(ANN, aud="imap"), expect=1)
    assert "aud: imap" in bad.stdout
    assert bad.stdout.splitlines()[-1].endswith("the token is for another audience")
