from __future__ import annotations

import pytest

from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.bearing import bearing, foremost

# names of the certificates in order -> which of them bear mta-sts.a.example
CASES = [
    ([["mx.a.example"], ["mta-sts.a.example"]], [1]),
    ([["*.a.example"], ["mta-sts.a.example", "x.example"]], [1]),
    ([["*.a.example"], ["*.example"], ["mx.a.example"]], [0]),
    ([["mta-sts.a.example"], ["mx.a.example", "mta-sts.a.example"]], [0, 1]),
    ([["mx.a.example"], ["mta-sts.b.example"], ["*.mta-sts.a.example"]], []),
    ([], []),
]


@pytest.fixture(scope="module")
def authority():
    return Authority("Bearing Root")


@pytest.mark.parametrize(("names", "expected"), CASES)
def test_which_bear_a_name(authority, names, expected):
    identities = [ServerIdentity(*authority.issue(each)) for each in names]
    assert [names.index(list(leaf.dns_names)) for leaf in bearing(identities, "mta-sts.a.example")] == expected


def test_what_cannot_be_read_is_an_error():
    with pytest.raises(IdentityError):
        bearing([ServerIdentity(b"", b"")], "a.example")


FOREMOST = [
    # names of the certificates in order -> the order in which they are presented
    ([["mta-sts.a.example"], ["mx.a.example"]], [1, 0]),
    ([["mx.a.example"], ["mta-sts.a.example"], ["mx.a.example", "b.example"]], [0, 2, 1]),
    ([["b.example"], ["*.a.example"]], [1, 0]),
    ([["b.example"], ["c.example"]], [0, 1]),
    ([], []),
]


@pytest.mark.parametrize(("names", "expected"), FOREMOST)
def test_who_bears_the_hostname_comes_first(authority, names, expected):
    identities = [ServerIdentity(*authority.issue(each)) for each in names]
    assert [identities.index(one) for one in foremost(identities, "mx.a.example")] == expected
