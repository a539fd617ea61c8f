from __future__ import annotations

import pytest

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind


def store(gateway, name, **table):
    with gateway.config() as config:
        return config.apply({"organization": {name: table}}, author="ann")


def test_resources_are_parsed_once_for_each_version(gateway):
    store(gateway, "contoso")
    first = gateway.directory()
    assert gateway.directory() is first
    store(gateway, "fabrikam")
    second = gateway.directory()
    assert (first.version, second.version) == (1, 2)
    assert len(second.resources.organizations) == 2


def test_what_was_just_read_is_understood_once(gateway):
    store(gateway, "contoso")
    directory = gateway.directory()
    with gateway.config() as opened:
        assert gateway.resources.understood(opened, 1, {"ignored": "as the version is known"}) is directory
        assert gateway.resources.understood(opened, 2, {"organization": {"new": {}}}).resources.organization("new")


def test_what_this_version_cannot_use_is_unreadable(gateway):
    store(gateway, "contoso", field_of_the_future=1)
    with pytest.raises(Refusal, match="cannot be used by this version") as refused:
        gateway.directory()
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_files_that_cannot_be_opened_are_unreadable(gateway):
    gateway.data.write_text("in the way", encoding="utf-8")
    with pytest.raises(Refusal, match=str(gateway.data)) as refused:
        gateway.directory()
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_a_dispute_is_decided_by_the_history(gateway):
    narrow = {"accepted_domain": [{"name": "b.example"}]}
    wide = {"accepted_domain": [{"name": "*.b.example", "type": "internal-relay"}]}
    with gateway.config() as store:
        for name, table in (("b", narrow), ("a", wide), ("b", {}), ("b", narrow)):
            store.apply({"organization": {name: table}}, author="ann")
    assert gateway.directory().accepts("a", "b.example")
