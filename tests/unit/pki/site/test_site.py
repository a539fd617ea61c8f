"""The authority of a site over a real store; time is a parameter."""

from __future__ import annotations

import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.pki.certificates.entry import CertificateRequestSpec
from gatepost.pki.certificates.request import made_request
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.membership import node_request
from gatepost.pki.site.records import JoinRefused, SiteError, SiteRefusal
from gatepost.pki.site.site import Site, read_secret, read_token
from gatepost.pki.site.store import KINDS, SiteStore
from gatepost.store.changes import ConfigStore

NOW, DAY, HOUR = 1_800_000_000.0, 86400.0, 3600.0
WEEK = 7 * DAY
VAULT = Vault(bytes(range(32)))
MX2 = "mx2.a.example"


@pytest.fixture
def site(store):
    return Site(SiteStore(store, VAULT))


@pytest.fixture
def made(site):
    site.init("a-site", (), author="ann", now=NOW)
    return site


def request(name=MX2):
    return node_request(name)[0]


def joined(site, name=MX2, now=NOW, **options):
    """A node's chain as it presents it."""
    _, text = site.new_token(options.get("node", ""), valid=HOUR, author="ann", now=now)
    grant = site.join(read_secret(read_token(text)[0]), request(name), lifetime=WEEK, now=now)
    return [ders(grant.certificate_pem)[0]]


def ders(pem):
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem)]


def refused(reason, call, *arguments, **options):
    with pytest.raises(JoinRefused) as found:
        call(*arguments, **options)
    assert found.value.reason is reason
    return str(found.value)


# the authority


def test_an_authority_is_made_once_and_its_key_is_sealed(site, store, tmp_path):
    root = site.init("a-site", ("a.example",), author="ann", now=NOW)
    state = site.state()
    assert (state.authorities, state.issuer(NOW)) == ((root,), root)
    assert ders(site.roots_pem(state))[0].hex()
    assert (root.site, root.domains, root.signs_from) == ("a-site", ("a.example",), NOW)
    assert abs(root.not_after - NOW - 3650 * DAY) < DAY
    with pytest.raises(SiteError, match=rf"the site a-site has its authority already \({root.sha256}\).*--replace"):
        site.init("b-site", (), author="ann", now=NOW)
    (change,) = store.history("site_authority")
    assert (change.author, change.note) == ("ann", "new authority of the site a-site")
    store.close()
    for file in (tmp_path / "data").iterdir():
        assert b"PRIVATE KEY" not in file.read_bytes()


def test_without_a_master_key_there_is_no_authority(store):
    bare = Site(SiteStore(store, None))
    with pytest.raises(SiteError, match=r"set store\.master_key"):
        bare.init("a-site", (), author="ann", now=NOW)
    assert bare.state().authorities == ()


def test_another_master_key_opens_nothing(made, store):
    with pytest.raises(SiteError, match="the master key is not the one"):
        Site(SiteStore(store, Vault(bytes(32)))).endpoint("mx1.a.example", DAY, NOW)
    with pytest.raises(SiteError, match=r"set store\.master_key"):
        Site(SiteStore(store, None)).endpoint("mx1.a.example", DAY, NOW)


def test_a_name_that_is_none(site):
    with pytest.raises(SiteError, match="'A Site' is not a name of a site"):
        site.init("A Site", (), author="ann", now=NOW)


def test_without_an_authority_nothing_is_given(site):
    for call in (
        lambda: site.new_token("", valid=HOUR, author="ann", now=NOW),
        lambda: site.endpoint("mx1.a.example", DAY, NOW),
        lambda: site.issuing_root_pem(NOW),
    ):
        with pytest.raises(SiteError, match="no site has its authority here"):
            call()
    with pytest.raises(SiteError, match="there is no authority to replace"):
        site.replace(None, NOW, author="ann", now=NOW)


def test_an_authority_of_later_signs_nothing_yet(made):
    """The clock is behind: to replace the authority would not help."""
    with pytest.raises(SiteError, match=r"does not sign yet: is the clock of this machine behind\?"):
        made.issuing_root_pem(NOW - 1)


