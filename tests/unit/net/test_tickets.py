"""Sessions of clients over several workers: each is a `ServerSessions`, and all have the secrets of the day."""

from __future__ import annotations

import pytest

from gatepost.net import openssl_tickets
from gatepost.net.engine import client_context, server_context
from gatepost.net.sessions import MAX_AGE
from gatepost.net.tickets import DAY, ServerSessions
from gatepost.protocols.tls.profile import PROFILES
from gatepost.values import replace

DEFAULT = PROFILES["default"]
VERSIONS = pytest.mark.parametrize(
    "profile", [replace(DEFAULT, max_version="TLSv1.2"), PROFILES["modern"]], ids=["1.2", "1.3"]
)
NAME = "mx.a.example"
NOON = 20000.5 * DAY


class Site:
    """What workers have in common: the time, and the secrets of days."""

    def __init__(self):
        self.now = NOON
        self.secrets = {day: bytes([day % 256]) * 32 for day in range(19990, 20010)}

    def secret(self, day):
        return self.secrets.get(day)

    def worker(self, purpose="mail"):
        return ServerSessions(purpose, self, lambda: self.now)


class Client:
    """Offers the session of its last connection. name: of what to offer, where it connects to several names."""

    def __init__(self, shake, profile, certificate=None, name=NAME):
        self.context = client_context(profile, identity=certificate.identity() if certificate else None)
        self.context.sessions.clock = lambda: 0.0  # the client would resume for ever
        self.shake = shake
        self.name = name

    def connect(self, server, name="", has_by_now=None):
        """What the server found. has_by_now: a certificate that the client did not have before."""
        engine = self.context.engine(server_name=name or self.name, session_key="")
        kept = self.context.sessions.find(("k", ""))
        engine._key = ("k", "")
        if kept:
            engine._connection.set_session(kept.session)
        if has_by_now:
            engine._connection.use_certificate(has_by_now.certificate)
            engine._connection.use_privatekey(has_by_now.key)
        ours, theirs = self.shake(engine, server.engine())
        assert ours.feed(theirs.send(b"250 ok\r\n")) == b"250 ok\r\n"
        theirs.feed(ours.shutdown())
        ours.feed(theirs.shutdown())
        ours.release()
        theirs.release()
        assert ours.facts.resumed is theirs.facts.resumed
        return theirs.facts


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def mx(pki):
    return pki.leaf(NAME)


def serving(sessions, *leaves, profile=DEFAULT, ask=True):
    return server_context([leaf.identity() for leaf in leaves], profile, ask_client_certificate=ask, sessions=sessions)


@VERSIONS
def test_a_session_goes_from_worker_to_worker(shake, site, mx, profile):
    workers = [serving(site.worker(), mx) for _ in range(3)]
    client = Client(shake, profile)
    assert [client.connect(workers[number % 3]).resumed for number in range(10)] == [False] + [True] * 9


@VERSIONS
def test_a_session_outlives_the_certificate(shake, site, pki, mx, profile):
    worker = site.worker()
    client = Client(shake, profile)
    client.connect(serving(worker, mx))
    found = client.connect(serving(worker, pki.leaf(NAME, key="rsa2048")))
    assert found.resumed
    assert client.connect(serving(site.worker(), pki.leaf("mx2.a.example"), mx)).resumed


@VERSIONS
@pytest.mark.parametrize(
    "names", [(NAME, "b.example"), ("b.example", NAME), ("b.example", "b.example"), (NAME, "none.example")]
)
def test_names_of_one_listener_share_its_rule(shake, site, pki, mx, profile, names):
    workers = [serving(site.worker(), mx, pki.leaf("b.example")) for _ in range(2)]
    client = Client(shake, profile)
    found = [client.connect(worker, name) for worker, name in zip(workers, names, strict=True)]
    assert [one.resumed for one in found] == [False, True]


