"""Exchanges with tokens: by themselves, and as a session has them; the tokens themselves are for `test_tokens`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from gatepost.mail.inbound.login import TOKEN_MECHANISMS, LoginOutcome, Logins, TokenLogin
from gatepost.net.lookups.issuer_keys import KeysUnavailable
from gatepost.net.lookups.jwks import IssuerKey
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.store.failures import ProcessFailures
from gatepost.values import replace

ANN, JOE = "ann@contoso.example", "joe@contoso.example"
KEY, OTHER = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
RESOURCES = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }, { address = "joe@contoso.example" }]
[[organization.contoso.oauth_issuer]]
name = "idp"
issuer = "https://idp.example"
audiences = ["smtp"]
required_scopes = ["send"]
"""
HINT = {"scope": "send", "openid-configuration": "https://idp.example/.well-known/openid-configuration"}


class Keys:
    """What `IssuerKeys` says, when `come` is set, without asking anybody."""

    def __init__(self):
        self.come = asyncio.Event()
        self.come.set()
        self.away = False

    async def find(self, _issuer, _kid):
        await self.come.wait()
        return KeysUnavailable("it is away") if self.away else (IssuerKey("", "", KEY.public_key()),)


def token(key=KEY, **claims):
    now = time.time()
    known = {"iss": "https://idp.example", "aud": "smtp", "exp": now + 600, "email": ANN, "scope": "send"}
    return jwt.encode({**known, **claims}, key, "EdDSA")


def bearer(text, user=""):
    return f"n,{f'a={user}' if user else ''},\1auth=Bearer {text}\1\1".encode()


def xoauth2(text, user=ANN):
    return f"user={user}\1auth=Bearer {text}\1\1".encode()


class Scene:
    def __init__(self, gate):
        self.now = 1000.0
        self.keys = Keys()
        self.directory = gate.directory(RESOURCES)
        self.failures = ProcessFailures(lambda: self.now)

    def failures_of(self, address):
        with self.failures.counting() as lists:
            return lists.of("address").get(address, (0, 0.0))[0]

    async def step(self, message, mechanism="OAUTHBEARER"):
        login = TokenLogin(mechanism, self.directory, self.keys, self.failures, "203.0.113.9")
        answer = login.step(message)
        return answer if isinstance(answer, bytes | LoginOutcome) else await answer


@pytest.fixture
def scene(gate):
    return Scene(gate)


async def test_logging_in(scene):
    assert await scene.step(None) == b""
    for message in (bearer(token()), bearer(token(), ANN)):
        outcome = await scene.step(message)
        assert (outcome.user, outcome.reply.code, outcome.error) == (ANN, 235, b"")
    assert (await scene.step(xoauth2(token()), "XOAUTH2")).user == ANN
    assert not scene.failures_of("203.0.113.9")


async def test_refusals_tell_the_client_why(scene):
    outcome = await scene.step(bearer(token(OTHER), JOE))
    assert (outcome.user, outcome.reply.code) == ("", 535)
    assert outcome.reason.startswith(f"AUTH OAUTHBEARER as {JOE}: OAuth issuer 'idp' of contoso: ")
    assert json.loads(outcome.error) == {"status": "invalid_token", **HINT}
    outcome = await scene.step(xoauth2(token(scope="")), "XOAUTH2")
    assert json.loads(outcome.error) == {"status": "403", "schemes": "bearer", "scope": "send"}
    outcome = await scene.step(bearer(token(OTHER), "secret@elsewhere.example"))
    assert outcome.reason.startswith("AUTH OAUTHBEARER as somebody: ")
    assert json.loads(outcome.error) == {"status": "invalid_token"}


async def test_a_client_that_only_asks(scene):
    for _ in range(10):
        outcome = await scene.step(f"n,a={ANN},\1auth=\1\1".encode())
        assert json.loads(outcome.error) == {"status": "invalid_token", **HINT}
    assert not scene.failures_of("203.0.113.9")


async def test_malformed(scene):
    outcome = await scene.step(b"n,,\1auth=Basic secret\1\1")
    assert (outcome.reply.code, outcome.error) == (501, b"")
    assert "secret" not in outcome.reason


async def test_what_counts_as_guessing(scene):
    for message in (bearer(token(exp=1)), bearer(token(scope=""))):
        for _ in range(10):
            assert (await scene.step(message)).reply.code == 535
    guesses = bearer(token(OTHER)), bearer(token(), JOE), bearer(token(email=JOE + "x"))
    for number in range(26):
        assert (await scene.step(guesses[number % 3])).reply.code == 535
    outcome = await scene.step(bearer(token()))
    assert (outcome.reply.code, outcome.error) == (454, b"")
    assert outcome.reason.endswith("none is heard for 10 s")
    scene.now += 10
    assert (await scene.step(bearer(token()))).user == ANN


async def test_when_keys_are_not_to_be_had(scene):
    scene.keys.away = True
    for _ in range(10):  # an office behind one address must not have to wait for its issuer's failure
        outcome = await scene.step(bearer(token()))
    assert (outcome.reply.text, outcome.error) == (
        "454 4.7.0 Temporary authentication failure, try again later",
        b"",
    )
    assert outcome.reason.endswith("it is away")


# As a session has them