def test_an_authority_that_ran_out_signs_nothing(made):
    with pytest.raises(SiteError, match="the authority of the site has expired: gatepost site init --replace"):
        made.endpoint("mx1.a.example", DAY, NOW + 3651 * DAY)


def test_the_next_authority_signs_when_every_node_knows_it(made):
    first = made.state().issuer(NOW)
    chain = joined(made)
    second = made.replace(None, NOW + WEEK, author="ann", now=NOW)
    assert (second.site, second.domains) == ("a-site", ())
    state = made.state()
    assert (state.issuer(NOW), state.issuer(NOW + WEEK)) == (first, second)
    with pytest.raises(SiteError, match="takes over soon"):
        made.replace(None, NOW, author="ann", now=NOW)
    half = NOW + WEEK / 2
    given = made.renew(chain, request(), lifetime=WEEK, now=half)
    assert len(ders(given.roots_pem)) == 2
    assert made.state().nodes[MX2].authority == first.id
    later = NOW + WEEK
    again = made.renew(ders(given.certificate_pem), request(), lifetime=WEEK, now=later)
    assert made.state().nodes[MX2].authority == second.id
    assert len(ders(again.roots_pem)) == 2
    assert made.prune(later)  # nothing leads to the first any more
    assert made.state().authorities == (second,)


def test_the_next_authority_takes_over_before_the_one_before_ends(made):
    end = made.state().issuer(NOW).not_after
    second = made.replace(None, end + WEEK, author="ann", now=end - DAY)
    assert made.state().issuer(end) == second
    third = made.replace(None, second.not_after + 9 * WEEK, author="ann", now=second.not_after + 2 * WEEK)
    assert made.state().issuer(second.not_after + 2 * WEEK) == third  # it has ended already


def test_a_root_goes_when_nothing_leads_to_it_any_more(made, store):
    first = made.state().issuer(NOW)
    joined(made)
    made.issue(["exch.a.example"], public(), lifetime=90 * DAY, author="ann", now=NOW)
    second = made.replace((), NOW + 1, author="ann", now=NOW + 1)
    assert made.prune(NOW + 2)
    assert made.state().authorities == (second, first)
    assert store.content(f"site_authority/{first.id}/key") is None
    assert not made.prune(NOW + 3)
    assert not made.prune(NOW + 89 * DAY)
    assert made.prune(NOW + 91 * DAY)
    assert made.state().authorities == (second,)
    assert store.content(f"site_authority/{first.id}/certificate") is None
    assert made.state().issued
    made.prune(NOW + 121 * DAY)
    assert not made.state().issued


def public():
    return ec.generate_private_key(ec.SECP256R1()).public_key()


# tokens


def test_a_token_is_not_stored(made, store):
    token, text = made.new_token(MX2, valid=HOUR, author="ann", now=NOW)
    secret, root = read_token(f"  {text}\n")
    assert root == made.state().issuer(NOW).sha256
    assert len(read_secret(secret)) == 32
    assert (token.node, token.expires, token.by) == (MX2, NOW + HOUR, "ann")
    assert made.state().tokens == {token.id: token}
    said = repr([store.history(kind) for kind in KINDS])
    assert secret not in said
    assert read_secret(secret).hex() not in said


@pytest.mark.parametrize(
    "text", ["", "gpj1", "gpj1.x.y", "gpj2." + "A" * 43 + "." + "A" * 43, "gpj1." + "A" * 43, "gpj1.ä.ö", "gpj1.*.*"]
)
def test_what_is_no_token(text):
    with pytest.raises(SiteError, match="this is not a join token") as found:
        read_token(text)
    assert len(text) < 10 or text not in str(found.value)


@pytest.mark.parametrize("text", ["*", "ä", "A"])
def test_what_is_sent_for_a_secret_and_is_none(text):
    refused(SiteRefusal.TOKEN, read_secret, text)


