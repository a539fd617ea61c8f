from __future__ import annotations

import pytest

from gatepost.policy.connectors.issuer_url import https_issuer, https_url


@pytest.mark.parametrize("url", ["https://login.example", "https://login.example:8443/realms/staff"])
def test_an_issuer_has_an_https_address(url: str) -> None:
    assert https_issuer(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://login.example", "is not an https address"),
        ("https://", "is not an https address"),
        ("https://user@login.example", "is not an https address"),
        ("https://login.example/#x", "is not an https address"),
        ("https://login.example:port", "is not an https address"),
        ("https://login.example/a b", "is not an https address"),
        ("https://bücher.example", "is not an https address"),
        ("https://login.example/?a=b", "has a query"),
        ("https://login.microsoftonline.com/common/v2.0", "each names its tenant's own issuer"),
    ],
)
def test_what_is_none(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        https_issuer(url)


def test_keys_may_have_a_query() -> None:
    assert https_url("https://login.example/keys?v=2") == "https://login.example/keys?v=2"
