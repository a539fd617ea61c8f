"""Proves what is known of a domain's MTA-STS policy, with a real name server and a real HTTPS server.

Each `Worker` is a process of its own, so that what outlives a restart is shown by one. It shares nothing with the next
but the folder of the cache.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from support.policy_host import PATH, PolicyHost
from support.process import Script

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki

DOMAIN = "partner.example"
NAME = f"mta-sts.{DOMAIN}"
DAY = 86_400

# Reads "find SECONDS" or "refresh SECONDS" (from now), writes what is known then, a line each.
WORKER = """
import asyncio, json, sys, time
from pathlib import Path
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsPolicies
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.anchors import TrustAnchors

nameserver, anchors, port, folder, domain, patience = sys.argv[1:]

def shown(state):
    failure = state.failure
    return {
        "mode": state.policy.mode if state.policy else None,
        "hosts": [host for host in ("mx.partner.example", "a.b.partner.example") if state.policy.matches(host)]
        if state.policy else [],
        "id": state.id, "origin": state.origin, "life": state.expires - state.fetched,
        "failure": failure.result_type if failure else None, "detail": failure.detail if failure else "",
    }

async def main():
    resolver = Resolver(Nameservers([nameserver], timeout=float(patience), attempts=1))
    client = HttpClient(resolver, https_context(TrustAnchors.load(anchors)))
    hosts = PolicyHosts(timeout=20, private=True, port=int(port))
    policies = StsPolicies(resolver, client, Path(folder), hosts=hosts)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, seconds = line.split()
        now = time.time() + float(seconds)
        if what == "find":
            found = shown(await policies.find(domain, now=now, recheck=True))
        else:
            found = [shown(one) for one in await policies.refresh_due(now=now)]
        print(json.dumps(found), flush=True)
    await policies.close()

asyncio.run(main())
"""


class Worker:
    """A process that looks policies up."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> Self:
        self._script = Script(WORKER, *self._arguments)
        self._end = threading.Timer(50, self._script.kill)
        self._end.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            assert self._script.close() == 0
        finally:
            self._script.kill()
            self._end.cancel()

    def ask(self, what: str, seconds: float = 0) -> Any:
        return json.loads(self._script.ask(f"{what} {seconds}"))


class Partner:
    """A domain that publishes a policy, with everything that can happen to it."""

    def __init__(self, dns: DnsServer, host: PolicyHost, pki: Pki, folder: Path) -> None:
        self.dns = dns
        self.host = host
        self.patience = 15.0  # seconds for an answer of the nameserver
        self._arguments = (dns.address, str(pki.root), str(host.port), str(folder), DOMAIN)

    def publish(self, record_id: str, mode: str = "enforce", max_age: int = 604_800) -> None:
        self.host.body = f"version: STSv1\nmode: {mode}\nmx: *.partner.example\nmax_age: {max_age}\n".encode()
        self.dns.set(f"_mta-sts.{DOMAIN} TXT", f'"v=STSv1; id={record_id};"')

    def worker(self) -> Worker:
        return Worker(*self._arguments, str(self.patience))

    def find(self, seconds: float = 0) -> Any:
        """What a worker that was just started knows."""
        with self.worker() as worker:
            return worker.ask("find", seconds)


@pytest.fixture
def ttl() -> int:
    """Seconds for which answers may be kept."""
    return 0


@pytest.fixture
def partner(
    dns_server: Callable[..., DnsServer], running: ExitStack, pki: Pki, tmp_path: Path, ttl: int
) -> Iterator[Partner]:
    dns = dns_server({f"{NAME} A": ["127.0.0.1"], f"{DOMAIN} MX": ["10 mx.partner.example."]}, ttl=ttl)
    host = running.enter_context(PolicyHost(pki.leaf(NAME), b""))
    partner = Partner(dns, host, pki, tmp_path / "cache" / "mta-sts")
    partner.publish("1")
    return partner


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_what_a_domain_publishes(partner: Partner, mode: str) -> None:
    partner.publish("20261124T1200", mode)
    assert partner.find() == {
        "mode": mode,
        "hosts": ["mx.partner.example"],
        "id": "20261124T1200",
        "origin": "fetched",
        "life": 604_800,
        "failure": None,
        "detail": "",
    }
    assert partner.host.requests == [f"GET {PATH}"]
    assert partner.find()["origin"] == "cache", "the next process reads what the first has fetched"
    assert len(partner.host.requests) == 1


def ten_megabytes(partner: Partner, _: Pki) -> None:
    partner.host.body = b"mx: a.example\n" * 750_000


def redirection(partner: Partner, _: Pki) -> None:
    partner.host.status = 302
    partner.host.headers["Location"] = f"https://{NAME}:{partner.host.port}/elsewhere"


def html(partner: Partner, _: Pki) -> None:
    partner.host.headers["Content-Type"] = "text/html"


def nul_bytes(partner: Partner, _: Pki) -> None:
    partner.host.body += b"\x00" * 100


