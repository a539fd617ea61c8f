from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.values import DkimService

Build = Callable[[str], Directory]


def key(name: str, state: str = "current", owner: str = "o", **fields: str) -> str:
    lines = {"name": name, "state": state, **fields}
    return f"[[organization.{owner}.dkim_key]]\n" + "".join(f'{field} = "{value}"\n' for field, value in lines.items())


DOMAINS = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.accepted_domain]]
name = "*.sub.example"
type = "internal-relay"
[[organization.p.accepted_domain]]
name = "p.example"
"""
ED25519 = {"algorithm": "ed25519-sha256"}
REPORTS = {"service_type": "tlsrpt"}


def test_the_nearest_domain_with_current_keys_signs(directory: Build) -> None:
    keys = directory(
        DOMAINS
        + key("a._domainkey.o.example")
        + key("b._domainkey.o.example", **ED25519)
        + key("c._domainkey.o.example", "next")
        + key("d._domainkey.x.o.example", "retired")
        + key("e._domainkey.y.o.example")
        + key("f._domainkey.o.example", **REPORTS)
    ).signing_keys
    assert keys
    assert (keys.signs("o"), keys.signs("p"), keys.signs("")) == (True, False, False)
    found = {
        name: (one.domain, "".join(each.selector for each in one.keys))
        for name in ("o.example", "x.o.example", "y.o.example", "a.y.o.example", "p.example", "example", "")
        if (one := keys.find(name, "o")) is not None
    }
    assert found == {
        "o.example": ("o.example", "ab"),
        "x.o.example": ("o.example", "ab"),
        "y.o.example": ("y.o.example", "e"),
        "a.y.o.example": ("y.o.example", "e"),
    }
    reports = [keys.find(name, "o", DkimService.TLS_REPORTS) for name in ("o.example", "y.o.example")]
    assert [one and one.keys[0].selector for one in reports] == ["f", "e"]


def test_the_keys_of_others_are_found_by_nobody_but_the_gateway(directory: Build) -> None:
    """No name of an owner, an empty one least of all, means anybody's keys."""
    keys = directory(DOMAINS + key("a._domainkey.o.example")).signing_keys
    for owner in ("p", "", "O", "none"):
        for name in ("o.example", "mx.o.example"):
            assert keys.find(name, owner) is None
            assert keys.find(name, owner, DkimService.TLS_REPORTS) is None
    own = keys.find_for_gateway("mx.o.example")
    assert own is not None
    assert (own.organization, own.domain) == ("o", "o.example")
    assert keys.find_for_gateway("p.example") is None


def test_without_current_keys_there_is_nothing_to_ask(directory: Build) -> None:
    assert not directory(DOMAINS + key("a._domainkey.o.example", "next")).signing_keys


GOOD = [
    key("a._domainkey.o.example") + key("b._domainkey.o.example", **ED25519) + key("c._domainkey.o.example", **REPORTS),
    key("a._domainkey.o.example") + key("b._domainkey.o.example", "next") + key("c._domainkey.o.example", "retired"),
    key("a._domainkey.o.example") + key("a._domainkey.x.o.example"),
    key("a._domainkey.sub.example") + key("a._domainkey.x.sub.example"),
]
WRONG = [
    (key("a._domainkey.p.example"), "name", "p.example is not an accepted domain of the organization"),
    (key("a._domainkey.example"), "name", "example is not an accepted domain"),
    (key("a._domainkey.o.example") + key("b._domainkey.o.example"), "state", "a._domainkey.o.example is the current"),
    (key("a._domainkey.o.example", "next") * 2, "name", "is taken already"),
    (key("a.o.example") + key("b._domainkey.o.example"), "name", "is not a name of a DKIM key"),
    (key("a._domainkey.o.example", algorithm="x") + key("b._domainkey.o.example"), "algorithm", "rsa-sha256"),
]


@pytest.mark.parametrize("text", GOOD)
def test_keys_that_can_be(directory: Build, text: str) -> None:
    assert directory(DOMAINS + text).signing_keys


@pytest.mark.parametrize(("text", "field", "why"), WRONG)
def test_keys_that_cannot_be_meant(directory: Build, text: str, field: str, why: str) -> None:
    with pytest.raises(ResourceErrors) as refused:
        directory(DOMAINS + text)
    (error,) = refused.value.errors
    assert error.path.endswith(f".{field}")
    assert why in error.message


def test_a_domain_that_is_wrong_is_not_held_against_its_keys(directory: Build) -> None:
    with pytest.raises(ResourceErrors) as refused:
        directory('[[organization.o.accepted_domain]]\nname = "*"\n' + key("a._domainkey.o.example"))
    assert [error.path.rpartition(".")[2] for error in refused.value.errors] == ["name", "name"]
