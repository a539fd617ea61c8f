"""What partners are told."""

from __future__ import annotations

from gatepost.analysis.checks.changeover_notice import notice
from gatepost.pki.certificates.entry import Purpose
from gatepost.values import replace

WHEN = 1_795_528_800.0


def text(entry, olds=(), **options):
    return notice(entry, olds, hostname="mx.a.example", **{"above": [], "firewall": [], **options})


def test_everything_a_partner_may_have_pinned_is_in_it(entry):
    new, old, root = entry("new", switch_at=WHEN), entry("old"), entry("root", "Root CA").leaf
    said = text(new, [old], above=[root], firewall=["crl.ca.example:80"])
    for leaf in (new.leaf, old.leaf):
        for fact in (leaf.sha1.upper(), leaf.sha256.upper(), f"3 1 1 {leaf.spki_sha256}", leaf.issuer):
            assert fact in said
    for fact in (root.sha256.upper(), "crl.ca.example:80", "changes on 2026-11-24 14:00Z", "TlsDomain"):
        assert fact in said.replace("\n", " ")
    assert said.startswith("Subject: Change of the TLS certificate of the mail server mx.a.example\n\n")
    assert max(map(len, said.splitlines())) < 100


def test_without_a_day_a_root_or_hosts(entry):
    new = entry("new")
    said = text(replace(new, leaf=replace(new.leaf, issuer=new.leaf.subject)))
    for fact in ("changes soon", "trust the certificate itself", "Your firewall needs no change"):
        assert fact in said
    assert "CURRENT CERTIFICATE" not in said


def test_an_authority_that_is_not_known_here_is_named(entry):
    new = entry("new")
    issued = replace(new, leaf=replace(new.leaf, issuer="CN=Private CA"))
    said = text(issued)
    assert "     CN=Private CA\n     (its certificate is not known to our gateway: please ask us for it)" in said
    assert "self-signed" not in said
    between = replace(entry("between").leaf, subject="CN=Issuing CA", issuer="CN=Root CA")
    assert "     CN=Root CA\n     (its certificate is not known" in text(issued, above=[between])


def test_of_a_client_certificate(entry):
    said = text(replace(entry("new"), purpose=Purpose.CLIENT))
    assert "of the mail sent by mx.a.example" in said
    assert "TlsSenderCertificateName" in said
    assert "openssl s_client" not in said
    assert "your servers refuse mail from us" in said.replace("\n", " ")
