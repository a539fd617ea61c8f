from __future__ import annotations

from gatepost.protocols.arc.chain import Seal, read_chain, results_field
from gatepost.protocols.dkim.canonical import relaxed_field
from gatepost.protocols.dkim.fields import split_fields

SEAL = Seal(2, "pass", "rsa-sha256", "a.example", "s", 1_795_528_800.7)


def test_results_have_a_line_each() -> None:
    assert results_field(3, "mx.a.example", "spf=pass x=\xfc; dkim=none;") == (
        b"ARC-Authentication-Results: i=3; mx.a.example;\r\n\tspf=pass x=?;\r\n\tdkim=none\r\n"
    )
    assert max(map(len, results_field(1, "mx", "spf=" + "x" * 5000).split(b"\r\n"))) < 998


def test_a_seal() -> None:
    made = SEAL.completed(b"\0" * 256)
    assert relaxed_field(made).startswith(
        b"arc-seal:i=2; a=rsa-sha256; t=1795528800; cv=pass; d=a.example; s=s; b=AAAA"
    )
    assert made.endswith(b"A==\r\n")
    assert max(map(len, made.split(b"\r\n"))) <= 77


def test_octets_that_are_sealed() -> None:
    before = (
        b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=b.example; s=t; b=AAAA\r\n"
        b"ARC-Message-Signature: i=1;  x\r\nARC-Authentication-Results: i=1; mx"
    )
    results, signature = b"ARC-Authentication-Results: i=2;  mx\r\n", b"ARC-Message-Signature: i=2; y\r\n"
    own = (
        b"arc-authentication-results:i=2; mx\r\narc-message-signature:i=2; y\r\n"
        b"arc-seal:i=2; a=rsa-sha256; t=1795528800; cv=pass; d=a.example; s=s; b="
    )
    assert SEAL.signed_octets((), results, signature) == own
    assert SEAL.signed_octets(read_chain(split_fields(before)), results, signature) == (
        b"arc-authentication-results:i=1; mx\r\narc-message-signature:i=1; x\r\n"
        b"arc-seal:i=1; a=rsa-sha256; cv=none; d=b.example; s=t; b=AAAA\r\n" + own
    )
