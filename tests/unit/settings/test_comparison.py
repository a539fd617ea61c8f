from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.fields import FilePath, Form, ListenAddress
from gatepost.settings.comparison import OWN_SETTINGS, SWITCHED_SETTINGS, is_compared, settings_digests
from gatepost.settings.model import Server, Settings
from gatepost.settings.references import address_or_none, secret_reference
from gatepost.settings.section import Checked, Section, hints
from gatepost.settings.store_url import store_url, worker_url

FORMS = {mark.text for kind in (FilePath, ListenAddress) for mark in kind.__metadata__ if isinstance(mark, Form)}
MX = {"role": "mx", "address": "192.0.2.1:25"}


def made(**tables: Any) -> Settings:
    return Settings(**{"server": {"hostname": "mx1.contoso.example"}, **tables})


def differing(one: Settings, other: Settings) -> set[str]:
    first, second = settings_digests(one), settings_digests(other)
    return {key for key in first | second if first.get(key) != second.get(key)}


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ({"rates": {"messages": 4}}, {}, {"rates.messages"}),
        ({"queue": {"retry": ["1m"]}}, {"queue": {"retry": ["1m", "2m"]}}, {"queue.retry"}),
        ({"queue": {"paused": True}, "trace": {"subjects": False}}, {}, {"queue.paused", "trace.subjects"}),
        ({"listener": [MX]}, {"listener": [MX, MX | {"role": "submission"}]}, {"listener"}),
        ({"listener": [MX]}, {"listener": [MX | {"xclient_from": ["192.0.2.9/32"]}]}, {"listener"}),
        ({"metrics": {}}, {}, {"metrics.address"}),
        ({"admin": {"address": ""}}, {}, {"admin.address"}),
        ({"tls": {"trust_anchors": "/etc/roots.pem"}}, {}, {"tls.trust_anchors"}),
        ({"store": {"master_key": "file:/key"}}, {}, {"store.master_key"}),
        ({"oidc": {"group": [{"name": "a", "role": "owner"}]}}, {}, {"oidc.group"}),
    ],
)
def test_what_is_to_be_the_same_is_compared(one: dict[str, Any], other: dict[str, Any], keys: set[str]) -> None:
    assert differing(made(**one), made(**other)) == keys
    assert all(map(is_compared, keys))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"server": {"hostname": "mx2.contoso.example", "node": "b", "data_dir": "/b", "workers": 7}}),
        ({"listener": [MX]}, {"listener": [MX | {"address": "192.0.2.2:2525"}, MX | {"address": "[::]:25"}]}),
        ({"rates": {"messages": 120_000}, "queue": {"retry": ["15m", "15m", "1h"]}}, {}),
        ({"tls": {"trust_anchors": "/a"}}, {"tls": {"trust_anchors": "/b"}}),
        ({"store": {"master_key": "file:/a"}}, {"store": {"master_key": "env:B"}}),
        ({"admin": {"address": "127.0.0.1:1"}, "metrics": {}}, {"metrics": {"address": "192.0.2.1:2"}}),
        ({"certificate": [{"chain": "/a", "key": "/b"}]}, {}),
        (
            {"oidc": {"group": [{"name": "a", "role": "owner"}]}},
            {"oidc": {"group": [{"name": "a", "role": "owner", "organizations": []}]}},
        ),
    ],
)
def test_names_addresses_paths_and_what_is_as_by_default_are_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert differing(made(**one), made(**other)) == set()


def test_a_digest_is_short_and_of_no_path_address_or_secret() -> None:
    digests = settings_digests(made(alarms={"webhook": "https://hooks.example/SECRET"}, queue={"paused": True}))
    assert digests["alarms.webhook"] == digests["queue.paused"]  # that it is set, and no more
    assert {len(digest) for digest in digests.values()} == {16}


@pytest.mark.parametrize(
    "key", ["", "rates", "rates.", "rates.none", "none.messages", "server.hostname", "certificate"]
)
def test_what_another_node_may_say_that_is_no_setting_here_is_none(key: str) -> None:
    assert not is_compared(key)


def test_each_path_address_and_secret_is_left_out_or_compared_by_whether_it_is_set() -> None:
    known = OWN_SETTINGS | SWITCHED_SETTINGS
    checks = {secret_reference, address_or_none, store_url, worker_url}
    found = set()
    for table, declared in Settings.settings.items():
        section = type(getattr(Settings, declared.name, Server(hostname="mx.contoso.example")))
        keys = section.settings if issubclass(section, Section) else ()
        assert not {key for key in known if key.startswith(f"{table}.")} - {f"{table}.{key}" for key in keys}
        for key in keys:
            marks = getattr(hints(section)[key], "__metadata__", ())
            is_path = FORMS & {mark.text for mark in marks if isinstance(mark, Form)}
            if is_path or any(isinstance(mark, Checked) and mark.check in checks for mark in marks):
                found.add(f"{table}.{key}")
    assert found - known == {"metrics.address"}  # whose table says whether it is on
    assert {"server.data_dir", "store.url", "tls.trust_anchors", "mta_sts.address", "otel.secret"} <= found
