"""Handshakes with ourselves on real certificates, and what others on this gateway demand of us."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.checks.gates_rehearsal import Meeting, demand_findings, demands_on, meet, rehearsal_findings
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.inventory import entry_from
from gatepost.values import replace

AUTHORITY = Authority("Rehearsal Root")
HOST = "mx.a.example"
EC, NEW = (ServerIdentity(*AUTHORITY.issue([HOST])) for _ in range(2))
RSA = ServerIdentity(*AUTHORITY.issue([HOST], key="rsa"))
OTHER = ServerIdentity(*AUTHORITY.issue(["other.example"]))
ENTRY = entry_from(NEW, now=0.0)


def found(before, after, entry=ENTRY):
    meetings = [meet(one, [HOST], "default") if one else () for one in (before, after)]
    return [(one.verdict, one.text) for one in rehearsal_findings(entry, *meetings)]


def test_every_client_meets_every_name():
    met = meet([EC, RSA], [HOST], "default")
    assert len(met) == 8
    assert all(one.presented and one.bears_name and not one.failure for one in met)
    assert len({one.presented for one in met}) == 2
    alone = meet([EC], [HOST], "default")
    assert {one.client for one in alone if one.failure} == {
        "TLSv1.2 client with RSA only",
        "TLSv1.3 client with RSA only",
    }


def test_nothing_becomes_worse():
    (one,) = found([EC], [NEW])
    text = (
        "no test handshake got worse; these clients get this certificate: TLSv1.2 client with ECDSA "
        "only, TLSv1.3 client with "
    )
    assert one == (Mark.PASS, f"{text}ECDSA only")
    assert [verdict for verdict, _ in found([EC, RSA], [NEW, RSA])] == [Mark.PASS]
    assert [verdict for verdict, _ in found([], [NEW])] == [Mark.PASS]


def test_clients_that_are_left_without():
    ((verdict, text),) = found([RSA], [NEW])
    assert verdict is Mark.FAIL
    assert text == (
        "the handshake would fail for these clients: TLSv1.2 client with RSA only, TLSv1.3 client with RSA only"
    )


def test_clients_that_are_left_without_for_one_name():
    """The other name goes on to be borne, by a certificate with a key of another kind."""
    other = "mail.a.example"
    both, rsa = (ServerIdentity(*AUTHORITY.issue([HOST, other], key=one)) for one in ("ecdsa", "rsa"))
    before, after = (meet(one, [HOST, other], "default") for one in ([both, rsa], [NEW, rsa]))
    worse = [one for one in rehearsal_findings(ENTRY, before, after) if one.verdict is Mark.FAIL]
    assert worse[0].text.endswith(f"with ECDSA only, asking for {other}")
    assert worse[0].fix.startswith("Get a certificate with that name")


def test_clients_that_get_another_name():
    wrong = entry_from(OTHER, now=0.0)
    ((verdict, text), *_) = found([EC], [OTHER], wrong)
    assert verdict is Mark.FAIL
    assert text.endswith(f"that asks for {HOST} would get a certificate without that name")


def test_one_that_nobody_is_shown():
    assert [verdict for verdict, _ in found([EC], [EC, NEW])] == [Mark.WARN]


def test_a_client_certificate_is_not_rehearsed():
    assert found([EC], [NEW], replace(ENTRY, purpose=Purpose.CLIENT)) == []
    assert Meeting("x", "").bears_name


RESOURCES = """
[[organization.contoso.outbound_connector]]
name = "here"
recipient_domains = ["a.example"]
smart_hosts = ["mx.a.example"]
tls_settings = "domain-validation"
{more}
[[organization.contoso.outbound_connector]]
name = "off"
recipient_domains = ["b.example"]
smart_hosts = ["mx.a.example"]
tls_settings = "certificate-validation"
enabled = false
[[organization.contoso.outbound_connector]]
name = "lax"
recipient_domains = ["c.example"]
smart_hosts = ["mx.a.example"]
[[organization.contoso.outbound_connector]]
name = "elsewhere"
recipient_domains = ["d.example"]
smart_hosts = ["mx.elsewhere.example"]
tls_settings = "certificate-validation"
"""


@pytest.mark.parametrize(
    ("more", "trusted", "verdict", "text"),
    [
        ("", True, Mark.PASS, "sends here and accepts it"),
        ('tls_domain = "*.a.example"', True, Mark.PASS, "sends here and accepts it"),
        ('tls_domain = "mail.b.example"', True, Mark.FAIL, "it requires the name mail.b.example"),
        ("", False, Mark.FAIL, "would not trust it"),
        ('trust_anchors = "/nowhere.pem"', True, Mark.FAIL, "would not trust it"),
    ],
)
def test_what_others_here_demand(resources, tmp_path, more, trusted, verdict, text):
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes((AUTHORITY if trusted else Authority("Strangers")).certificate_pem)
    organizations = resources(RESOURCES.format(more=more)).organizations
    (demand,) = demands_on(organizations, ["MX.a.example"])
    chain = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(NEW.chain_pem)]
    now = (ENTRY.leaf.not_before + ENTRY.leaf.not_after) / 2
    (one,) = demand_findings(ENTRY, chain, [demand], str(anchors), now=now)
    assert (one.verdict, text in one.text) == (verdict, True), one
    assert one.text.startswith("outbound connector 'here' of contoso")


def test_certificate_validation_asks_for_no_name(resources):
    text = RESOURCES.format(more="").replace("domain-validation", "certificate-validation")
    (demand,) = demands_on(resources(text).organizations, [HOST])
    assert demand.names == ()