def test_a_token_is_good_once(made, store):
    token, text = made.new_token("", valid=HOUR, author="ann", now=NOW)
    secret = read_secret(read_token(text)[0])
    grant = made.join(secret, request(), lifetime=WEEK, now=NOW + 60)
    node = made.state().nodes[MX2]
    assert grant.site == "a-site"
    assert (node.joined, node.renewed, node.not_after) == (NOW + 60, NOW + 60, NOW + 60 + WEEK)
    assert made.state().tokens == {}
    said = refused(SiteRefusal.TOKEN, made.join, secret, request("mx3.a.example"), lifetime=WEEK, now=NOW + 61)
    assert "has no open token" in said
    change = store.history("site_node")[0]
    assert (change.author, change.note) == ("gatepost", f"{MX2} joined with token {token.id} of ann")


def test_a_token_ends_with_its_time(made):
    _, text = made.new_token("", valid=HOUR, author="ann", now=NOW)
    secret = read_secret(read_token(text)[0])
    assert "has expired" in refused(SiteRefusal.TOKEN, made.join, secret, request(), lifetime=WEEK, now=NOW + HOUR)
    assert made.prune(NOW + HOUR)
    assert made.state().tokens == {}
    assert not made.prune(NOW + HOUR)


def test_a_token_for_a_node_is_for_no_other_and_lasts(made):
    _, text = made.new_token(MX2, valid=HOUR, author="ann", now=NOW)
    secret = read_secret(read_token(text)[0])
    said = refused(SiteRefusal.TOKEN, made.join, secret, request("mx3.a.example"), lifetime=WEEK, now=NOW)
    assert "which is for mx2.a.example" in said
    assert made.join(secret, request(), lifetime=WEEK, now=NOW)


def test_a_token_may_be_taken_back(made):
    token, text = made.new_token("", valid=HOUR, author="ann", now=NOW)
    assert made.remove_token(token.id, author="bob") == token
    refused(SiteRefusal.TOKEN, made.join, read_secret(read_token(text)[0]), request(), lifetime=WEEK, now=NOW)
    with pytest.raises(SiteError, match="there is no open token"):
        made.remove_token(token.id, author="bob")


def test_of_two_at_once_one_wins(made, tmp_path):
    _, text = made.new_token("", valid=HOUR, author="ann", now=NOW)
    secret, barrier, found = read_secret(read_token(text)[0]), threading.Barrier(4), []

    def ask(number):
        own = ConfigStore(tmp_path / "data" / "config.db")
        wanted = request(f"mx{number}.a.example")
        barrier.wait(20)
        try:
            found.append(Site(SiteStore(own, VAULT)).join(secret, wanted, lifetime=WEEK, now=NOW).site)
        except JoinRefused as refusal:
            found.append(refusal.reason)
        own.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3, 7)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sorted(found) == ["a-site", *[SiteRefusal.TOKEN] * 3]
    assert len(made.state().nodes) == 1


# nodes


def test_a_name_that_is_known_needs_a_token_of_its_own(made):
    joined(made)
    said = refused(SiteRefusal.TAKEN, joined, made)
    assert "mx2.a.example is a node already" in said
    before = made.state().nodes[MX2]
    joined(made, node=MX2, now=NOW + 10)
    after = made.state().nodes[MX2]
    assert after.joined == NOW + 10
    assert after.thumbprints != before.thumbprints


