from __future__ import annotations

import pytest

from gatepost.tls.facts import ChainStatus, ChainVerdict, TlsFacts


@pytest.mark.parametrize("status", ChainStatus)
def test_only_trusted_is_trusted(status):
    assert ChainVerdict(status, "", None).trusted == (status == "trusted")


@pytest.mark.parametrize(("group", "expected"), [("X25519MLKEM768", True), ("P-256", True), ("", False)])
def test_forward_secrecy_is_an_ephemeral_group(group, expected):
    assert TlsFacts("TLSv1.2", "suite", group, "", resumed=False, server_name="").forward_secret is expected


def test_a_chain_is_not_printed_into_logs():
    facts = TlsFacts("TLSv1.3", "suite", "X25519", "", resumed=False, server_name="", peer_chain=(b"der",))
    assert "der" not in repr(facts)
