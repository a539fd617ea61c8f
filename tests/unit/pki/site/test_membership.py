"""What a node keeps of its site, and when it renews; the network is in test_site_client and the system test."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.chain import judge
from gatepost.net.identity import read_identity
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.membership import Member, Renewal, node_request, own_certificate
from gatepost.pki.site.records import SiteError
from gatepost.pki.site.site import Site, read_secret, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

NOW, HOUR, WEEK = 1_800_000_000.0, 3600.0, 604800.0
MX1, MX2 = "mx1.a.example", "mx2.a.example"


def records_in(folder):
    return SiteStore(ConfigStore(folder / "config.db"), Vault(bytes(range(32))))


@pytest.fixture
def records(tmp_path):
    found = records_in(tmp_path / "home")
    yield found
    found.store.close()


@pytest.fixture
def site(records):
    made = Site(records)
    made.init("a-site", (), author="ann", now=NOW)
    return made


@pytest.fixture
def away(tmp_path):
    found = records_in(tmp_path / "away")
    yield found
    found.store.close()


def join(site, away, name=MX2, now=NOW):
    csr, key = node_request(name)
    _, text = site.new_token(name, valid=HOUR, author="ann", now=now)
    grant = site.join(read_secret(read_token(text)[0]), csr, lifetime=WEEK, now=now)
    return grant, key, Member(away).take(grant, key, name, "127.0.0.1:8444", author="bob", now=now)


def test_who_is_in_no_site(away):
    assert Member(away).membership() is None
    with pytest.raises(SiteError, match="this gateway belongs to no site"):
        Member(away).roots_pem()
    with pytest.raises(SiteError, match="the key is not kept"):
        Member(away).identity()


def test_a_node_keeps_its_certificate_with_a_sealed_key(site, away, tmp_path):
    grant, key, made = join(site, away)
    member = Member(away)
    assert member.membership() == made
    assert (made.site, made.node, made.issued, made.not_after) == ("a-site", MX2, NOW, NOW + WEEK)
    assert made.renew_at == NOW + WEEK / 2
    assert (member.identity().chain_pem, member.identity().key_pem) == (grant.certificate_pem, key)
    assert read_identity(member.identity()).leaf.dns_names == (MX2,)
    leaf = x509.load_pem_x509_certificate(grant.certificate_pem).public_bytes(Encoding.DER)
    for purpose in ("server", "client"):
        assert judge([leaf], member.anchors(), now=NOW, purpose=purpose).trusted
    assert away.store.history("site_membership")[0].author == "bob"
    for file in (tmp_path / "away").iterdir():
        assert b"PRIVATE KEY" not in file.read_bytes()
    member.leave(author="bob")
    assert member.membership() is None
    with pytest.raises(SiteError, match="this gateway belongs to no site"):
        member.roots_pem()


def test_what_is_not_kept(site, away, tmp_path):
    grant, key, _ = join(site, away)
    member = Member(away)
    member.leave(author="bob")
    elsewhere = records_in(tmp_path / "elsewhere")
    other = Site(elsewhere)
    other.init("a-site", (), author="ann", now=NOW)
    stranger = other.roots_pem(other.state())
    elsewhere.store.close()

    def take(grant, key=key, name=MX2, now=NOW):
        return member.take(grant, key, name, "x:1", author="bob", now=now)

    cases = [
        (lambda: take(grant, node_request(MX2)[1]), "does not belong to the certificate"),
        (lambda: take(grant, name=MX1), "is not for the node mx1.a.example"),
        (lambda: take(replace(grant, site="b-site")), "is not for the node"),
        (lambda: take(replace(grant, roots_pem=stranger)), "is not trusted here"),
        (lambda: take(grant, now=NOW + 2 * WEEK), "is the clock right"),
        (lambda: take(replace(grant, roots_pem=b"")), "cannot be used"),
        (lambda: take(replace(grant, certificate_pem=b"x")), "cannot be used"),
        (lambda: take(replace(grant, certificate_pem=grant.certificate_pem * 2)), "cannot be used"),
    ]
    for call, said in cases:
        with pytest.raises(SiteError, match=said):
            call()
    assert member.membership() is None


def test_a_node_without_a_master_key_keeps_nothing(site, away):
    bare = SiteStore(away.store, None)
    with pytest.raises(SiteError, match=r"set store\.master_key"):
        join(site, bare)
    assert Member(away).membership() is None


# renewal


def run(renewal, now):
    assert renewal.due(now)
    asyncio.run(renewal.work(now))


def test_the_home_of_the_authority_renews_at_half_of_the_life(site, records):
    first = own_certificate(records, MX1, lifetime=WEEK, author="ann", now=NOW)
    renewal = Renewal(records, MX1, WEEK)
    run(renewal, NOW + 1)  # there may be something to prune
    assert Member(records).membership() == first
    assert not renewal.due(NOW + 2)
    run(renewal, NOW + WEEK / 2 - 1)
    assert Member(records).membership() == first
    run(renewal, NOW + WEEK / 2)
    second = Member(records).membership()
    assert (second.issued, second.sha256 != first.sha256) == (NOW + WEEK / 2, True)
    assert len(site.state().nodes[MX1].thumbprints) == 2
    assert records.store.history("site_membership")[0].author == "gatepost"


def test_a_clock_that_was_ahead_is_waited_for_by_nobody(site, records):
    """The certificate of then is not valid yet, and would not be renewed for a year."""
    later = NOW + 52 * WEEK
    renewal = Renewal(records, MX1, WEEK)
    run(renewal, later)
    assert not renewal.due(later + 1)
    site.new_token("", valid=-1.0, author="ann", now=NOW)
    run(renewal, NOW)
    assert Member(records).membership().issued == site.state().nodes[MX1].renewed == NOW
    assert site.state().tokens == {}
    assert not renewal.due(NOW + 1)


def test_a_failure_of_a_clock_that_was_ahead_is_not_waited_for(site, away):
    _, _, made = join(site, away)
    away.apply({("site_membership", "site_membership"): replace(made, address="127.0.0.1:1")}, author="x")
    renewal = Renewal(away, MX2, WEEK)
    run(renewal, NOW + WEEK - HOUR)
    assert not renewal.due(NOW + WEEK - HOUR + 1)
    assert renewal.due(NOW + WEEK - 6 * HOUR)


def test_what_is_kept_does_not_grow(site, records):
    own_certificate(records, MX1, lifetime=WEEK, author="ann", now=NOW)
    renewal = Renewal(records, MX1, WEEK)
    for number in range(1, 6):
        run(renewal, NOW + number * WEEK / 2)
    assert list(site.state().nodes) == [MX1]
    assert len(site.state().nodes[MX1].thumbprints) == 2
    assert len(site.state().authorities) == 1


def test_a_home_without_a_certificate_gets_one(site, records):
    run(Renewal(records, MX1, WEEK), NOW)
    assert Member(records).membership().node == MX1


def test_a_home_that_was_renamed_gets_one_for_its_name(site, records):
    own_certificate(records, MX1, lifetime=WEEK, author="ann", now=NOW)
    run(Renewal(records, "mx9.a.example", WEEK), NOW + 1)
    assert Member(records).membership().node == "mx9.a.example"
    assert sorted(site.state().nodes) == [MX1, "mx9.a.example"]


def test_tokens_that_ran_out_go(site, records):
    own_certificate(records, MX1, lifetime=WEEK, author="ann", now=NOW)
    site.new_token("", valid=HOUR, author="ann", now=NOW)
    renewal = Renewal(records, MX1, WEEK)
    run(renewal, NOW)
    assert len(site.state().tokens) == 1
    run(renewal, NOW + HOUR)
    assert site.state().tokens == {}


def test_who_is_in_no_site_has_nothing_to_do(away):
    renewal = Renewal(away, MX2, WEEK)
    assert not renewal.due(NOW)
    asyncio.run(renewal.work(NOW))
    away.store.apply({"site_membership": {"site_membership": {"node": 1}}}, author="x")
    assert not renewal.due(NOW)


def test_it_notices_that_it_joined(site, away):
    renewal = Renewal(away, MX2, WEEK)
    assert not renewal.due(NOW)
    join(site, away)
    assert not renewal.due(NOW + 1)
    assert renewal.due(NOW + WEEK / 2)


def test_what_the_store_could_not_say_is_asked_again(site, away, monkeypatch):
    renewal = Renewal(away, MX2, WEEK)
    assert not renewal.due(NOW)
    join(site, away)

    def unavailable(*_):
        raise StoreFailure("away")

    with monkeypatch.context() as gone:
        gone.setattr(ConfigStore, "load", unavailable)
        with pytest.raises(StoreFailure):
            renewal.due(NOW)
    assert renewal.due(NOW + WEEK / 2)


def test_a_site_that_does_not_answer_is_asked_again_later(site, away, caplog):
    _, _, made = join(site, away)
    free = Member(away)
    away.apply({("site_membership", "site_membership"): replace(made, address="127.0.0.1:1")}, author="x")
    renewal = Renewal(away, MX2, WEEK)
    run(renewal, NOW + WEEK / 2)
    assert "site a-site: no new certificate for this node, whose own ends in 84.0 hours: 127.0.0.1:1: " in caplog.text
    assert not renewal.due(NOW + WEEK / 2 + 299)
    assert renewal.due(NOW + WEEK / 2 + 300)
    assert free.membership().sha256 == made.sha256


def test_one_that_has_expired_must_join_again(site, away, caplog):
    join(site, away)
    run(Renewal(away, MX2, WEEK), NOW + WEEK)
    assert "whose own has expired: the certificate has expired: make a token for this node" in caplog.text


def test_a_key_that_cannot_be_opened_is_said(site, records, caplog):
    renewal = Renewal(SiteStore(records.store, Vault(bytes(32))), MX1, WEEK)
    run(renewal, NOW)
    assert "the master key is not the one that it was sealed with" in caplog.text
    assert not renewal.due(NOW + 1)
