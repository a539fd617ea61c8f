"""Proves what a gateway does in the bad nights of its ACME authority: Pebble, behind a server that has them for it.

Each is seen as the administrator on call sees it: by the command, the alarms, the log, and the requests that are made.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.acme_front import AcmeFront, Reply, problem
from support.gateway import Gateway
from support.pebble import Pebble, context_of
from support.scenes import contoso, send

from gatepost.pki.acme.client import Authority
from gatepost.pki.acme.issuer import authority_place
from gatepost.pki.certificates.vault import Vault
from gatepost.store.storage import Storage
from gatepost.testing.gateway import CliRun
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.times import minute_text

ANN, NAME = "ann@contoso.example", "mx1.contoso.example"
DAY = 86_400.0
MASTER = bytes(range(32))
ORDER, BUSY = "/order-plz", 3


class Night:
    """A gateway, whose clock can be put forward, and an authority that fails as it is told."""

    def __init__(self, mx: Gateway, front: AcmeFront) -> None:
        self.mx = mx
        self.front = front

    def order(self) -> dict[str, Any]:
        """Where the one certificate stands."""
        (one,) = self.mx.cli("certificate", "acme", "status", json=True, expect=None).data["certificates"]
        found: dict[str, Any] = one
        return found

    def first(self) -> str:
        """The id of the certificate that came."""
        return str(wait_until(lambda: self.order()["certificate"], self.mx.log()))

    def failed(self) -> dict[str, Any]:
        """Where it stands after a failure."""
        return wait_until(
            lambda: (one := self.order())["not_before"] and "gateway ended" not in one["error"] and one, ""
        )

    def renew(self, *, expect: int = 0) -> str:
        """What an attempt says, once the gateway itself asks nothing."""

        def attempt() -> CliRun | None:
            self.front.asked.clear()
            run = self.mx.cli("certificate", "acme", "renew", "--now", expect=None, timeout=60)
            return run if run.status != BUSY else None

        run = wait_until(attempt, self.mx.log())
        assert run.status == expect, run.stderr
        return run.stdout + run.stderr

    def refusal(self) -> str:
        """What an attempt says that fails."""
        return self.renew(expect=1)

    def alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.mx.cli("alarms", json=True, expect=None).data["alarms"]
        return found

    def alarm(self, kind: str) -> dict[str, Any]:
        return wait_until(
            lambda: next((alarm for alarm in self.alarms() if alarm["kind"] == kind), None), f"{kind}\n{self.mx.log()}"
        )


@pytest.fixture(scope="module")
def authority(pki: Pki) -> Iterator[Pebble]:
    """The one of all tests: what fails is in front of it, and each gateway has an account of its own."""
    with Pebble(pki) as started:
        yield started


@pytest.fixture
def night(
    running: ExitStack, authority: Pebble, pki: Pki, dns_server: Callable[..., DnsServer], tmp_path: Path
) -> Callable[..., Night]:
    key = tmp_path / "master.key"
    key.touch(0o600)
    key.write_bytes(MASTER)

    def make(*, answers: dict[str, Reply] | None = None) -> Night:
        leaf = pki.leaf("localhost", names=("localhost", "127.0.0.1"))
        front = running.enter_context(AcmeFront(authority, leaf))
        front.answers |= answers or {}
        names = dns_server({f"{NAME} A": ["127.0.0.1"]})
        settings = {
            "acme": front.settings(),
            "store": {"master_key": f"file:{key}"},
            "alarms": {"look": "2s"},
        }
        nameservers = [f"127.0.0.1:{names.port}"]
        mx = running.enter_context(Gateway(contoso(), nameservers=nameservers, settings=settings, clock=0.0))
        return Night(mx, front)

    return make


LIMIT = "too many new orders recently, retry after 2026-12-03 04:00:00 UTC"
REFUSALS: dict[str, tuple[Reply, Iterable[str]]] = {
    "500 without a reason": (Reply(500, (), b"<html>"), ["answers 500, and does not say why", "tries again"]),
    "500": (problem(500, "serverInternal", "Error creating new order"), ["the fault is the authority's"]),
    "429": (problem(429, "rateLimited", LIMIT, **{"Retry-After": "100000"}), [LIMIT, "waits until its limit"]),
    "deactivated": (
        problem(403, "unauthorized", 'Account is not valid, has status "deactivated"'),
        ["gatepost certificate acme forget"],
    ),
    "terms": (problem(403, "userActionRequired", "Terms have changed"), ["(userActionRequired)", "read them"]),
}


def test_a_refused_order_is_explained_and_not_repeated(night: Callable[..., Night]) -> None:
    """A renewal says what it renews, and is not ordered again without that for a reason that has nothing to do with it.

    Else each attempt would count twice against the authority's limits.
    """
    it = night()
    it.first()
    for what, (reply, texts) in REFUSALS.items():
        it.front.answers[ORDER] = reply
        said = it.refusal()
        repeated = 2 if "unauthorized" in said else 1  # that may be for the certificate which it names
        assert all(text in said for text in texts), (what, said)
        assert it.front.count(ORDER) == repeated, (what, it.front.asked)
        if what == "429":
            one = it.order()
            assert 99_900 < one["not_before"] - time.time() < 100_100
    it.front.answers[ORDER] = problem(409, "alreadyReplaced", "it was")
    it.refusal()
    assert it.front.count(ORDER) == 2


def _unaccepted(code: str, detail: str) -> Callable[[bytes], bytes]:
    """An authorization whose challenge has an error of this type."""

    def change(content: bytes) -> bytes:
        found = json.loads(content)
        if "challenges" not in found:  # of one in twenty requests Pebble refuses the nonce
            return content
        found["status"] = "invalid"
        for challenge in (one for one in found["challenges"] if one["type"] == "http-01"):
            error = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": 403}
            challenge.update(status="invalid", error=error)
        return json.dumps(found).encode()

    return change


def test_a_refused_name_is_explained_by_what_was_refused(night: Callable[..., Night]) -> None:
    it = night()
    it.first()
    for code, text in (
        ("caa", f"do the CAA records of {NAME} and of its parent domains allow this authority?"),
        ("dns", f"do the nameservers of {NAME} give everybody an address of this gateway?"),
        ("connection", f"does http://{NAME}/ lead to acme.http_address of this gateway"),
    ):
        it.front.changes["/authZ"] = _unaccepted(code, "because")
        said = it.refusal()
        assert f"{NAME} was not accepted ({code}): because; {text}" in said
        assert said.count("was not accepted") == 1
        assert ("http://" in said) == (code == "connection")


def test_an_account_that_the_authority_lost_is_made_again(night: Callable[..., Night]) -> None:
    """Nobody has to be awake: the key shows whose it is."""
    it = night()
    first = it.first()
    it.front.authority.stop()
    it.front.authority.start()  # it knows no account any more
    it.renew()
    assert it.front.count("/sign-me-up") == 1
    assert it.order()["certificate"] != first
    it.renew()
    assert it.front.count("/sign-me-up") == 0, "it is known by now"


def test_a_deactivated_account_is_replaced_as_the_gateway_says(night: Callable[..., Night]) -> None:
    """By nobody but its owner: whoever deactivated it may have had a reason."""
    it = night()
    first = it.first()
    _deactivate(it)
    said = it.refusal()
    assert "was the account deactivated? Then `gatepost certificate acme forget`, and renew at once" in said
    assert it.front.count("/sign-me-up") == 0
    it.mx.cli("certificate", "acme", "forget")
    it.renew()
    assert it.order()["certificate"] != first


def _deactivate(it: Night) -> None:
    """As whoever has the account's key may."""
    place = authority_place(it.front.url, "key")
    with closing(Storage(it.mx.store_url, it.mx.data_dir).configuration()) as store:
        sealed = store.content(place)
    assert sealed is not None
    account = it.mx.cli("certificate", "acme", "status", json=True).data["account"]
    context = context_of(it.front.authority.anchors)
    owner = Authority(it.front.url, context, Vault(MASTER).open(sealed, place), account=account, seconds=20)
    owner._client.deactivate_registration(owner._net.account)
    owner.close()


