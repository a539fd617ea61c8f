from __future__ import annotations

import pytest

from gatepost.protocols.arc.chain import (
    has_chain,
    highest_instance,
    read_chain,
    sealed_octets,
    was_failed,
)
from gatepost.protocols.dkim.fields import Field, split_fields
from gatepost.protocols.dkim.verification import SignatureFault


def a_set(instance: int, **tags: str) -> list[str]:
    values = {"i": str(instance), "a": "rsa-sha256", "cv": "pass" if instance > 1 else "none"}
    values |= {"d": "a.example", "s": "s", "b": f"AA{instance:02d}"} | tags
    seal = "; ".join(f"{name}={value}" for name, value in values.items() if value != "-")
    results = f"ARC-Authentication-Results: i={instance}; mx; spf=pass"
    return [f"ARC-Seal: {seal}", f"ARC-Message-Signature: a=x; i={instance}; b=y", results]


def fields(*sets: list[str]) -> tuple[Field, ...]:
    lines = [line for one in reversed(sets) for line in one]
    return split_fields("\r\n".join([*lines, "From: x"]).encode())


def test_no_chain() -> None:
    assert read_chain(fields()) == []
    assert not has_chain(fields())
    assert highest_instance(fields()) == 0
    assert not was_failed(fields())


def test_a_chain_by_instance() -> None:
    message = fields(a_set(1), a_set(2))
    sets = read_chain(message)
    assert [(one.instance, one.cv, one.domain, one.selector) for one in sets] == [
        (1, "none", "a.example", "s"),
        (2, "pass", "a.example", "s"),
    ]
    assert has_chain(message)
    assert highest_instance(message) == 2
    assert not was_failed(message)
    assert sealed_octets(sets) == (
        b"arc-authentication-results:i=1; mx; spf=pass\r\n"
        b"arc-message-signature:a=x; i=1; b=y\r\n"
        b"arc-seal:i=1; a=rsa-sha256; cv=none; d=a.example; s=s; b=AA01\r\n"
        b"arc-authentication-results:i=2; mx; spf=pass\r\n"
        b"arc-message-signature:a=x; i=2; b=y\r\n"
        b"arc-seal:i=2; a=rsa-sha256; cv=pass; d=a.example; s=s; b="
    )


BROKEN = {
    "a set is missing": fields(a_set(2)),
    "there are more than 50 sets": fields(*(a_set(number) for number in range(1, 52))),
    "a set is not complete": fields(a_set(1)[:2]),
    "two arc-seal fields have the same i=": fields([*a_set(1), a_set(1)[0]]),
    "the seal of set 1 has cv=pass": fields(a_set(1, cv="pass")),
    "the seal of set 2 has cv=fail": fields(a_set(1), a_set(2, cv="fail")),
    "the seal of set 1 has h=": fields(a_set(1, h="from")),
    "a= of the seal of set 1 is not supported": fields(a_set(1, a="rsa-sha1")),
    "the seal of set 1 cannot be read": fields(a_set(1, d="a..b")),
    "arc-seal cannot be read": fields(a_set(1, x="1; x=2")),
}


@pytest.mark.parametrize("why", BROKEN)
def test_broken_chains(why: str) -> None:
    with pytest.raises(SignatureFault, match=why.replace("(", r"\(")) as raised:
        read_chain(BROKEN[why])
    assert raised.value.result == "fail"


@pytest.mark.parametrize("tags", [{"b": "-"}, {"b": "A"}])
def test_seals_without_a_signature(tags: dict[str, str]) -> None:
    with pytest.raises(SignatureFault, match="cannot be read"):
        read_chain(fields(a_set(1, **tags)))


def test_without_an_instance_it_is_in_no_set() -> None:
    with pytest.raises(SignatureFault, match="a set is missing"):
        read_chain(split_fields(b"ARC-Seal: cv=none"))


def test_the_last_seal_may_say_that_the_chain_fails() -> None:
    assert was_failed(fields(a_set(1), a_set(2, cv="Fail")))
    assert not was_failed(fields(a_set(1, cv="fail"), a_set(2)))
    assert not was_failed(fields(a_set(1, cv="fail", x="1; x=2")))
    assert not was_failed(fields(a_set(1)[1:]))
