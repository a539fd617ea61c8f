from __future__ import annotations

import pytest

from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict, Revocation, TlsFacts


@pytest.mark.parametrize("status", ChainStatus)
def test_only_trusted_is_trusted(status):
    assert ChainVerdict(status, "", None).trusted == (status == "trusted")


@pytest.mark.parametrize(("group", "expected"), [("X25519MLKEM768", True), ("P-256", True), ("", False)])
def test_forward_secrecy_is_an_ephemeral_group(group, expected):
    assert TlsFacts("TLSv1.2", "suite", group, "", resumed=False, server_name="").forward_secret is expected


def test_a_chain_is_not_printed_into_logs():
    facts = TlsFacts("TLSv1.3", "suite", "X25519", "", resumed=False, server_name="", peer_chain=(b"der",))
    assert "der" not in repr(facts)


LEARNT = {
    "good": (Revocation("good", "said the list", "crl"), "good (crl)", "trusted", "trusted"),
    "revoked": (Revocation("revoked", "gone", "ocsp"), "revoked: gone", "revoked", "revoked"),
    "unknown": (Revocation("unknown", "host down"), "unknown: host down", "trusted", "revocation-unknown"),
    "not published": (Revocation("not-published", "names none"), "not-published: names none", "trusted", "trusted"),
}


@pytest.mark.parametrize("name", LEARNT)
def test_what_was_learnt_of_revocation_is_part_of_the_verdict(name):
    revocation, text, soft, hard = LEARNT[name]
    assert revocation.text == text
    verdict = ChainVerdict(ChainStatus.TRUSTED, "leads to CN=Root", None, "CN=Root", (b"leaf", b"root"))
    for hard_fail, status in ((False, soft), (True, hard)):
        found = verdict.checked(revocation, hard_fail=hard_fail)
        assert (found.status, found.revocation, found.path) == (status, revocation, verdict.path)
        assert found.detail == ("leads to CN=Root" if status == "trusted" else revocation.detail)
