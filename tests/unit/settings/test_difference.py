from __future__ import annotations

import pytest

from gatepost.settings.difference import changed_keys
from gatepost.settings.model import Settings

USUAL = {"server": {"hostname": "mx1.contoso.example"}}
MX = {"role": "mx", "address": "127.0.0.1:25"}

# sections of the new file -> the keys that differ
CASES = {
    "nothing": ({}, []),
    "a default that is written": ({"queue": {}, "log": {"level": "info"}}, []),
    "one key": ({"log": {"level": "debug"}}, ["log.level"]),
    "a key that a document writes otherwise": ({"dns": {"validate": "local"}}, ["dns.validate"]),
    "a list of tables": ({"listener": [MX]}, ["listener"]),
    "several": (
        {"server": {"hostname": "mx2.contoso.example", "drain": 5}, "admin": {"address": ""}},
        ["server.hostname", "server.drain", "admin.address"],
    ),
}


@pytest.mark.parametrize(("sections", "keys"), CASES.values(), ids=CASES)
def test_keys_that_differ(sections, keys):
    assert changed_keys(Settings(**USUAL), Settings(**{**USUAL, **sections})) == keys