@VERSIONS
@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "internal"},
        {"ask": False},
        {"profile": PROFILES["compatible"]},
        {"profile": replace(DEFAULT, signature_algorithms="ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256")},
    ],
    ids=["purpose", "client certificates", "profile", "one list of it"],
)
def test_no_session_goes_from_rule_to_rule(shake, site, pki, mx, profile, change):
    """With a client certificate, which the one rule asks for and the other does not: nobody is identified by it."""
    purpose = change.get("purpose", "mail")
    rest = {name: value for name, value in change.items() if name != "purpose"}
    one, other = serving(site.worker(), mx), serving(site.worker(purpose), mx, **rest)
    certificate = pki.self_signed("partner.example")
    for first, second in ((one, other), (other, one)):
        client = Client(shake, profile, certificate)
        client.connect(first)
        found = client.connect(second)
        assert not found.resumed
        assert found.peer_chain == (certificate.chain if second is one or rest.get("ask", True) else ())


@VERSIONS
def test_a_session_without_a_certificate_stays_without_one(shake, site, pki, mx, profile):
    workers = [serving(site.worker(), mx) for _ in range(2)]
    client = Client(shake, profile)
    client.connect(workers[0])
    leaf = pki.self_signed("partner.example")
    found = client.connect(workers[1], has_by_now=leaf)
    assert (found.resumed, found.peer_chain) == (True, ())
    assert Client(shake, profile, leaf).connect(workers[1]).peer_chain == leaf.chain


@VERSIONS
def test_a_certificate_alone_goes_from_worker_to_worker(shake, site, pki, mx, profile):
    certificate = pki.self_signed("partner.example")
    client = Client(shake, profile, certificate)
    found = [client.connect(serving(site.worker(), mx)) for _ in range(3)]
    assert [one.resumed for one in found] == [False, True, True]
    assert {one.peer_chain for one in found} == {certificate.chain}


@VERSIONS
def test_a_chain_is_the_same_in_every_session_as_only_its_worker_resumes_it(shake, site, pki, mx, profile):
    """Else another worker would see a certificate that leads to no authority, and refuse a known partner."""
    first, second = site.worker(), site.worker()
    partner = pki.leaf("partner.example")
    client = Client(shake, profile, partner)
    found = [client.connect(serving(worker, mx)) for worker in (first, first, second, second, first)]
    assert [one.resumed for one in found] == [False, True, False, True, False]
    assert {one.peer_chain for one in found} == {partner.chain}


@VERSIONS
def test_who_presents_a_chain_changes_nothing_for_others(shake, site, pki, mx, profile):
    workers = [serving(site.worker(), mx) for _ in range(2)]
    partner, stranger = Client(shake, profile, pki.leaf("partner.example")), Client(shake, profile)
    found = []
    for number in range(6):
        partner.connect(workers[0])
        found.append(stranger.connect(workers[number % 2]).resumed)
    assert found == [False] + [True] * 5


@VERSIONS
def test_handshakes_beside_each_other_each_have_their_keys(pki, site, mx, profile):
    """Byte by byte: a step of the one comes between any two of the other."""
    workers = [serving(site.worker(), mx) for _ in range(2)]
    contexts = [client_context(profile, identity=pki.leaf("partner.example").identity()), client_context(profile)]

    def connected(server):
        pairs = [(context.engine(session_key="k"), server.engine()) for context in contexts]
        for ours, _ in pairs:
            ours.start()
        queues = {}
        for _ in range(20000):
            for pair in pairs:
                for one, other in (pair, pair[::-1]):
                    waiting = queues[one] = queues.get(one, b"") + one.take_output()
                    if waiting:
                        other.feed(waiting[:1])
                        queues[one] = waiting[1:]
            if all(one.facts for pair in pairs for one in pair) and not any(queues.values()):
                break
        for ours, theirs in pairs:
            ours.feed(theirs.send(b"250 ok\r\n"))
            theirs.feed(ours.shutdown())
            ours.release()
            theirs.release()
        return [theirs.facts.resumed for _, theirs in pairs]

    assert [connected(workers[number]) for number in (0, 0, 1, 1, 0)] == [
        [False, False], [True, True], [False, True], [True, True], [False, True],
    ]  # fmt: skip