@pytest.mark.timeout(240)  # the gateway looks once a minute whether something is due
def test_a_first_certificate_that_never_comes_is_an_alarm_and_comes_by_itself(night: Callable[..., Night]) -> None:
    """Without it there is no STARTTLS, and nothing else says so: neither the queue nor the expiry of anything."""
    away = Reply(503, [("Content-Type", "text/html"), ("Retry-After", "7200")], b"<html>maintenance</html>")
    it = night(answers={"/dir": away})
    wait_until(lambda: "alarm: no certificate has been issued" in it.mx.log(), it.mx.log())
    one = it.failed()
    alarm = it.alarm("renewal-failing")
    assert (alarm["severity"], alarm["about"]) == ("error", NAME)
    assert alarm["title"] == f"no certificate has been issued for {NAME}"
    assert "Without it the gateway offers no TLS." in alarm["detail"]
    assert "answers 503, and does not say why" in alarm["detail"]
    assert f"next try is at {minute_text(one['not_before'])}" in alarm["detail"]
    assert f"no certificate has been issued for {NAME}" in it.mx.cli("status", expect=None).stdout
    asked = it.front.count("/dir")
    it.front.answers.clear()
    it.mx.jump(7300)
    wait_until(lambda: it.front.count("/dir") > asked, it.mx.log(), timeout=120)
    wait_until(lambda: it.order()["certificate"], it.mx.log())
    assert it.front.count("/dir") == asked + 1
    wait_until(lambda: f"alarm over: no certificate has been issued for {NAME}" in it.mx.log(), it.mx.log())


def test_mail_is_taken_though_another_program_has_the_port_of_acme(
    night: Callable[..., Night], running: ExitStack
) -> None:
    """As after a reboot at which a web server was first."""
    it = night()
    first = it.first()
    it.mx.stop()
    with ThreadingHTTPServer(("127.0.0.1", it.front.authority.http_port), BaseHTTPRequestHandler) as other:
        running.callback(other.shutdown)  # also if this fails
        threading.Thread(target=other.serve_forever, args=(0.02,)).start()
        it.mx.start()
        send(it.mx.port, ANN)
        it.mx.wait_maildir(ANN, 1)
        assert "certificates cannot be renewed: cannot listen on" in it.mx.log()
        assert "the gateway itself does not find the token" in it.refusal()
        assert it.front.count("/chalZ") == 0, "nothing that counts as a failed validation"
        assert "Address already in use" in it.alarm("acme-port")["detail"]
        assert "does not serve ACME challenges" in it.mx.cli("status", expect=None).stdout
        other.shutdown()
    wait_until(lambda: "certificates can be renewed again: ACME challenges are served at" in it.mx.log(), it.mx.log())
    wait_until(lambda: "acme-port" not in [alarm["kind"] for alarm in it.alarms()], "the end of the alarm")
    it.renew()
    assert it.order()["certificate"] != first
