"""The page Doctor has the gravest first, and asks the network only when told to."""

from __future__ import annotations


def test_the_gravest_comes_first(centre):
    page = centre.get("/doctor")
    assert page.status == 200
    assert "there is no certificate: STARTTLS is not offered" in page.words
    assert page.words.index("there is no certificate") < page.words.index("it can be used")
    assert "Ask the DNS, too" in page.words
    assert "nameservers" not in page.words.partition("Ask the DNS")[0]


def test_the_dns_is_asked_on_request(centre):
    page = centre.get("/doctor?network=1")
    assert page.status == 200
    assert "set [dns] nameservers to one that answers" in page.words
    assert "Ask the DNS, too" not in page.words
