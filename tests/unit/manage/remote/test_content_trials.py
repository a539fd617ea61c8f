from __future__ import annotations

import pytest

from gatepost.manage.remote import content_trials
from gatepost.manage.remote.content_trials import try_hook
from gatepost.manage.use_cases import content_trials as here
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER


@pytest.fixture
def hooked(there):
    """With a hook whose scanner cannot be asked."""
    with there.api.gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        contoso["content_hook"] = [{"name": "a/v", "type": "clamav", "address": "127.0.0.1:1", "timeout": "1s"}]
        store.apply({"organization": {"contoso": contoso}}, author="root")
    return there


def timeless(found):
    return {**found, "trials": [{**one, "answer": {**one["answer"], "ms": 0}} for one in found["trials"]]}


@pytest.mark.parametrize("words", [("A/V",), ("a/v", "contoso", b"Subject: x\r\n\r\n\xff"), ("a/v", "", b"")])
def test_what_a_scanner_says_is_the_same(hooked, words):
    expected = here.try_hook(hooked.api.gateway, OWNER, *words)
    assert timeless(try_hook(hooked, *words)) == timeless(expected)


def test_what_is_not_asked(hooked, monkeypatch):
    with pytest.raises(Refusal) as refused:
        try_hook(hooked, "nobody")
    assert refused.value.kind is Kind.MISSING
    monkeypatch.setattr(content_trials, "_MOST", 3)
    with pytest.raises(Refusal, match="larger than 3 bytes") as refused:
        try_hook(hooked, "a/v", message=b"1234")
    assert refused.value.kind is Kind.INPUT
