from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import threading

import pytest

from gatepost.mail.inbound import login as module
from gatepost.mail.inbound.credentials import content_name, make_credential
from gatepost.mail.inbound.login import MECHANISMS, TOKEN_MECHANISMS, LoginOutcome, Logins, TokenLogin, mechanisms
from gatepost.net.tasks import spawn
from gatepost.store.failures import ProcessFailures, login_throttles
from gatepost.store.interface import StoreFailure

WORD = "correct horse"
BINDINGS = {"tls-exporter": b"E" * 32}


@pytest.fixture(scope="module")
def content():
    return {
        content_name("ann@contoso.example"): make_credential(WORD, "contoso", 0).encode(),
        content_name("joe@contoso.example"): make_credential(WORD, "fabrikam", 0).encode(),  # it was another's once
    }


class Scene:
    def __init__(self, content, directory):
        self.now = 1000.0
        self.directory = directory
        self.logins = Logins(content.get, lambda: b"secret", ProcessFailures(lambda: self.now), None)

    def charge_name(self, name):
        with self.logins.failures.counting() as lists:
            login_throttles(lists)[1].charge(name)

    def begin(self, mechanism, ip="203.0.113.9", bindings=BINDINGS):
        return self.logins.begin(mechanism, self.directory, ip, bindings)

    async def plain(self, name, word=WORD, authzid="", ip="203.0.113.9"):
        answer = self.begin("PLAIN", ip).step(f"{authzid}\0{name}\0{word}".encode())
        return answer if isinstance(answer, LoginOutcome) else await answer

    def scram(self, name, word=WORD, mechanism="SCRAM-SHA-256", header="n,,", binding=b""):
        login = self.begin(mechanism)
        bare = f"n={name},r=c"
        challenge = login.step(f"{header}{bare}".encode())
        if isinstance(challenge, LoginOutcome):
            return challenge
        said = dict(field.split("=", 1) for field in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", word.encode(), base64.b64decode(said["s"]), int(said["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c={base64.b64encode(header.encode() + binding).decode()},r={said['r']}"
        whole = f"{bare},{challenge.decode()},{last}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), whole, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        answer = login.step(f"{last},p={proof}".encode())
        if isinstance(answer, LoginOutcome):
            return answer
        assert answer.startswith(b"v=")
        return login.step(b"")


@pytest.fixture
def scene(content, gate):
    scene = Scene(content, gate.directory())
    yield scene
    scene.logins.close()


PLAIN = [
    ("ann@contoso.example", WORD, "", 235, "ann@contoso.example: logged in"),
    ("ANN@contoso.example", WORD, "ann@contoso.example", 235, "ann@contoso.example: logged in"),
    ("ann@contoso.example", "wrong", "", 535, "ann@contoso.example: wrong password"),
    ("ann@contoso.example", WORD, "joe@contoso.example", 535, "it may not act as another"),
    ("joe@contoso.example", WORD, "", 535, "no password is set or may be used"),
    ("eve@contoso.example", WORD, "", 535, "as somebody: no mailbox has that name"),
]


@pytest.mark.parametrize(("name", "word", "authzid", "code", "reason"), PLAIN)
async def test_plain(scene, name, word, authzid, code, reason):
    outcome = await scene.plain(name, word, authzid)
    assert outcome.reply.code == code
    assert outcome.user == ("ann@contoso.example" if code == 235 else "")
    assert outcome.reason.startswith("AUTH PLAIN as ")
    assert reason in outcome.reason


async def test_both_mechanisms_begin_with_the_client(scene):
    assert scene.begin("PLAIN").step(None) == scene.begin("SCRAM-SHA-256").step(None) == b""


SCRAM = [
    ("ann@contoso.example", WORD, "SCRAM-SHA-256", "n,,", b"", 235, "ann@contoso.example: logged in"),
    ("ann@contoso.example", WORD, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", b"E" * 32, 235, "logged in"),
    ("ann@contoso.example", "wrong", "SCRAM-SHA-256", "n,,", b"", 535, "wrong password"),
    ("joe@contoso.example", WORD, "SCRAM-SHA-256", "n,,", b"", 535, "no password is set"),
    ("eve@contoso.example", WORD, "SCRAM-SHA-256", "n,,", b"", 535, "no mailbox has that name"),
    (
        "ann@contoso.example",
        WORD,
        "SCRAM-SHA-256-PLUS",
        "p=tls-exporter,,",
        b"F" * 32,
        535,
        "an attacker may be in between",
    ),
    ("ann@contoso.example", WORD, "SCRAM-SHA-256", "y,,", b"", 501, "a downgrade"),
    ("=", WORD, "SCRAM-SHA-256", "n,,", b"", 501, "malformed"),
]


@pytest.mark.parametrize("case", SCRAM)
async def test_scram(scene, case):
    name, word, mechanism, header, binding, code, reason = case
    outcome = scene.scram(name, word, mechanism, header, binding)
    assert outcome.reply.code == code
    assert reason in outcome.reason
    assert outcome.user == ("ann@contoso.example" if code == 235 else "")


async def test_nobody_learns_whether_a_name_exists(scene):
    replies = {(await scene.plain(name, "wrong")).reply for name in ("ann@contoso.example", "eve@contoso.example")}
    assert len(replies) == 1
    for name in ("ann@contoso.example", "eve@contoso.example"):
        first = [scene.begin("SCRAM-SHA-256").step(f"n,,n={one},r=c".encode()) for one in (name, name.upper())]
        salts = {one.split(b",s=")[1] for one in first}
        assert len(salts) == 1
        assert first[0].endswith(b",i=4096")


@pytest.mark.parametrize("message", [b"", b"ann", b"\0ann@contoso.example\0", b"\xff\0\xff\0\xff"])
async def test_malformed_plain(scene, message):
    assert scene.begin("PLAIN").step(message).reply.text.startswith("501 5.5.2")


async def test_guessing_is_slowed(scene):
    for _ in range(6):
        assert (await scene.plain("eve@contoso.example", "guess")).reply.code == 535
    outcome = await scene.plain("ann@contoso.example")
    assert outcome.reply.text.startswith("454 4.7.0")
    assert outcome.reason.endswith("none is heard for 10 s")
    assert (await scene.plain("ann@contoso.example", ip="203.0.113.10")).reply.code == 235
    assert scene.scram("ann@contoso.example").reply.code == 454
    scene.now += 10
    assert (await scene.plain("ann@contoso.example")).reply.code == 235


async def test_a_name_is_slowed_from_wherever_it_is_tried(scene):
    for number in range(21):
        assert (await scene.plain("ann@contoso.example", "guess", ip=f"203.0.113.{number}")).reply.code == 535
    assert (await scene.plain("Ann@contoso.example", ip="203.0.113.99")).reply.code == 454
    scene.now += 60  # no longer: its owner must not be locked out
    assert (await scene.plain("Ann@contoso.example", ip="203.0.113.99")).reply.code == 235
    assert (await scene.plain("Ann@contoso.example", "guess", ip="203.0.113.99")).reply.code == 535


async def test_strangers_do_not_lock_out_who_logs_in_from_the_usual_place(scene):
    home = "192.0.2.7"
    assert (await scene.plain("ann@contoso.example", ip=home)).reply.code == 235
    for _ in range(25):  # guesses, once a minute from ever new places
        scene.now += 60
        scene.charge_name("ann@contoso.example")
    assert (await scene.plain("Ann@contoso.example", ip="203.0.114.1")).reply.code == 454
    assert (await scene.plain("Ann@contoso.example", ip=home)).reply.code == 235
    # That forgives no stranger's guesses, and from there they are not free for ever.
    assert (await scene.plain("ann@contoso.example", ip="203.0.114.2")).reply.code == 454
    for _ in range(26):
        assert (await scene.plain("ann@contoso.example", "guess", ip=home)).reply.code == 535
    assert (await scene.plain("ann@contoso.example", ip=home)).reply.code == 454


async def test_many_may_log_in_at_a_time_from_the_usual_place(scene):
    home = "192.0.2.7"
    assert (await scene.plain("ann@contoso.example", ip=home)).reply.code == 235
    outcomes = await asyncio.gather(*(scene.plain("ann@contoso.example", ip=home) for _ in range(25)))
    assert {outcome.reply.code for outcome in outcomes} == {235}


async def test_where_failures_cannot_be_counted_nobody_may_guess(scene, monkeypatch):
    def away():
        raise StoreFailure("failed log-ins cannot be counted")

    monkeypatch.setattr(scene.logins.failures, "counting", away)
    outcome = await scene.plain("ann@contoso.example")
    assert (outcome.user, outcome.reply.code) == ("", 454)
    assert outcome.reason.endswith("failed log-ins cannot be counted")


async def test_a_name_logs_in_from_one_usual_place(scene):
    for home in ("192.0.2.7", "192.0.2.8"):
        assert (await scene.plain("ann@contoso.example", ip=home)).reply.code == 235
    for _ in range(21):
        scene.charge_name("ann@contoso.example")
    codes = [(await scene.plain("ann@contoso.example", ip=home)).reply.code for home in ("192.0.2.7", "192.0.2.8")]
    assert codes == [454, 235]


SEPARATOR = '[organization.contoso]\nsubaddress_separator = "+"\n'


@pytest.fixture
def subaddressed(scene, gate):
    scene.directory = gate.directory(gate.resources.replace("[organization.contoso]\n", SEPARATOR))
    return scene


async def test_a_name_with_something_behind_a_separator_counts_as_the_name(subaddressed):
    assert (await subaddressed.plain("ann+x@contoso.example")).reply.code == 235
    for _ in range(20):
        subaddressed.charge_name("ann@contoso.example")
    assert (await subaddressed.plain('"ann+y"@CONTOSO.example', "guess", ip="203.0.114.1")).reply.code == 535
    assert (await subaddressed.plain("ann+new@contoso.example", ip="203.0.114.2")).reply.code == 454


@pytest.mark.parametrize("who", ["ann", "joe", "eve"])
async def test_no_salt_tells_that_a_name_exists(subaddressed, who):
    challenges = [
        subaddressed.begin("SCRAM-SHA-256").step(f"n,,n={who}{tag}@contoso.example,r=c".encode())
        for tag in ("", "+a", "+b")
    ]
    assert len({challenge.split(b",s=")[1] for challenge in challenges}) == 1


async def test_too_many_at_a_time_are_told_to_come_back(scene):
    free = threading.Event()
    for _ in range(2):
        scene.logins._threads.submit(free.wait)
    waiting = [spawn(scene.plain("ann@contoso.example", ip=f"203.0.113.{n}"), "test") for n in range(64)]
    try:
        await asyncio.sleep(0)
        assert (await scene.plain("ann@contoso.example", ip="203.0.114.1")).reply.code == 454
    finally:
        for one in waiting:
            one.cancel()
        free.set()
        await asyncio.gather(*waiting, return_exceptions=True)


ISSUER = """
[[organization.contoso.oauth_issuer]]
name = "idp"
issuer = "https://idp.example"
audiences = ["smtp"]
"""
NO_PASSWORDS = "allow_basic_auth_smtp = false"


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("", MECHANISMS),
        ("[organization.contoso]", MECHANISMS),
        (ISSUER, MECHANISMS + TOKEN_MECHANISMS),
        (f"[organization.contoso]\n{NO_PASSWORDS}{ISSUER}", TOKEN_MECHANISMS),
        (f"[organization.contoso]\n{NO_PASSWORDS}{ISSUER}[organization.b]", MECHANISMS + TOKEN_MECHANISMS),
        (f"[organization.contoso]\n{NO_PASSWORDS}", MECHANISMS),  # never nothing
    ],
)
def test_what_is_offered(directory, text, offered):
    assert mechanisms(directory(text)) == offered


