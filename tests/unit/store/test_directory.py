"""A dispute is decided by the history, wherever the directory is made."""

from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.store.changes import ConfigStore
from gatepost.store.directory import stored_directory

RELAY = "internal-relay"


@pytest.fixture
def config(tmp_path):
    return tmp_path / "config.db"


def made(store):
    return stored_directory(store, *store.load(), PrefixLimits())


def test_who_had_a_domain_first_keeps_it(config):
    narrow = {"accepted_domain": [{"name": "b.example"}]}
    wide = {"accepted_domain": [{"name": "*.b.example", "type": RELAY}]}
    with closing(ConfigStore(config)) as store:
        store.apply({"organization": {"b": narrow}}, author="ann")
        assert made(store).first == {}
        store.apply({"organization": {"a": wide}}, author="liz")
        found = made(store)
        assert found.first == {("b", "b.example"): 1, ("a", "*.b.example"): 2}
        assert found.accepts("b", "b.example")
        # Given up and taken again is later.
        store.apply({"organization": {"b": {}}}, author="ann")
        store.apply({"organization": {"b": narrow}}, author="ann")
        assert made(store).first == {("b", "b.example"): 4, ("a", "*.b.example"): 2}
        assert made(store).accepts("a", "b.example")


def test_what_came_with_one_change_is_nobodys(config):
    both = {
        "a": {"accepted_domain": [{"name": "*.b.example", "type": RELAY}]},
        "b": {"accepted_domain": [{"name": "b.example"}]},
    }
    with closing(ConfigStore(config)) as store:
        store.apply({"organization": both}, author="ann")
        assert made(store).organization_of("b.example") is None
        assert made(store).is_disputed("b.example")
