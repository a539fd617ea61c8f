from __future__ import annotations

import pytest

from gatepost.manage.remote.issuer_trials import try_issuer
from gatepost.manage.use_cases import issuer_trials as here
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER

SECRET = "eyJhbGciOiJub25lIn0.e30."


@pytest.fixture
def issued(there):
    """With an issuer at an address that nobody goes to."""
    with there.api.gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        contoso["oauth_issuer"] = [{"name": "i/p", "issuer": "https://127.0.0.1:1", "audiences": ["a"]}]
        store.apply({"organization": {"contoso": contoso}}, author="root")
    return there


def test_what_an_issuer_says_is_the_same(issued):
    found = try_issuer(issued, "I/P", "contoso", SECRET)
    assert found == here.try_issuer(issued.api.gateway, OWNER, "i/p", token=SECRET)
    assert found["failure"]
    assert SECRET not in str(issued.calls)


def test_what_is_not_asked(issued):
    for words in (("nobody",), ("i/p", "fabrikam")):
        with pytest.raises(Refusal) as refused:
            try_issuer(issued, *words)
        assert refused.value.kind is Kind.MISSING