DEFECTS: dict[str, tuple[Callable[[Partner, Pki], None], str, str]] = {
    "policy of 10 MB": (ten_megabytes, "sts-policy-fetch-error", "larger than 65536 bytes"),
    "redirection": (redirection, "sts-policy-fetch-error", "which is not followed"),
    "html": (html, "sts-policy-fetch-error", "not text/plain"),
    "NUL bytes": (nul_bytes, "sts-policy-invalid", "control character"),
    "wrong name": (
        lambda partner, pki: partner.host.present(pki.leaf("www.partner.example")),
        "sts-webpki-invalid",
        "Hostname mismatch",
    ),
    "expired": (lambda partner, pki: partner.host.present(pki.expired(NAME)), "sts-webpki-invalid", "expired"),
    "self-signed": (
        lambda partner, pki: partner.host.present(pki.self_signed(NAME)),
        "sts-webpki-invalid",
        "self-signed",
    ),
    "down": (lambda partner, _: partner.host.stop(), "sts-policy-fetch-error", "127.0.0.1 port"),
    "no address": (lambda partner, _: partner.dns.set(f"{NAME} A"), "sts-policy-fetch-error", "has no address"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_leaves_no_policy_but_never_takes_one_away(partner: Partner, pki: Pki, name: str) -> None:
    """First without anything kept, then, after a policy was kept and another id was published, with it."""
    spoil, kind, words = DEFECTS[name]
    good, headers = partner.host.certificate, dict(partner.host.headers)
    spoil(partner, pki)
    found = partner.find()
    assert (found["mode"], found["failure"]) == (None, kind)
    assert words in found["detail"]
    partner.host.status, partner.host.headers = 200, headers
    partner.host.present(good)
    partner.dns.set(f"{NAME} A", "127.0.0.1")
    partner.publish("2")
    assert partner.find()["origin"] == "fetched"
    partner.publish("3", "none")
    spoil(partner, pki)
    found = partner.find()
    assert (found["mode"], found["id"], found["origin"], found["failure"]) == ("enforce", "2", "cache", kind)


def test_https_down_until_the_policy_expires(partner: Partner) -> None:
    assert partner.find()["mode"] == "enforce"
    partner.host.stop()
    assert partner.find(6 * DAY)["mode"] == "enforce"
    found = partner.find(8 * DAY)
    assert (found["mode"], found["failure"]) == (None, "sts-policy-fetch-error")


@pytest.mark.parametrize("failure", ["SERVFAIL", "TIMEOUT", "NXDOMAIN"])
def test_dns_down_with_and_without_a_kept_policy(partner: Partner, failure: str) -> None:
    def disturb() -> None:
        if failure == "NXDOMAIN":
            partner.dns.set(f"_mta-sts.{DOMAIN} TXT")
        else:
            partner.dns.failures[f"_mta-sts.{DOMAIN} TXT"] = failure

    def look(seconds: float = 0) -> Any:
        """Without waiting long where nothing is said."""
        partner.patience = 1.0 if failure == "TIMEOUT" else 15.0
        found, partner.patience = partner.find(seconds), 15.0
        return found

    said = None if failure == "NXDOMAIN" else "sts-policy-fetch-error"
    disturb()
    found = look()
    assert (found["mode"], found["failure"]) == (None, said)
    partner.dns.failures.clear()
    partner.publish("1")
    partner.find()
    disturb()
    found = look(DAY)
    assert (found["mode"], found["failure"]) == ("enforce", said)


def test_another_id_takes_effect_in_a_process_that_runs(partner: Partner) -> None:
    with partner.worker() as worker:
        assert worker.ask("find")["mode"] == "enforce"
        partner.publish("2", "testing")
        found = worker.ask("find")
        assert (found["mode"], found["id"], found["origin"]) == ("testing", "2", "fetched")
        assert worker.ask("find")["origin"] == "cache"
    assert len(partner.host.requests) == 2


@pytest.mark.parametrize("ttl", [3600])
def test_another_id_takes_effect_though_the_old_one_may_be_kept(partner: Partner) -> None:
    """As is due where the policy at hand allows no host: what we remember of the DNS is not asked (section 5.1)."""
    with partner.worker() as worker:
        assert worker.ask("find")["mode"] == "enforce"
        partner.publish("2", "testing")
        found = worker.ask("find")
    assert (found["mode"], found["id"], found["origin"]) == ("testing", "2", "fetched")


def test_another_policy_takes_effect_while_the_resolver_says_the_old_id(partner: Partner) -> None:
    """It may, for as long as the record lives: the policy host is asked itself, though at most every 5 minutes."""
    with partner.worker() as worker:
        assert worker.ask("find")["mode"] == "enforce"
        partner.publish("1", "testing")
        assert worker.ask("find", 200)["mode"] == "enforce"
        assert len(partner.host.requests) == 1
        found = worker.ask("find", 301)
        assert (found["mode"], found["id"], found["origin"]) == ("testing", "1", "fetched")
        partner.host.stop()
        found = worker.ask("find", 700)
        assert (found["mode"], found["failure"]) == ("testing", None), "what holds is not given up for that"


def test_a_refresh_lengthens_the_life_of_a_policy(partner: Partner) -> None:
    partner.find()
    with partner.worker() as worker:
        assert worker.ask("refresh") == []
        assert [one["origin"] for one in worker.ask("refresh", 2 * DAY)] == ["fetched"]
    partner.host.stop()
    with partner.worker() as worker:
        (failed,) = worker.ask("refresh", 4 * DAY)
        assert (failed["mode"], failed["failure"]) == ("enforce", "sts-policy-fetch-error")
    assert partner.find(8 * DAY)["mode"] == "enforce", "it was to end after 7 days"
    assert partner.find(10 * DAY)["mode"] is None
