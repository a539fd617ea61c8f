"""What a node is to the others; how both sides use it is in tests/system/test_internal_hops*.py."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.anchors import AnchorsError
from gatepost.net.identity import IdentityError
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.credentials import NodeCredentials, nodes_of
from gatepost.pki.site.membership import Member, node_request, own_certificate
from gatepost.pki.site.site import Site, read_secret, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.settings.model import Settings
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

NOW, HOUR, WEEK = 1_800_000_000.0, 3600.0, 604_800.0
MX1, MX2 = "mx1.a.example", "mx2.a.example"
SETTINGS = Settings(
    server={"hostname": MX1},
    listener=[{"role": "internal", "address": "127.0.0.1:8445"}],
    site={"node": [{"name": MX2, "address": "192.0.2.2"}]},
    tls={"profile": "legacy"},
)


@pytest.fixture
def records(tmp_path):
    found = SiteStore(ConfigStore(tmp_path / "config.db"), Vault(bytes(range(32))))
    yield found
    found.store.close()


@pytest.fixture
def site(records):
    made = Site(records)
    made.init("a-site", (), author="ann", now=NOW)
    return made


def chain(identity):
    return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(identity.chain_pem))


def test_who_is_in_no_site_shows_nothing_and_believes_nobody(records, caplog):
    found = NodeCredentials(records, SETTINGS)
    assert "no node is admitted until" in caplog.text
    assert (found.tls, found.nodes.own, found.nodes.site) == (None, MX1, "")
    with pytest.raises(IdentityError, match="gatepost site join"):
        found.identity(NOW)
    with pytest.raises(AnchorsError, match="gatepost site join"):
        found.anchors()
    assert found.admit((), NOW).why == "this gateway belongs to no site"


def test_what_is_stored_is_taken_up_and_nothing_else(records, site):
    found = NodeCredentials(records, SETTINGS)
    assert not found.refresh()
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    assert found.refresh()
    assert found.nodes.site == "a-site"
    first = found.tls, found.identity(NOW)
    assert first[0].profile.name == "default"  # never without forward secrecy
    records.store.apply({"unrelated": {"x": {}}}, author="ann")
    assert not found.refresh()
    own_certificate(records, MX1, lifetime=HOUR, now=NOW + 100)
    assert found.refresh()
    assert (found.tls, found.identity(NOW)) != first
    site.replace(None, NOW + HOUR, author="ann", now=NOW + 100)  # a further root, and the same certificate
    assert found.refresh()
    assert len(found.anchors()) == 2
    Member(records).leave(author="ann")
    assert found.refresh()
    assert found.tls is None


def test_a_certificate_that_has_ended_is_not_shown(records, site):
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    assert found.identity(NOW + HOUR - 1)
    with pytest.raises(IdentityError, match=f"the node {MX1} has expired"):
        found.identity(NOW + HOUR)


def test_what_cannot_be_read_is_told_and_what_was_stays(records, site, caplog):
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    kept = found.tls
    other = SiteStore(records.store, None)
    own_certificate(records, MX1, lifetime=HOUR, now=NOW + 100)
    found._member = Member(other)
    assert not found.refresh()
    assert found.tls is kept
    assert "set store.master_key" in caplog.text


def test_roots_that_are_none_are_told_once(records, site, caplog):
    """Resources are taken up behind it: what is raised at each look would keep them all from being in force."""
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    kept = found.tls
    found._member.roots_pem = lambda: b"no certificate"
    records.store.apply({"unrelated": {"x": {}}}, author="ann")
    assert [found.refresh(), found.refresh()] == [False, False]
    assert found.tls is kept
    assert caplog.text.count("the roots of the site in the store cannot be read") == 1


def test_what_the_store_could_not_say_is_asked_again(records, site, monkeypatch):
    found = NodeCredentials(records, SETTINGS)
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    with monkeypatch.context() as away:
        away.setattr(ConfigStore, "load", unavailable)
        with pytest.raises(StoreFailure):
            found.refresh()
    assert found.is_outdated()
    assert found.refresh()
    assert found.nodes.site == "a-site"


def unavailable(*_):
    raise StoreFailure("away")


def test_who_is_a_node(records, site):
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    mine = chain(found.identity(NOW))
    assert found.admit(mine, NOW).node == MX1
    late = found.admit(mine, NOW + HOUR + 2)
    assert (late.node, late.chain.status) == ("", ChainStatus.EXPIRED)
    assert late.why.startswith("its certificate does not lead to the site's roots")
    nobody = found.admit((), NOW)
    assert (nobody.node, nobody.chain.status) == ("", ChainStatus.NO_CERTIFICATE)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = site.issue([MX2], key.public_key(), lifetime=HOUR, author="ann", now=NOW)
    server = found.admit(chain(SimpleNamespace(chain_pem=pem)), NOW)
    assert (server.node, server.chain.trusted) == ("", True)
    assert server.why == "the site's authority issued its certificate, but not for a node of a-site"
    endpoint = found.admit(chain(site.endpoint(MX1, HOUR, NOW)), NOW)
    assert endpoint.node == ""  # who gives out certificates is not a node either


def test_who_was_removed_is_no_node_any_more_where_the_authority_is_kept(records, site):
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    mine, before = chain(found.identity(NOW)), found.renewals
    site.remove_node(MX1, author="ann")
    assert found.refresh()
    assert found.renewals == before + 1
    admission = found.admit(mine, NOW)
    assert (admission.node, admission.chain.trusted) == ("", True)
    assert admission.why == f"{MX1} is not a node of a-site any more: it was removed"


def test_a_certificate_of_before_the_node_joined_again_is_that_of_another_machine(records, site):
    """The machine was taken over: a clean one has its name now, and the key of the old one is in other hands."""

    def joins(now):
        _, text = site.new_token(MX2, valid=HOUR, author="ann", now=now)
        grant = site.join(read_secret(read_token(text)[0]), node_request(MX2)[0], lifetime=WEEK, now=now)
        return chain(SimpleNamespace(chain_pem=grant.certificate_pem))

    own_certificate(records, MX1, lifetime=WEEK, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    stolen = joins(NOW)
    found.refresh()
    assert found.admit(stolen, NOW + 1).node == MX2
    clean = joins(NOW + HOUR)
    assert found.refresh()
    admission = found.admit(stolen, NOW + HOUR + 1)
    assert (admission.node, admission.chain.trusted) == ("", True)
    assert (
        admission.why == f"its certificate is from before {MX2} joined a-site again: another machine has its name now"
    )
    assert found.admit(clean, NOW + HOUR + 1).node == MX2
    assert found.admit(stolen, NOW + HOUR - 1).node == MX2, "the clock was ahead then, and was set right"


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("192.0.2.2", ("192.0.2.2", 8445)),
        ("MX2.Lan.example:2600", ("mx2.lan.example", 2600)),
        ("192.0.2.2:25", ("192.0.2.2", 25)),
        ("[2001:db8::2]:25", ("2001:db8::2", 25)),
        ("[2001:db8::2]", ("2001:db8::2", 8445)),
    ],
)
def test_where_nodes_are_is_in_the_settings(written, place):
    site = {"node": [{"name": MX2, "address": written}]}
    settings = Settings(server={"hostname": MX1}, site=site)
    assert nodes_of(settings, None).place(MX2) == place


def test_the_settings_say_which_nodes_share_the_store_of_another():
    settings = Settings(server={"hostname": MX1}, site={"node": [{"name": MX2, "same_store": ["MX3.a.example"]}]})
    nodes = nodes_of(settings, None)
    assert nodes.place(MX2) == (MX2, 8445)
    assert nodes.homes(MX2) == (MX2, "mx3.a.example")


def test_mail_is_for_nodes_of_the_site_alone_where_the_authority_is_kept(records, site):
    """`homes` and `requirement` of `policy.decisions.home` are asked with what is here."""
    own_certificate(records, MX1, lifetime=HOUR, now=NOW)
    found = NodeCredentials(records, SETTINGS)
    assert found.nodes.homes(MX1) == (MX1,)
    site.remove_node(MX1, author="ann")
    assert found.refresh()
    assert found.nodes.homes(MX1) == ()


def test_a_certificate_may_begin_an_hour_before_its_node_joined_unless_the_clock_was_ahead():
    joined = {MX1: time.time(), MX2: time.time() + 2 * HOUR}
    begin = nodes_of(SETTINGS, None, joined=joined).members
    assert begin == {MX1: joined[MX1] - HOUR - 1, MX2: 0.0}