@pytest.fixture
def users(gate):
    @contextlib.asynccontextmanager
    async def opened():
        async with gate.open():
            gate.keys = Keys()
            logins = Logins({}.get, lambda: b"secret", ProcessFailures(time.monotonic), gate.keys)
            extensions = Extensions.within(gate.smtp, starttls=True, auth=TOKEN_MECHANISMS)
            directory = gate.directory(RESOURCES)
            gate.service = replace(gate.service, logins=logins, extensions=extensions, directory=directory)
            yield gate
            logins.close()

    return opened


async def secured(gate):
    client = gate.connect()
    await client.greet()
    await client.starttls()
    await client.say("EHLO client.example")
    return client


def said(message):
    return base64.b64encode(message).decode()


async def test_from_the_token_to_the_envelope(users):
    async with users() as gate:
        client = await secured(gate)
        assert await client.say("AUTH OAUTHBEARER") == "334 "
        assert await client.say(said(bearer(token()))) == "235 2.7.0 Authentication successful"
        assert (await client.envelope(ANN, JOE))[:3] == "354"


async def test_the_error_comes_first_and_is_traced_at_once(users):
    async with users() as gate:
        client = await secured(gate)
        first = await client.say(f"AUTH OAUTHBEARER {said(bearer(token(OTHER)))}")
        assert json.loads(base64.b64decode(first.split()[1]))["status"] == "invalid_token"
        assert [row.reply[:3] for row in gate.traced] == ["535"]  # a client may go without another word
        assert await client.say("AQ==") == "535 5.7.8 Authentication credentials invalid"
        await client.say(f"AUTH XOAUTH2 {said(xoauth2(token(OTHER)))}")
        assert await client.say("*") == "501 5.0.0 Authentication cancelled"
        await client.say(f"AUTH XOAUTH2 {said(xoauth2(token(OTHER)))}")
        assert (await client.say("")).startswith("421 4.7.0")
        assert [row.reply[:3] for row in gate.traced] == ["535", "535", "421"]
        assert {row.detail["reasons"][0].split(":")[0] for row in gate.traced} == {
            "AUTH OAUTHBEARER as somebody",
            f"AUTH XOAUTH2 as {ANN}",
        }


async def test_a_good_token_after_a_bad_one(users):
    async with users() as gate:
        client = await secured(gate)
        await client.say(f"AUTH OAUTHBEARER {said(bearer(token(OTHER)))}", "*")
        assert await client.say(f"AUTH OAUTHBEARER {said(bearer(token()))}") == "235 2.7.0 Authentication successful"


async def test_others_are_served_while_keys_are_fetched(users):
    async with users() as gate:
        gate.keys.come.clear()
        waiting, other = await secured(gate), await secured(gate)
        waiting.send(f"AUTH OAUTHBEARER {said(bearer(token()))}")
        assert await other.say("NOOP") == "250 2.0.0 OK"
        gate.keys.come.set()
        assert await waiting.reply() == "235 2.7.0 Authentication successful"


async def test_a_client_that_goes_while_keys_are_fetched(users):
    async with users() as gate:
        for key in (KEY, OTHER):
            gate.keys.come.clear()
            client = await secured(gate)
            client.send(f"AUTH OAUTHBEARER {said(bearer(token(key)))}")
            client.vanish()
            await gate.until(lambda: not len(gate.registry))
            gate.keys.come.set()


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_a_session_ends_at_the_first_message_after_the_token_has_expired(users, mechanism):
    async with users() as gate:
        now = time.time()
        gate.service.clock = lambda: now
        client = await secured(gate)
        text = token(exp=now + 600)
        message = bearer(text) if mechanism == "OAUTHBEARER" else xoauth2(text)
        assert (await client.say(f"AUTH {mechanism} {said(message)}")).startswith("235")
        now += 655  # the issuer's leeway is a minute
        assert await client.say(f"MAIL FROM:<{ANN}>") == "250 2.1.0 Sender OK"
        now += 10
        assert await client.say(f"RCPT TO:<{JOE}>") == "250 2.1.5 Recipient OK"
        assert await client.say("RSET", f"MAIL FROM:<{ANN}>") == "421 4.7.0 Log in again"
        await client.ends()
    (refused,) = [event for event in gate.traced if event.event == "REFUSE"]
    assert refused.detail["reasons"] == ["the log-in of the session holds no more: its token has expired"]


MORE = """
[[organization.contoso.oauth_issuer]]
name = "another"
issuer = "https://another.example"
audiences = ["smtp"]
"""
CHANGES = {
    "nothing": (RESOURCES, True),
    "another mailbox": (RESOURCES.replace("joe@", "jim@"), True),
    "other letters": (RESOURCES.replace("ann@", "Ann@"), True),
    "no mailbox": (RESOURCES.replace('{ address = "ann@contoso.example" }, ', ""), False),
    "another issuer": (RESOURCES.replace("https://idp.example", "https://other.example"), False),
    "one more issuer": (RESOURCES + MORE, True),
    "another scope": (RESOURCES.replace('"send"', '"mail"'), False),
    "another organization": (RESOURCES.replace("organization.contoso", "organization.fabrikam"), False),
}


@pytest.mark.parametrize(("resources", "holds"), CHANGES.values(), ids=CHANGES)
async def test_a_log_in_holds_while_what_it_rests_on_does(gate, scene, resources, holds):
    login = TokenLogin("OAUTHBEARER", scene.directory, scene.keys, scene.failures, "203.0.113.9")
    assert not login.holds(scene.directory)
    assert (await login.step(bearer(token()))).user == ANN
    assert login.holds(gate.directory(resources)) is holds
