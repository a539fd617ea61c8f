"""Requests of nodes without HTTP, and the limit for who guesses."""

from __future__ import annotations

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.enrollment import FAILURES, PERIOD, EnrollmentService
from gatepost.pki.site.membership import node_request
from gatepost.pki.site.records import JoinRefused, SiteRefusal
from gatepost.pki.site.site import Site, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import OutcomeUnknown

NOW, HOUR, WEEK = 1_800_000_000.0, 3600.0, 604800.0
CSR, OTHER_CSR = (node_request("mx2.a.example")[0].decode() for _ in range(2))


@pytest.fixture
def site(tmp_path):
    store = ConfigStore(tmp_path / "config.db")
    made = Site(SiteStore(store, Vault(bytes(range(32)))))
    made.init("a-site", (), author="ann", now=NOW)
    yield made
    store.close()


@pytest.fixture
def enrollment(site):
    return EnrollmentService(site, WEEK)


def token(site):
    return read_token(site.new_token("", valid=HOUR, author="ann", now=NOW)[1])[0]


def ask(enrollment, body, *, what="join", source="192.0.2.1", now=NOW):
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        return enrollment.answer(what, text, source, (), now)
    except JoinRefused as refused:
        return refused.reason


def test_a_node_joins(enrollment, site, caplog):
    caplog.set_level("INFO")
    secret = token(site)
    assert ask(enrollment, {"request": CSR, "token": secret}).site == "a-site"
    assert "site: join from 192.0.2.1: mx2.a.example has a new certificate" in caplog.text
    assert ask(enrollment, {"request": OTHER_CSR, "token": secret}) is SiteRefusal.TOKEN
    assert secret not in caplog.text


class Doubtful(SiteStore):
    """The answer to the first commit of a change is lost: it was made, and nobody heard of it."""

    lost = False

    def apply(self, records, **given):
        super().apply(records, **given)
        if not self.lost:
            self.lost = True
            raise OutcomeUnknown("the answer to the commit was lost")


def test_a_node_whose_answer_was_lost_asks_again_with_the_same_token(site, tmp_path):
    secret, store = token(site), ConfigStore(tmp_path / "config.db")
    enrollment = EnrollmentService(Site(Doubtful(store, Vault(bytes(range(32))))), WEEK)
    body = {"request": CSR, "token": secret}
    assert ask(enrollment, body) is SiteRefusal.BUSY
    assert site.state().tokens == {}
    assert ask(enrollment, {"request": OTHER_CSR, "token": secret}) is SiteRefusal.TOKEN, "it has not the node's key"
    grant = ask(enrollment, body, now=NOW + 30)
    assert (grant.site, grant.node) == ("a-site", "mx2.a.example")
    leaf = x509.load_pem_x509_certificate(grant.certificate_pem).public_bytes(Encoding.DER)
    renewed = enrollment.answer("renew", msgspec.json.encode({"request": OTHER_CSR}), "192.0.2.1", [leaf], NOW + 200)
    assert renewed.node == "mx2.a.example"
    assert ask(enrollment, body, now=NOW + 300) is SiteRefusal.TOKEN, "who renewed has its certificate"
    store.close()


def test_a_token_does_not_last_for_who_asks_again(enrollment, site):
    body = {"request": CSR, "token": token(site)}
    assert ask(enrollment, body).site == "a-site"
    assert ask(enrollment, body, now=NOW + 599).site == "a-site"
    assert ask(enrollment, body, now=NOW + 601) is SiteRefusal.TOKEN


BODIES = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b'{"request": 1}',
    b'{"request": null, "token": "x"}',
    b'{"request": "x", "token": []}',
    '{"request": "ä", "token": "x"}'.encode(),
    b'{"request": "\xff"}',
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("what", ["join", "renew"])
def test_what_cannot_be_read(enrollment, body, what):
    assert ask(enrollment, body, what=what) is SiteRefusal.REQUEST


@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "ä"])
def test_what_is_no_token(enrollment, site, secret):
    token(site)
    assert ask(enrollment, {"request": CSR, "token": secret}) is SiteRefusal.TOKEN


def test_who_presents_nothing_renews_nothing(enrollment):
    assert ask(enrollment, {"request": CSR}, what="renew") is SiteRefusal.NODE


def test_who_guesses_is_not_heard_for_a_while(enrollment, site):
    secret = token(site)
    for number in range(FAILURES):
        assert ask(enrollment, {"request": CSR, "token": "A" * 43}, now=NOW + number) is SiteRefusal.TOKEN
    good = {"request": CSR, "token": secret}
    assert ask(enrollment, good, now=NOW + PERIOD - 1) is SiteRefusal.BUSY
    assert ask(enrollment, good, source="192.0.2.2").site == "a-site"
    assert ask(enrollment, {"request": CSR, "token": "A" * 43}, now=NOW + PERIOD) is SiteRefusal.TOKEN
    used = {"request": OTHER_CSR, "token": secret}
    assert ask(enrollment, used, now=NOW + PERIOD + 1) is SiteRefusal.TOKEN  # heard again; used meanwhile


def test_one_site_of_ipv6_is_one_source(enrollment):
    for number in range(FAILURES):
        ask(enrollment, b"", source=f"2001:db8::{number + 1}")
    assert ask(enrollment, b"", source="2001:db8::ffff") is SiteRefusal.BUSY
    assert ask(enrollment, b"", source="2001:db8:0:1::1") is SiteRefusal.REQUEST


def test_a_key_that_cannot_be_opened_is_no_answer(tmp_path, site, caplog):
    store = ConfigStore(tmp_path / "config.db")
    other = EnrollmentService(Site(SiteStore(store, Vault(bytes(32)))), WEEK)
    assert ask(other, {"request": CSR, "token": token(site)}) is SiteRefusal.BUSY
    assert "could not be answered: " in caplog.text
    assert len(site.state().tokens) == 1
    store.close()


def test_who_is_refused_again_and_again_does_not_fill_the_log(enrollment, caplog):
    long = node_request("a." * 5000 + "example")[0].decode()
    for _ in range(FAILURES * 5):
        ask(enrollment, {"request": long, "token": "x"})
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == FAILURES + 1
    assert max(map(len, lines)) < 400
    assert "it was refused too many times" in lines[-1]
