from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.manage.cli.hybrid import revocation_hosts
from gatepost.pki.certificates.authority import Authority

HOST = ("--exchange-host", "ex1.contoso.example")
RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.outbound_connector]]
name = "to hq"
connector_type = "on-premises"
all_accepted_domains = true
smart_hosts = ["ex1.contoso.example"]
tls_settings = "domain-validation"
tls_domain = "ex1.contoso.example"
client_certificate = {{ chain = "{0}/client.pem", key = "{0}/client.key" }}
cloud_services_mail_enabled = true
trust_anchors = "{1}"
"""


@pytest.fixture
def home(home):
    home.authority = Authority("Root")
    (home.path / "roots.pem").write_bytes(home.authority.certificate_pem)
    (home.path / "other.pem").write_bytes(Authority("Other").certificate_pem)
    home.settings(tls={"trust_anchors": str(home.path / "other.pem")})
    return home


def apply(home, anchors):
    """With files that are there when they are named, and gone afterwards."""
    files = [home.path / "client.pem", home.path / "client.key"]
    for file, content in zip(files, home.authority.issue(["mx.gate.example"]), strict=True):
        file.touch(0o600)
        file.write_bytes(content)
    if anchors and not anchors.exists():
        anchors.write_bytes(home.authority.certificate_pem)
        files.append(anchors)
    home.call("apply", "-f", home.write(RESOURCES.format(home.path, anchors)))
    for file in files:
        file.unlink()


def finding(home, subject, *words):
    plan = home.json("hybrid", "plan", *HOST, *words, code=1)
    return next(one for one in plan["here"] if one["subject"] == subject)


def test_files_that_a_connector_names_are_looked_at(home):
    apply(home, "")
    said = home.call("hybrid", "plan", code=1).stderr
    assert "client_certificate of outbound connector 'to hq': " in said
    assert "No such file" in said
    (home.path / "client.pem").write_text("nothing")
    assert "it contains no certificate" in home.call("hybrid", "plan", code=1).stderr
    assert not finding(home, "client-identity")["complete"]
    (home.path / "client.pem").write_bytes(home.authority.issue(["mx.gate.example"])[0])
    assert finding(home, "client-identity")["complete"]


def test_exchanges_certificate_may_be_trusted_by_the_connectors_anchors(home):
    shown = home.path / "exchange.pem"
    shown.write_bytes(home.authority.issue(["ex1.contoso.example"])[0])
    apply(home, "")
    refused = finding(home, "exchange-certificate", "--exchange-certificate", shown)
    assert not refused["complete"]
    assert "untrusted-root" in refused["text"] or "chain-incomplete" in refused["text"]
    apply(home, home.path / "roots.pem")
    assert finding(home, "exchange-certificate", "--exchange-certificate", shown)["complete"]
    apply(home, home.path / "gone.pem")
    said = home.call("hybrid", "plan", "--exchange-certificate", shown, code=3).stderr
    assert "gone.pem" in said


def test_a_file_that_is_too_large_is_not_read(home):
    apply(home, "")
    (home.path / "large.pem").write_bytes(b"x" * (1 << 21))
    said = home.call("hybrid", "plan", "--exchange-certificate", home.path / "large.pem", code=2).stderr
    assert "is larger than 1048576 bytes" in said


def test_a_certificate_of_the_settings_that_cannot_be_used_is_told(home):
    home.settings(certificate=[{"chain": "gone.pem", "key": "gone.key"}])
    apply(home, "")
    assert "[[certificate]]: " in home.call("hybrid", "plan", code=1).stderr


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("", []),
        ("http://crl.a.example:8080/x.crl", ["crl.a.example"]),
        ("http://[::/x.crl", []),
        ("ldap://crl.a.example/x", []),
    ],
)
def test_hosts_that_are_asked_for_revoked_certificates(home, url, hosts):
    chain, _ = home.authority.issue(["a.example"], crl_url=url)
    plain = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(chain)]
    assert revocation_hosts([*plain, *plain]) == hosts
