from __future__ import annotations

import pytest

from gatepost.settings.environment import overrides


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("GATEPOST_SERVER__HOSTNAME", "mx.example", {"server": {"hostname": "mx.example"}}),
        ("GATEPOST_SERVER__HOSTNAME", "true", {"server": {"hostname": "true"}}),
        ("GATEPOST_SERVER__WORKERS", "2", {"server": {"workers": 2}}),
        ("GATEPOST_TLS__PROFILE", "modern", {"tls": {"profile": "modern"}}),
        ("GATEPOST_DNS__TRUST_AD", "false", {"dns": {"trust_ad": False}}),
        ("GATEPOST_DNS__NAMESERVERS", '["127.0.0.1:53"]', {"dns": {"nameservers": ["127.0.0.1:53"]}}),
        ("GATEPOST_DNS__NAMESERVERS", "['127.0.0.1:53',]", {"dns": {"nameservers": ["127.0.0.1:53"]}}),
        ("GATEPOST_LIMITS__MESSAGE_BYTES", "20MB", {"limits": {"message_bytes": "20MB"}}),
        ("GATEPOST_LIMITS__MESSAGE_BYTES", "1_000", {"limits": {"message_bytes": 1000}}),
        ("GATEPOST_QUEUE__MESSAGE_EXPIRATION", "12h", {"queue": {"message_expiration": "12h"}}),
        ("GATEPOST_SERVER__WORKERS", "1" * 5_000, {"server": {"workers": "1" * 5_000}}),
        ("GATEPOST_DNS__NAMESERVERS", "[" * 100_000, {"dns": {"nameservers": "[" * 100_000}}),
        ("GATEPOST_SERVER__WORKERS", "1\nother = 2", {"server": {"workers": "1\nother = 2"}}),
        ("GATEPOST_LISTENER", '[{"role": "mx"}]', {"listener": [{"role": "mx"}]}),
        ("GATEPOST_CERTIFICATE", "[{chain = 'a', key = 'b'}]", {"certificate": [{"chain": "a", "key": "b"}]}),
    ],
)
def test_a_variable_sets_a_key(name: str, text: str, values: dict[str, object]) -> None:
    found = overrides({name: text})
    assert found.values == values
    assert list(found.names.values()) == [name]
    assert not found.problems


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("GATEPOST_SERVER__HOSTNAM", "key 'hostnam': unknown key, it would have no effect; did you mean 'hostname'?"),
        ("GATEPOST_SERVR__HOSTNAME", "section 'servr': unknown key, it would have no effect; did you mean 'server'?"),
        ("GATEPOST_SERVER_HOSTNAME", "two underscores stand between section and key: write GATEPOST_SERVER__HOSTNAME"),
        ("GATEPOST_LISTENER__ROLE", "a list can only be given as a whole: write GATEPOST_LISTENER with JSON tables"),
    ],
)
def test_a_variable_that_is_meant_but_wrong_is_a_problem(name: str, problem: str) -> None:
    found = overrides({name: "x"})
    assert list(map(str, found.problems)) == [f"{name}: {problem}"]
    assert not found.values


@pytest.mark.parametrize(
    "name",
    ["GATEPOST_CONFIG", "GATEPOST_SERVICE_HOST", "GATEPOST_PORT_25_TCP_ADDR", "GATEPOST_SERVER", "GATEPOST", "PATH"],
)
def test_other_variables_are_left_alone(name: str) -> None:
    found = overrides({name: "x"})
    assert not found.values
    assert not found.problems


def test_values_go_over_a_document_key_by_key_and_lists_as_a_whole() -> None:
    document = {"server": {"hostname": "a", "workers": 1}, "listener": [{"role": "mx"}], "tls": 5}
    found = overrides(
        {
            "GATEPOST_SERVER__WORKERS": "3",
            "GATEPOST_LISTENER": "[]",
            "GATEPOST_TLS__PROFILE": "modern",
            "GATEPOST_LOG__LEVEL": "error",
        }
    )
    assert found.over(document) == {
        "server": {"hostname": "a", "workers": 3},
        "listener": [],
        "tls": 5,
        "log": {"level": "error"},
    }
    assert document["server"] == {"hostname": "a", "workers": 1}
