from __future__ import annotations

import pytest

from gatepost.store.changes import ConfigStore

VALUE = ("newly", "outbound_connector", "HQ", "smart_hosts", "10.0.0.1")
OUT = {"name": "HQ", "recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.1"], "trust_anchors": "/roots"}


@pytest.fixture
def written(home):
    """Nobody granted what stands there."""
    home.data.mkdir()
    store = ConfigStore(home.data / "config.db")
    store.apply({"organization": {"newly": {"outbound_connector": [OUT]}}, "grant": {"newly": {}}}, author="liz")
    store.close()
    return home


def test_values_are_listed_with_their_effect(written):
    host, file = written.table("grant", "list")
    assert (host["name"], host["value"], file["effect"]) == ("hq", "10.0.0.1", "none")
    assert "tenants_may_reach" in host["effect"]
    assert [one["effect"] for one in written.json("grant", "list")] == ["bounded", "none"]


def test_one_is_granted_by_its_name(written):
    assert "nothing was changed" in written.call("grant", "add", *VALUE, "--dry-run").stderr
    assert len(written.table("grant", "list")) == 2
    assert "granted, version 2" in written.call("grant", "add", *VALUE, "--note", "asked for").stderr
    assert [row["field"] for row in written.table("grant", "list")] == ["trust_anchors"]
    assert "there is no value" in written.call("grant", "add", *VALUE, code=2).stderr
    done = written.json("grant", "add", *VALUE[:3], "trust_anchors", "/roots")
    assert (done["version"], done["granted"]["value"]) == (3, "/roots")
    assert written.history()[0].note == ""


def test_without_a_store_it_is_not_readable(home):
    home.settings(server={"hostname": "mx.gate.example", "data_dir": "/dev/null/data"})
    home.call("grant", "add", *VALUE, code=3)


def test_status_says_how_many_have_no_effect(written):
    line = next(one for one in written.call("status", code=1).stdout.splitlines() if one.startswith("grants "))
    assert "1 file or socket not granted" in line
    assert written.json("status", code=1)["ungranted"] == 1
    written.call("grant", "add", *VALUE[:3], "trust_anchors", "/roots")
    assert "grants " not in written.call("status", code=1).stdout
