from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote.mta_sts import published_policy
from gatepost.manage.use_cases import mta_sts as here
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER, plain

NAME = "contoso.example"
WORDS = {"stored": {}, "of one": {"organization": "contoso"}, "looked at": {"check": True, "private": True}}


@pytest.mark.parametrize("mode", ["enforce", ""])
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_policy_is_the_same(safe, words, mode):
    gateway = safe.api.gateway
    with gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        contoso["accepted_domain"][0] |= {"mta_sts": mode} if mode else {}
        store.apply({"organization": {"contoso": contoso}}, author="ann")
    found = published_policy(safe, NAME.upper(), **words)
    assert found == plain(here.published_policy(gateway, OWNER, NAME, **words))
    assert found["published"] is bool(mode)
    assert bool(found["findings"]) is ("check" in words)


def test_what_is_refused(there):
    for words in (("nobody.example",), (NAME, "fabrikam")):
        with pytest.raises(Refusal) as refused:
            published_policy(there, *words)
        assert refused.value.kind is Kind.MISSING
    there.api.who = Principal("tenant", frozenset({Scope.READ}), frozenset({"contoso"}))
    with pytest.raises(Refusal, match="not public") as refused:
        published_policy(there, NAME, check=True, private=True)
    assert refused.value.kind is Kind.FORBIDDEN
