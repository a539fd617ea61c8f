from __future__ import annotations

import pytest

from gatepost.language import in_language
from gatepost.manage.pages.requirement_text import requirement_text, sources_text
from gatepost.policy.decisions.requirement import Source

FOR = "TLS with a verified certificate for"


@pytest.mark.parametrize(
    ("short", "text"),
    [
        ("opportunistic", "Opportunistic TLS"),
        ("encrypted", "TLS with any certificate"),
        ("authenticated", "TLS with a verified certificate"),
        ("authenticated(dane)", "TLS with a verified certificate, DANE"),
        ("authenticated(*.b.example)", f"{FOR} *.b.example"),
        (
            "authenticated(dane and a.example,b.example and c.example)",
            f"{FOR} a.example or b.example and c.example, DANE",
        ),
        ("authenticated(mx.b.example) with requiretls", f"{FOR} mx.b.example, REQUIRETLS"),
        (
            "encrypted with post-quantum key exchange and groups x25519,secp256r1 and cipher suites none",
            "TLS with any certificate, post-quantum key exchange, groups x25519, secp256r1, cipher suites none",
        ),
        ("encrypted with something else", "TLS with any certificate, something else"),
        ("another word", "another word"),
        ("", ""),
    ],
)
def test_a_requirement_is_said_in_words(short, text):
    assert requirement_text(short) == text


def test_so_is_who_requires_it():
    sources = [
        Source("connector", "bank"),
        Source("rule", "r", "contoso"),
        Source("dane"),
        "organization:contoso",
        "other:x",
    ]
    assert sources_text(sources) == "connector bank, mail flow rule r of contoso, DANE, organization contoso, other:x"
    assert sources_text(["default", "internal:site"]) == "the default, the nodes of the site"
    assert sources_text([]) == ""


def test_in_the_language_of_the_page():
    with in_language("de"):
        assert requirement_text("authenticated(a.example)") == "TLS mit verifiziertem Zertifikat für a.example"
        assert sources_text(["connector:a"]) == "Connector a"