def test_the_name_of_a_server_with_a_certificate_of_the_site_needs_a_token_of_its_own(made):
    """A connector may know the server by that name."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    made.issue(["exch.a.example", MX2], key, lifetime=DAY, author="ann", now=NOW)
    assert "mx2.a.example is a server with a certificate of this site already" in refused(
        SiteRefusal.TAKEN, joined, made
    )
    assert joined(made, node=MX2)
    assert joined(made, "exch.a.example", now=NOW + DAY + 1)


def test_a_machine_that_was_replaced_renews_no_more(made):
    chain = joined(made)
    made.remove_node(MX2, author="ann")
    refused(SiteRefusal.NODE, made.renew, chain, request(), lifetime=WEEK, now=NOW + DAY)
    joined(made, now=NOW + DAY)
    said = refused(SiteRefusal.NODE, made.renew, chain, request(), lifetime=WEEK, now=NOW + 2 * DAY)
    assert "presented neither its last certificate nor the one that it got this one with" in said


def renewed(site, chain, now):
    return ders(site.renew(chain, request(), lifetime=WEEK, now=now).certificate_pem)


def test_a_node_renews_with_the_certificate_that_it_has_however_many_answers_are_lost(made):
    chain = joined(made)
    for lost in range(1, 5):
        renewed(made, chain, NOW + lost * HOUR)
    assert made.state().nodes[MX2].joined == NOW
    last = renewed(made, chain, NOW + DAY)
    assert len(made.state().nodes[MX2].thumbprints) == 2
    assert renewed(made, last, NOW + 2 * DAY)
    refused(SiteRefusal.NODE, made.renew, chain, request(), lifetime=WEEK, now=NOW + 3 * DAY)


def test_of_a_node_and_its_copy_one_renews(made):
    """As of a machine that was cloned: they do not both go on for ever."""
    both = joined(made)
    node = renewed(made, both, NOW + DAY)
    copy = renewed(made, both, NOW + DAY + HOUR)
    said = refused(SiteRefusal.NODE, made.renew, node, request(), lifetime=WEEK, now=NOW + 2 * DAY)
    assert "is one a copy of it?" in said
    assert renewed(made, copy, NOW + 2 * DAY)


def test_a_clock_that_was_ahead_keeps_nobody_from_renewing(made):
    chain = joined(made)
    renewed(made, chain, NOW + 5 * DAY)  # the node does not take it, as it is not valid yet
    refused(SiteRefusal.EARLY, made.renew, chain, request(), lifetime=WEEK, now=NOW + 5 * DAY - 599)
    assert renewed(made, chain, NOW + DAY)


def test_who_does_not_renew(made):
    chain = joined(made)
    renew = {"lifetime": WEEK}
    refused(SiteRefusal.NODE, made.renew, [], request(), now=NOW + DAY, **renew)
    assert "expired" in refused(SiteRefusal.NODE, made.renew, chain, request(), now=NOW + 8 * DAY, **renew)
    refused(SiteRefusal.EARLY, made.renew, chain, request(), now=NOW + 59, **renew)
    said = refused(SiteRefusal.REQUEST, made.renew, chain, request("mx1.a.example"), now=NOW + DAY, **renew)
    assert said == "mx2.a.example asked for a certificate for mx1.a.example"
    made.remove_node(MX2, author="ann")
    refused(SiteRefusal.NODE, made.renew, chain, request(), now=NOW + DAY, **renew)


def test_a_server_with_a_certificate_of_the_site_is_no_node(made):
    joined(made)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = made.issue([MX2], key.public_key(), lifetime=90 * DAY, author="ann", now=NOW)
    said = refused(SiteRefusal.NODE, made.renew, ders(pem), request(), lifetime=WEEK, now=NOW + DAY)
    assert said == "the client is not a node of this site"
    endpoint = ders(made.endpoint(MX2, DAY, NOW).chain_pem)
    refused(SiteRefusal.NODE, made.renew, endpoint, request(), lifetime=WEEK, now=NOW + HOUR)


def test_a_short_life_is_renewed_soon(made):
    chain = joined(made)
    assert made.renew(chain, request(), lifetime=20.0, now=NOW + 1)


def test_the_node_of_the_authority(made):
    grant = made.certify_own("mx1.a.example", request("mx1.a.example"), lifetime=WEEK, now=NOW, author="ann")
    assert made.state().nodes["mx1.a.example"].joined == NOW
    assert grant.roots_pem == made.roots_pem(made.state())
    with pytest.raises(SiteError, match=r"is for mx2.a.example, not for mx1.a.example"):
        made.certify_own("mx1.a.example", request(), lifetime=WEEK, now=NOW, author="ann")


def test_a_node_that_is_removed_does_not_come_back_by_a_token_of_before(made):
    joined(made)
    _, text = made.new_token(MX2, valid=HOUR, author="ann", now=NOW)
    other, _ = made.new_token("mx3.a.example", valid=HOUR, author="ann", now=NOW)
    made.remove_node(MX2, author="ann")
    secret = read_secret(read_token(text)[0])
    refused(SiteRefusal.TOKEN, made.join, secret, request(), lifetime=WEEK, now=NOW + 1)
    assert set(made.state().tokens) == {other.id}


def test_a_node_that_is_not_there_is_not_removed(made):
    with pytest.raises(SiteError, match=r"there is no node 'x'; there are: none"):
        made.remove_node("x", author="ann")


def other_requests():
    small = ec.generate_private_key(ec.SECP224R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    named = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(MX2)]), critical=False)
    good = request()
    return {
        "no request": b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "nothing": b"",
        "two names": made_request(CertificateRequestSpec((MX2, "mx1.a.example")))[0],
        "a wildcard": made_request(CertificateRequestSpec(("*.a.example",)))[0],
        "no name": builder.sign(small, SHA256()).public_bytes(Encoding.PEM),
        "a short key": named.sign(small, SHA256()).public_bytes(Encoding.PEM),
        "another kind of key": named.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM),
        "RSA": made_request(CertificateRequestSpec((MX2,), "rsa-2048"))[0],
        "a false signature": swapped(good),
    }


def swapped(pem):
    octets = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    octets[-1] ^= 1
    return x509.load_der_x509_csr(bytes(octets)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(("what", "pem"), other_requests().items(), ids=other_requests())
def test_requests_that_get_nothing(made, what, pem):
    token, text = made.new_token("", valid=HOUR, author="ann", now=NOW)
    secret = read_secret(read_token(text)[0])
    refused(SiteRefusal.REQUEST, made.join, secret, pem, lifetime=WEEK, now=NOW)
    assert token.id in made.state().tokens, what


def test_a_limited_authority_gives_nothing_to_others(site):
    site.init("a-site", ("a.example",), author="ann", now=NOW)
    for call in (
        lambda: site.new_token("mx.b.example", valid=HOUR, author="ann", now=NOW),
        lambda: joined(site, "mx.b.example"),
        lambda: site.issue(["x.a.example", "b.example"], public(), lifetime=DAY, author="ann", now=NOW),
        lambda: site.issue(["192.0.2.1"], public(), lifetime=DAY, author="ann", now=NOW),
    ):
        assert "may issue only for names in a.example, and" in refused(SiteRefusal.REQUEST, call)
    assert joined(site)
    assert site.issue(["a.example"], public(), lifetime=DAY, author="ann", now=NOW)


def test_what_was_issued_is_remembered(made):
    pem = made.issue(["exch.a.example", "a.example"], public(), lifetime=90 * DAY, author="ann", now=NOW)
    (record,) = made.state().issued.values()
    assert (record.names, record.not_after) == (("exch.a.example", "a.example"), NOW + 90 * DAY)
    assert f"{x509.load_pem_x509_certificate(pem).serial_number:x}" == record.serial
    assert made.issuing_root_pem(NOW) == made.roots_pem(made.state())


def test_the_endpoint_shows_its_root(made):
    identity = made.endpoint("mx1.a.example", DAY, NOW)
    leaf, root = ders(identity.chain_pem)
    assert root == ders(made.roots_pem(made.state()))[0]
    assert made.endpoint("mx1.a.example", DAY, NOW) != identity
    assert leaf


def test_records_of_another_version_are_named(made, store):
    store.apply({"site_node": {MX2: {"name": 3}}}, author="x")
    with pytest.raises(
        SiteError, match="a record of kind site_node is stored in a form that this version does not know"
    ):
        made.state()