@VERSIONS
def test_a_period_ends_for_all_at_once(shake, site, pki, mx, profile):
    site.now = NOON + 10 * MAX_AGE
    workers = [serving(site.worker(), mx) for _ in range(2)]
    for certificate in (None, pki.leaf("partner.example")):
        client = Client(shake, profile, certificate)
        own = certificate is not None
        assert [client.connect(workers[0]).resumed for _ in range(2)] == [False, True]
        site.now += MAX_AGE - 1
        assert client.connect(workers[0 if own else 1]).resumed
        site.now += 1
        assert [client.connect(workers[0]).resumed for _ in range(2)] == [False, True]
        assert client.connect(workers[1]).resumed is not own
        site.now += MAX_AGE


@VERSIONS
def test_keys_of_another_day_are_others(shake, site, mx, profile):
    """The same period of time, with another secret: a restored clock, or a node that has the secret of another site."""
    one = Client(shake, profile)
    one.connect(serving(site.worker(), mx))
    site.secrets[20000] = b"other" * 6 + b"!!"
    assert not one.connect(serving(site.worker(), mx)).resumed


def test_a_day_has_its_secret(site):
    sessions = site.worker()
    periods = [int(at // MAX_AGE) for at in (20000 * DAY, 20001 * DAY - 1, 20001 * DAY)]
    keys = [sessions.shared_keys("rule", period) for period in periods]
    assert len(set(keys)) == 3
    assert {len(one) for one in keys} == {openssl_tickets.KEYS}
    del site.secrets[20001]
    assert [sessions.is_complete(period) for period in periods] == [True, True, False]
    assert sessions.shared_keys("rule", periods[1]) == keys[1]
    assert sessions.shared_keys("rule", periods[2]) != keys[2]
    assert sessions.shared_keys("rule", periods[2]) != site.worker().shared_keys("rule", periods[2])
    assert sessions.own_keys("rule", periods[0]) not in {*keys, site.worker().own_keys("rule", periods[0])}


@VERSIONS
def test_while_the_secret_of_the_day_is_not_known_a_worker_goes_on_alone(shake, site, mx, profile):
    secret = site.secrets.pop(20000)
    workers = [serving(site.worker(), mx) for _ in range(2)]
    client = Client(shake, profile)
    assert [client.connect(workers[number]).resumed for number in (0, 0, 1, 1)] == [False, True, False, True]
    site.secrets[20000] = secret
    assert [client.connect(workers[number]).resumed for number in (1, 1, 0, 1)] == [False, True, True, True]


@VERSIONS
def test_contexts_of_nothing_shared_keep_to_themselves(shake, mx, profile):
    client = Client(shake, profile)
    servers = [serving(None, mx), serving(None, mx)]
    assert [client.connect(servers[number]).resumed for number in (0, 0, 1, 0)] == [False, True, False, False]


@VERSIONS
def test_a_library_without_a_place_for_keys_resumes_within_a_context(shake, site, pki, mx, profile, monkeypatch):
    monkeypatch.setattr(openssl_tickets, "find_place", lambda: None)
    worker = site.worker()
    one, other = serving(worker, mx), serving(worker, mx)
    for certificate in (None, pki.leaf("partner.example")):
        client = Client(shake, profile, certificate)
        found = [client.connect(server) for server in (one, one, other, other)]
        assert [each.resumed for each in found] == [False, True, False, True]
        assert {each.peer_chain for each in found} == {certificate.chain if certificate else ()}
    site.now += MAX_AGE
    assert not client.connect(other).resumed


@VERSIONS
def test_clients_are_told_how_long_a_ticket_is_good(shake, site, mx, profile):
    client = Client(shake, profile)
    client.connect(serving(site.worker(), mx))
    session = client.context.sessions.find(("k", "")).session
    encoded = openssl_tickets._encoded(session)
    assert int(MAX_AGE).to_bytes(2, "big") in encoded
