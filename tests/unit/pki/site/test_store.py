"""Whose membership is whose, where several nodes have one store."""

from __future__ import annotations

import pytest

from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.membership import Member, node_request
from gatepost.pki.site.records import Membership
from gatepost.pki.site.site import Site
from gatepost.pki.site.store import MEMBERSHIP, SiteStore, membership_places
from gatepost.settings.model import Server
from gatepost.store.changes import ConfigStore

NOW, WEEK = 1_800_000_000.0, 604800.0
MX1, MX2 = "mx1.a.example", "mx2.a.example"
VAULT = Vault(bytes(range(32)))


class SharedStore(ConfigStore):
    """A file in place of a database; what matters here is who reads it."""

    is_shared = True


@pytest.fixture
def store(tmp_path):
    found = SharedStore(tmp_path / "config.db")
    yield found
    found.close()


def node(store, name, hostname=""):
    return SiteStore(store, VAULT, Server(hostname=hostname or f"{name}.a.example", node=name))


def certify(records, hostname):
    """A certificate of the authority here, kept as this node's."""
    request, key = node_request(hostname)
    grant = Site(records).certify_own(hostname, request, lifetime=WEEK, now=NOW, author="ann")
    return Member(records).take(grant, key, hostname, "", author="ann", now=NOW)


@pytest.fixture
def both(store):
    """Two nodes of one database, in its own site."""
    first, second = node(store, "mx1"), node(store, "mx2")
    Site(first).init("a-site", (), author="ann", now=NOW)
    certify(first, MX1)
    certify(second, MX2)
    return first, second


def test_each_node_has_its_own(both):
    for records, hostname in zip(both, (MX1, MX2), strict=True):
        assert records.membership().node == hostname
        assert Member(records).identity().key_pem != Member(both[records is both[0]]).identity().key_pem
        assert records.sharing() == {MX1, MX2}
    assert sorted(both[0].memberships()) == ["mx1", "mx2"]


def test_who_leaves_leaves_alone(both):
    first, second = both
    Member(first).leave(author="ann")
    assert (first.membership(), second.membership().node) == (None, MX2)
    assert [first.content(place) for place in membership_places("mx1")] == [b"", b"", b""]
    assert (first.sharing(), second.sharing()) == (frozenset(), {MX2})


def test_a_node_is_forgotten_by_another(both):
    first, second = both
    Member(first).forget("mx2", author="olga")
    assert (first.membership().node, second.membership()) == (MX1, None)
    assert list(Site(first).state().nodes) == [MX1]
    assert [first.content(place) for place in membership_places("mx2")] == [b"", b"", b""]
    version = first.store.version()
    Member(first).forget("mx2", author="olga")
    assert first.store.version() == version
    assert first.store.history("site_membership", "mx2")[0].author == "olga"


def test_of_a_site_elsewhere_only_the_membership_is_forgotten(both):
    first, _ = both
    elsewhere = Membership("b-site", "mx9.a.example", "h:8444", "", 0.0, 1e10)
    first.apply({(MEMBERSHIP, "mx9"): elsewhere}, author="ann")
    assert first.sharing() == {MX1, MX2}
    Member(first).forget("mx9", author="olga")
    assert sorted(first.memberships()) == ["mx1", "mx2"]
    assert sorted(Site(first).state().nodes) == [MX1, MX2]


def test_data_that_were_moved_to_a_database_stay_with_their_node(tmp_path):
    """As after `gatepost store migrate`: the next certificate is kept under the node's name."""
    path = tmp_path / "config.db"
    file = ConfigStore(path)
    alone = SiteStore(file, VAULT, Server(hostname=MX1))
    Site(alone).init("a-site", (), author="ann", now=NOW)
    made = certify(alone, MX1)
    file.close()
    store = SharedStore(path)
    first, second = node(store, "a", MX1), node(store, "b", MX2)
    assert (first.kept_under(), first.membership(), second.membership()) == (MEMBERSHIP, made, None)
    assert Member(first).identity()
    again = certify(first, MX1)
    assert (first.kept_under(), first.memberships()) == ("a", {"a": again})
    assert [first.content(place) for place in membership_places(MEMBERSHIP)] == [b"", b"", b""]
    store.close()

    back = SiteStore(ConfigStore(path), VAULT, Server(hostname=MX1))
    assert (back.kept_under(), back.membership(), back.sharing()) == ("a", again, frozenset())
    certify(back, MX1)
    assert list(back.memberships()) == [MEMBERSHIP]
    back.store.close()


def test_a_store_apart_is_of_the_same_node(both):
    first, _ = both
    with first.apart() as records:
        assert records.store is not first.store
        assert Site(records).state() == Site(first).state()
