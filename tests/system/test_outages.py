"""Proves that what a gateway leans on may be away for an hour: nothing is lost, nothing is sent with less protection.

`make outages` lets each of them be away for MINUTES at the same time, most of them from a gateway of their own: the
resolver (ended, and silent), the authority behind it, ACME authority, revocation list, policy host, scanners, directory
and the PostgreSQL of two nodes. Meanwhile two destinations with a requirement offer no TLS, as an attacker would have
it. The short form asks every second what is wrong, and deferred mail would wait an hour for its next try.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.nodes import Nodes
from support.outages import Arrival, Said, Traffic, Watched, arrivals
from support.partners import Partner, World
from support.pebble import Pebble
from support.postgres import Postgres, sqlite_only
from support.scanners import Clamd, Rspamd
from support.scenes import ALICE, STRANGER, connector, contoso
from support.slapd import BASE, PASSWORD, READER, Slapd

from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.testing.status_server import StatusServer

MINUTES = float(os.environ.get("GATEPOST_OUTAGES", "1.5"))  # longer than the records of the zones live
SECONDS = MINUTES * 60
LONG = MINUTES > 5
LIST_LASTS = 600.0  # seconds, of the revocation list
PARTNER_FAILS = 1800.0  # seconds until the third try of what waits, which raises the alarm
PAUSE = 6.0 if LONG else 2.0
WHICH = os.environ.get("GATEPOST_OUTAGES_OF", "resolver silent authority acme services postgres").split()
# Seconds after the return in which all that waited is to have arrived: a busy machine takes up thousands slowly.
HEALED = 900.0 if LONG else 150.0
pytestmark = [pytest.mark.long, sqlite_only("two nodes on PostgreSQL are one of its cases")]

HOSTNAME = "mx1.plain.test"  # of the gateways: whether a resolver answers is asked with it
PARTNERS = {
    "dane.good.test": Partner("self", "leaf"),
    "taken.good.test": Partner("anchored", "anchor"),
    "sts.plain.test": Partner("trusted", sts="enforce 1"),
    "stolen.plain.test": Partner("trusted-second", sts="enforce 1"),
    "forced.plain.test": Partner("trusted"),
    "open.plain.test": Partner("clear"),
    HOSTNAME: Partner(zone=("mx1 A 127.0.0.1",)),
}
TURNCOATS = {"bob@taken.good.test": "anchored", "bob@stolen.plain.test": "trusted-second"}
NEED_TLS = TURNCOATS | {
    "bob@dane.good.test": "self",
    "bob@sts.plain.test": "trusted",
    "bob@forced.plain.test": "trusted",
    "bob@hard.example": "listed",
}
BY_DNS = ["dane.good.test", "taken.good.test", "sts.plain.test", "stolen.plain.test", "forced.plain.test"]
NAMES_DOWN = {
    "ready": "200 ready, but no nameserver answers",
    "health": "200 ok, but no nameserver answers",
    "metrics": 'gatepost_alarms{kind="nameservers-down",severity="critical"} 1',
    "log": "alarm: no nameserver answers, so mail to other domains waits.",
    "status": "1 critical alarm: no nameserver answers, so mail to other domains waits",
    "alarms": "kind nameservers-down",
    "page": "No nameserver answers, so mail to other domains waits",
}
DATABASE_DOWN = {
    "ready": "503 PostgreSQL cannot be reached: no mail is taken",
    "health": "200 ok, but not ready: PostgreSQL cannot be reached",
    "metrics": "gatepost_worker_seen_timestamp_seconds",
    "log": "no mail is accepted",
    "status": "PostgreSQL",
}


def hook_down(name: str) -> dict[str, str]:
    title = f"the content hook {name} gets no usable answer, and its mail is deferred"
    return {
        "ready": "a content hook gets no answer",
        "health": "a content hook gets no answer",
        "metrics": 'gatepost_alarms{kind="scanner-down",severity="critical"} 2',
        "log": f"alarm: {title}.",
        "status": title[1:],
        "alarms": title,
        "page": title[1:],
    }


RECIPIENTS_UNKNOWN = {
    "ready": "recipients of a domain cannot be looked up, as their source does not answer",
    "health": "recipients of a domain cannot be looked up, as their source does not answer",
    "metrics": 'gatepost_alarms{kind="recipients-unknown",severity="error"} 1',
    "log": "alarm: recipients of relay.example cannot be looked up, as their source does not answer.",
    "status": "ecipients of relay.example cannot be looked up, as their source does not answer",
    "alarms": "kind recipients-unknown",
    "page": "ecipients of relay.example cannot be looked up, as their source does not answer",
}
PARTNER_FAILING = {
    "metrics": 'gatepost_alarms{kind="partner-failing",severity="critical"}',
    "log": "alarm: mail to hard.example waits, as TLS does not meet the requirement",
    "status": "ail to hard.example waits",
    "alarms": "kind partner-failing",
    "page": "ail to hard.example waits",
}


@dataclass
class Outage:
    """told: what each part of `Said` must contain meanwhile. left, returned: when it went and came, healed: after."""

    traffic: Traffic
    go: Callable[[], object]
    back: Callable[[], object]
    watched: Watched
    told: dict[str, str] = field(default_factory=dict)
    said: Said | None = None
    left: float = 0.0
    returned: float = 0.0
    healed: float = 0.0

    @property
    def name(self) -> str:
        return self.traffic.name

    def due(self) -> set[str]:
        """What was taken before the return and needs nothing but it: those that attackers had wait for their time."""
        taken = list(self.traffic.acknowledged.items())
        return {one for one, at in taken if at < self.returned and self.traffic.sent[one] not in TURNCOATS}

    def heal(self, found: dict[str, list[Arrival]]) -> None:
        """Note when all that waited has arrived, and mail is taken again."""
        taken_again = any(at > self.returned for at in list(self.traffic.acknowledged.values()))
        if not self.healed and taken_again and self.due() <= set(found):
            waited = [found[one][0].at for one in self.due()]
            again = min(at for at in list(self.traffic.acknowledged.values()) if at > self.returned)
            self.healed = max(again, *waited) - self.returned


class Lab:
    """Everything there is, and the outages of it. refresh: what must be young when they begin."""

    def __init__(self, stack: ExitStack, pki: Pki, strangers: Pki, folder: Path) -> None:
        self.stack, self.pki, self.folder = stack, pki, folder
        self.world = stack.enter_context(World(PARTNERS, pki, strangers))
        self.sinks: dict[str, Sink] = dict(self.world.sinks)
        self.outages: list[Outage] = []
        self.gateways: list[Gateway] = []
        self.refresh: Callable[[], object] = lambda: None

    def arrivals(self) -> dict[str, list[Arrival]]:
        return arrivals(self.sinks, self.gateways)

    def turn(self, starttls: str) -> None:
        for kind in TURNCOATS.values():
            self.sinks[kind].behaviour = Behaviour(starttls=starttls)

    def names(self, kind: str) -> None:
        """An outage of names: the resolver ended or silent, or the authority behind it."""
        dns = self.stack.enter_context(SignedDns(self.world.zones()))
        resources = contoso(outbound=[connector("forced.plain.test", tls_settings="certificate-validation")])
        watched = self._watched(resources, dns.address)
        go, back = {
            "resolver": (dns.stop_resolver, dns.start_resolver),
            "silent": (lambda: dns.hang_resolver(hanging=True), lambda: dns.hang_resolver(hanging=False)),
            "authority": (dns.silence, dns.start_authority),
        }[kind]
        recipients = [*(f"bob@{domain}" for domain in (*BY_DNS, "open.plain.test")), "ann@contoso.example"]
        self._add(kind, watched, recipients, go, back, NAMES_DOWN)

    def acme(self) -> None:
        """The authority stands still, in the long form while a renewal is due."""
        authority = self.stack.enter_context(Pebble(self.pki, validity=round(SECONDS * 1.25) if LONG else 90 * 86400))
        key = self.folder / "master.key"
        key.touch(0o600)
        key.write_bytes(bytes(range(32)))
        settings = {"acme": authority.settings(), "store": {"master_key": f"file:{key}"}}
        watched = self._watched(contoso(), self.world.dns.address, **settings)

        def issued() -> bool:
            return "current" in watched.gateway.cli("certificate", "list", expect=None).stdout

        wait_until(issued, "a certificate", timeout=60)
        go, back = (lambda: authority.hang(hanging=True)), (lambda: authority.hang(hanging=False))
        self._add("acme", watched, ["ann@contoso.example"], go, back)

    def services(self) -> None:
        """A gateway of which everything but DNS goes away."""
        status = self.stack.enter_context(StatusServer(self.pki))
        clamd, rspamd = self.stack.enter_context(Clamd()), self.stack.enter_context(Rspamd())
        people: dict[str, tuple[str, ...]] = {f"p{number}@relay.example": () for number in range(1, 1000)}
        slapd = self.stack.enter_context(Slapd(self.pki.leaf("localhost"), people))
        listed = self._sink("listed", certificate=self.pki.leaf("mx.hard.example", crl=status.crl))
        resources = self._resources(listed, self._sink("behind"), slapd)
        for name, kind, address in (("av", "clamav", clamd.socket), ("spam", "rspamd", rspamd.address)):
            resources["organization"][f"of-{name}"] = {
                "accepted_domain": [{"name": f"{name}.example"}],
                "mailbox": [{"address": f"joe@{name}.example"}],
                "content_hook": [{"name": name, "type": kind, "address": address}],
            }
        quick = (
            {}
            if LONG
            else {"queue": {"retry": ["5s"]}, "alarms": {"look": "1s", "partner_failures": 1, "partner_failing": "0s"}}
        )
        watched = self._watched(resources, self.world.dns.address, **quick)

        def refresh() -> None:
            status.body = self.pki.crl(days=(-1, LIST_LASTS / 86400))  # the hour is longer than that

        def publish() -> None:
            status.body = None
            status.start()

        self.refresh = refresh
        policies, sts = self.world.policies, ["bob@sts.plain.test", "bob@stolen.plain.test"]
        self._add("policies", watched, sts, policies.stop, policies.start)
        told = PARTNER_FAILING if SECONDS > LIST_LASTS + PARTNER_FAILS else {}
        self._add("crl", watched, ["bob@hard.example"], status.stop, publish, told)
        self._add("clamd", watched, ["joe@av.example"], clamd.stop, clamd.start, hook_down("av"), sender=STRANGER)
        self._add(
            "rspamd", watched, ["joe@spam.example"], rspamd.stop, rspamd.start, hook_down("spam"), sender=STRANGER
        )
        new = ["p{number}@relay.example"]  # who was asked for lately stays known
        self._add("ldap", watched, new, slapd.stop, slapd.start, RECIPIENTS_UNKNOWN, sender=STRANGER)

    def postgres(self) -> None:
        server = self.stack.enter_context(Postgres(durable=True))
        nodes: list[Gateway] = []

        def start(more: dict[str, Any]) -> Gateway:
            site = self.stack.enter_context(Nodes(server, 2, first=more))
            self.sinks["site"] = site.partner
            nodes.extend(site.nodes)
            return nodes[0]

        watched = Watched(start)
        watched.log_in()
        self.gateways += nodes
        ports = [node.port for node in nodes]
        traffic = Traffic("postgres", ports, ["bob@partner.example"], sender=ALICE, pause=PAUSE)
        self.outages.append(Outage(traffic, server.stop, server.start, watched, DATABASE_DOWN))

    def _add(
        self,
        name: str,
        watched: Watched,
        recipients: list[str],
        go: Callable[[], object],
        back: Callable[[], object],
        told: dict[str, str] | None = None,
        *,
        sender: str = ALICE,
    ) -> None:
        traffic = Traffic(name, [watched.gateway.port], recipients, sender=sender, pause=PAUSE)
        self.outages.append(Outage(traffic, go, back, watched, told or {}))

    def _watched(self, resources: dict[str, Any], nameserver: str, **settings: Any) -> Watched:
        def start(more: dict[str, Any]) -> Gateway:
            base: dict[str, Any] = {"outbound": {"private_policy_hosts": True}}
            if not LONG:
                base |= {"queue": {"retry": ["1h"]}, "alarms": {"look": "1s"}}
            gateway = Gateway(
                resources,
                hostname=HOSTNAME,
                nameservers=[nameserver],
                anchors=self.pki.root,
                certificates=[self.pki.leaf(HOSTNAME)] if "acme" not in settings else [],
                settings=base | settings | more,
            )
            return self.stack.enter_context(gateway)

        made = Watched(start)
        made.log_in()
        self.gateways.append(made.gateway)
        return made

    def _sink(self, name: str, **options: Any) -> Sink:
        self.sinks[name] = made = self.stack.enter_context(Sink(**options))
        return made

    def _resources(self, listed: Sink, behind: Sink, slapd: Slapd) -> dict[str, Any]:
        password = self.folder / "password"
        password.touch(0o600)
        password.write_text(PASSWORD)
        directory = {
            "urls": [slapd.urls[0]],
            "base_dn": BASE,
            "bind_dn": READER,
            "password_file": str(password),
            "trust_anchors": str(self.pki.root),
        }
        relay = {"name": "relay.example", "type": "internal-relay", "recipient_validation": "ldap"}
        strict = {
            "tls_settings": "domain-validation",
            "tls_domain": "mx.hard.example",
            "trust_anchors": str(self.pki.root),
            "revocation_check": "hard-fail",
        }
        return contoso(
            domains=[{"name": "contoso.example"}, relay | {"recipient_directory": directory}],
            outbound=[
                connector("hard.example", listed.address, **strict),
                connector("relay.example", behind.address, connector_type="on-premises"),
            ],
        )


@pytest.fixture(scope="module")
def lab(pki: Pki, strange_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        made = Lab(stack, pki, strange_pki, tmp_path_factory.mktemp("outages"))
        for name in WHICH:
            if hasattr(made, name):
                getattr(made, name)()
            else:
                made.names(name)
        yield made


@pytest.mark.timeout(SECONDS + 2 * HEALED + 600)
def test_each_is_away_and_returns(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.refresh()
    with ExitStack() as running:
        for outage in lab.outages:
            running.enter_context(outage.traffic)
        wait_until(lambda: all(has_begun(lab, outage) for outage in lab.outages), "first mail", timeout=90)
        be_away(lab)
        end = time.monotonic() + HEALED
        while time.monotonic() < end and not all(outage.healed for outage in lab.outages):
            time.sleep(1)
            found = lab.arrivals()
            for outage in lab.outages:
                outage.heal(found)
        for outage in lab.outages:
            outage.traffic.finish()
    settle(lab)
    found = lab.arrivals()
    with capsys.disabled():
        print(f"\naway for {MINUTES:g} minutes", file=sys.stderr)
        for outage in lab.outages:
            print(account(outage, found), file=sys.stderr)
    assert [complaint for outage in lab.outages for complaint in complaints(outage, found)] == []


def has_begun(lab: Lab, outage: Outage) -> bool:
    """Whether two messages of each client have arrived."""
    places = [identity.partition("-")[0] for identity in lab.arrivals() if identity in outage.traffic.sent]
    wanted = {identity.partition("-")[0] for identity in list(outage.traffic.sent)}
    return bool(wanted) and all(places.count(place) >= 2 for place in wanted)


def be_away(lab: Lab) -> None:
    """Let everything go and come back, and ask what is said just before the return."""
    lab.turn("absent")
    for outage in lab.outages:
        outage.go()
        outage.left = time.monotonic()
    time.sleep(max(0.0, lab.outages[-1].left + SECONDS - time.monotonic()))
    said: dict[int, Said] = {}
    for outage in lab.outages:
        if id(outage.watched) not in said:
            said[id(outage.watched)] = outage.watched.says()
        outage.said = said[id(outage.watched)]
    lab.turn("offer")
    for outage in lab.outages:
        outage.back()
        outage.returned = time.monotonic()


def settle(lab: Lab) -> None:
    """What attackers had wait need not wait for its time: whether it is lost is seen sooner so."""
    wanted = {identity for outage in lab.outages for identity in outage.traffic.acknowledged}
    for gateway in lab.gateways:
        gateway.cli("queue", "retry", "--all", expect=None)
    try:
        wait_until(lambda: wanted <= set(lab.arrivals()), "all mail", timeout=HEALED)
    except FixtureError as late:
        print(late)  # what is lost is told below


def account(outage: Outage, found: dict[str, list[Arrival]]) -> str:
    """A line of the table."""
    taken = outage.traffic.acknowledged
    meanwhile = [one for one, at in taken.items() if outage.left < at < outage.returned]
    waited = [one for one in meanwhile if one in found and found[one][0].at > outage.returned]
    return (
        f"{outage.name}: {len(taken)} acknowledged, {len(set(taken) - set(found))} lost, {len(doubled(outage, found))} "
        f"doubled, {len(waited)} of {len(meanwhile)} waited, healed after {outage.healed:.1f} s, refused meanwhile "
        f"{dict(outage.traffic.refused)}"
    )


def doubled(outage: Outage, found: dict[str, list[Arrival]]) -> list[str]:
    return [one for one in outage.traffic.sent if len(found.get(one, ())) > 1]


def complaints(outage: Outage, found: dict[str, list[Arrival]]) -> Iterator[str]:
    """What was lost, came twice or below its requirement, was not said, or did not heal."""
    sent, taken = outage.traffic.sent, set(outage.traffic.acknowledged)
    if refused := set(sent) - taken:
        yield f"{outage.name}: {len(refused)} messages are still refused"
    if lost := taken - set(found):
        yield f"{outage.name}: lost {lost}"
    if twice := doubled(outage, found):
        yield f"{outage.name}: doubled {twice}"
    for identity, to in sent.items():
        came = [(arrival.place, bool(arrival.tls)) for arrival in found.get(identity, ())]
        if to in NEED_TLS and any(place != (NEED_TLS[to], True) for place in came):
            yield f"{outage.name}: {identity} to {to} came to {came}"
    for part, words in outage.told.items():
        if words not in (text := getattr(outage.said, part)):
            yield f"{outage.name}: {part} does not say {words!r}: {text[-1500:]}"
    if not outage.healed:
        yield f"{outage.name}: does not heal within {HEALED:g} s"
