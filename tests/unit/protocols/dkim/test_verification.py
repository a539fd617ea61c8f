"""Signatures are read from what dkimpy writes; that they verify is shown with keys in tests of mail.inbound."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gatepost.protocols.dkim.fields import Field, split_fields
from gatepost.protocols.dkim.record import KeyRecord
from gatepost.protocols.dkim.verification import (
    ReceivedSignature,
    SignatureFault,
    read_signature,
    usable_record,
    without_signature,
)
from gatepost.protocols.dns.text_record import RecordError

NOW = 1_795_528_800.0
TAGS = {
    "v": "1",
    "a": "rsa-sha256",
    "c": "relaxed/simple",
    "d": "A.example",
    "s": "s_1",
    "t": str(int(NOW)),
    "h": "From : To:\r\n\tfrom",
    "bh": "AA\r\n\tAA",
    "b": "BB BB",
}


def field(name: str = "dkim-signature", **tags: str) -> Field:
    values = {key: value for key, value in (TAGS | tags).items() if value != "-"}
    text = "; ".join(f"{key}={value}" for key, value in values.items())
    return Field(name, f"DKIM-Signature: {text}".encode())


def read(**tags: str) -> ReceivedSignature:
    return read_signature(field(**tags), NOW)


def fault(**tags: str) -> tuple[str, str]:
    with pytest.raises(SignatureFault) as raised:
        read(**tags)
    return raised.value.result, str(raised.value)


def test_a_signature_is_read() -> None:
    found = read(l="12", x=str(int(NOW) + 1), i="x@News.a.example")
    assert (found.algorithm, found.domain, found.selector) == ("rsa-sha256", "a.example", "s_1")
    assert (found.header, found.body, found.names) == ("relaxed", "simple", ("from", "to", "from"))
    assert (found.body_hash, found.signature, found.length) == (b"\0\0\0", b"\x04\x10A", 12)
    assert found.identity == "x@news.a.example"
    assert read().identity == "@a.example"
    assert (read(c="-").header, read(c="-").body, read(c="relaxed").body) == ("simple", "simple", "simple")


FAULTS = {
    ("v", "2"): ("permerror", "v= is not 1"),
    ("v", "-"): ("permerror", "v= is not 1"),
    ("a", "rsa-sha1"): ("policy", "a= is SHA-1"),
    ("a", "rsa-sha3"): ("permerror", "a= is not supported"),
    ("c", "x/simple"): ("permerror", "c= is not supported"),
    ("d", "-"): ("permerror", "it has no d="),
    ("d", "a..b"): ("permerror", "d= is not a domain"),
    ("s", "a b"): ("permerror", "s= is not a selector"),
    ("h", "to"): ("permerror", "From is not signed"),
    ("h", "from" + ":x" * 400): ("permerror", "h= has more than 400 names"),
    ("q", "dns/x"): ("permerror", "q= is not dns/txt"),
    ("x", str(int(NOW) - 1)): ("policy", "it has expired"),
    ("t", str(int(NOW) + 301)): ("policy", "it is from the future"),
    ("i", "x@b.example"): ("permerror", "i= is not in the domain of d="),
    ("i", "a.example"): ("permerror", "i= is not in the domain of d="),
    ("bh", "A"): ("permerror", "b= or bh= is not base64"),
    ("l", "x"): ("permerror", "l= is not a number"),
    ("z", "\xe4"): ("permerror", "it is no list of tags"),
    ("2", "x"): ("permerror", "it is no list of tags"),
}


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case[0]}={case[1][:12]}")
def test_faults(case: tuple[str, str]) -> None:
    result, why = fault(**{case[0]: case[1]})
    assert (result, why[: len(FAULTS[case][1])]) == FAULTS[case]


def test_one_that_expires_before_it_was_made_has_expired() -> None:
    later = str(int(NOW) + 200)
    assert fault(t=later, x=str(int(NOW) + 100)) == ("policy", "it has expired")
    assert read(q="dns/txt : x").algorithm == "rsa-sha256"


def test_that_of_an_arc_set_has_no_version_and_no_identity() -> None:
    found = read_signature(field("arc-message-signature", v="-", i="3"), NOW)
    assert found.identity == ""


def test_the_value_of_b_is_left_out() -> None:
    assert without_signature(b"X: b=abc") == b"X: b="
    assert without_signature(b"X: bh=b;\r\n\tb =\r\n abc\r\n def; t=1;b=x") == b"X: bh=b;\r\n\tb =; t=1;b=x"
    assert without_signature(b"X: a=1") == b"X: a=1"


@pytest.mark.parametrize(("header", "form"), [("relaxed", b"from:x y"), ("simple", b"From: x  y")])
def test_octets_that_are_signed(header: str, form: bytes) -> None:
    own = field(c=f"{header}/relaxed", h="from:dkim-signature:to")
    other = split_fields(b"DKIM-Signature: other\r\nFrom: x  y")
    octets = read_signature(own, NOW).signed_octets([own, *other])
    assert octets.startswith(form + b"\r\n")
    assert re.search(rb"\r\ndkim-signature: *other\r\n", octets, re.IGNORECASE)
    assert octets.endswith(b"b=")


def test_the_body() -> None:
    read().check_body(b"\0\0\0", 10)
    read(l="10").check_body(b"\0\0\0", 10)
    with pytest.raises(SignatureFault, match="only a part"):
        read(l="9").check_body(b"\0\0\0", 10)
    with pytest.raises(SignatureFault, match="the body was changed"):
        read().check_body(b"\0\0\1", 10)


KEYS: dict[str, dict[str, Any]] = {
    "the key is revoked": {"public_key": ""},
    "the key is of another type": {"key_type": "ed25519"},
    "the key is not for SHA-256": {"hashes": ("sha1",)},
    "the key is not for mail": {"services": ("tlsrpt",)},
    "the key does not sign for subdomains": {"strict": True},
}


@pytest.mark.parametrize("why", KEYS)
def test_keys_that_are_not_for_it(why: str) -> None:
    with pytest.raises(SignatureFault, match=why):
        read(i="@x.a.example").check_key(KeyRecord(**({"public_key": "AAAA"} | KEYS[why])))


def test_a_key_that_is() -> None:
    read().check_key(KeyRecord("AAAA", services=("email",), hashes=("sha256",), strict=True, testing=True))
    read_signature(field("arc-message-signature", i="1"), NOW).check_key(KeyRecord("AAAA", strict=True))


def test_records() -> None:
    assert usable_record(KeyRecord("AAAA")).public_key == "AAAA"
    with pytest.raises(SignatureFault, match="there is no key"):
        usable_record(None)
    with pytest.raises(SignatureFault, match="cannot be read"):
        usable_record(RecordError("x"))