def test_tokens_are_taken_by_another_exchange(scene):
    for mechanism in TOKEN_MECHANISMS:
        login = scene.begin(mechanism)
        assert isinstance(login, TokenLogin)
        assert login.mechanism == mechanism


async def test_an_organization_without_passwords(scene, directory):
    scene.directory = directory(
        f"[organization.contoso]\n{NO_PASSWORDS}\naccepted_domain = [{{ name = 'contoso.example' }}]\n"
        "mailbox = [{ address = 'ann@contoso.example' }]"
    )
    outcome = await scene.plain("ann@contoso.example")
    assert outcome.reply.code == 535
    assert "no password is set or may be used" in outcome.reason
    assert scene.scram("ann@contoso.example").reply.code == 535


def test_who_is_told_to_come_back_as_others_wait_has_not_failed(scene, monkeypatch):
    """Else a flood of log-ins would lock everybody out for as long as if they had guessed passwords."""

    async def main():
        with monkeypatch.context() as crowded:
            crowded.setattr(module, "_WAITING", 0)
            for _ in range(30):
                assert (await scene.plain("ann@contoso.example")).reply is module.BUSY
        assert (await scene.plain("ann@contoso.example", "wrong")).reply.code == 535
        assert (await scene.plain("ann@contoso.example")).user == "ann@contoso.example"

    asyncio.run(main())
