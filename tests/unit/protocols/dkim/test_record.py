from __future__ import annotations

from typing import Any

import pytest

from gatepost.protocols.dkim.record import KeyRecord, key_name, parse_record, split_key_name
from gatepost.protocols.dns.text_record import RecordError

RECORDS = {
    "v=DKIM1; k=rsa; p=QUJD": KeyRecord("QUJD"),
    "v=DKIM1; k=ed25519; s=tlsrpt; p=QUJD": KeyRecord("QUJD", "ed25519", ("tlsrpt",)),
    "v=DKIM1; h=sha1:sha256; k=rsa; s=email:tlsrpt; t=y:s; p=": KeyRecord(
        "", "rsa", ("email", "tlsrpt"), ("sha1", "sha256"), testing=True, strict=True
    ),
}
READ = {
    "p=QU\tJ D": KeyRecord("QUJD"),
    " v = DKIM1 ;p=QUJD; n=a note;": KeyRecord("QUJD"),
    "v=DKIM1; s=; t=x; p=QUJD": KeyRecord("QUJD"),
}
WRONG = {
    "v=DKIM2; p=QUJD": "does not begin with v=DKIM1",
    "p=QUJD; v=DKIM1": "does not begin with v=DKIM1",
    "v=DKIM1; k=rsa": "has no p=",
    "v=DKIM1; p=a; p=b": "the tag p= is twice",
    "hello": "not of the form tag=value",
    "": "not of the form tag=value",
    "v=DKIM1; 1=2; p=a": "not of the form tag=value",
    "v=DKIM1; p=ü": "not ASCII",
    "v=DKIM1; p=" + "a" * 9000: "more than 8192 octets",
}


@pytest.mark.parametrize("text", RECORDS)
def test_what_is_printed_is_read_back(text: str) -> None:
    assert RECORDS[text].text == text
    assert parse_record([[text.encode()[:9], text.encode()[9:]]]) == RECORDS[text]


@pytest.mark.parametrize("text", READ)
def test_what_others_write(text: str) -> None:
    assert parse_record([[text.encode()]]) == READ[text]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_what_no_verifier_can_use(text: str) -> None:
    found = parse_record([[text.encode()]])
    assert isinstance(found, RecordError)
    assert WRONG[text] in found.detail


def test_none_and_several() -> None:
    assert parse_record([]) is None
    found = parse_record([[b"v=DKIM1; p=a"], [b"v=spf1"]])
    assert isinstance(found, RecordError)
    assert found.detail.startswith("2 TXT records are there")


def test_a_line_of_the_zone() -> None:
    assert KeyRecord("QUJD").zone_line("s._domainkey.b.example") == (
        's._domainkey.b.example. IN TXT "v=DKIM1; k=rsa; p=QUJD"'
    )
    long = KeyRecord("A" * 392).zone_line("s._domainkey.b.example")
    strings = long.partition(" IN TXT ")[2].removeprefix('( "').removesuffix('" )').split('" "')
    assert list(map(len, strings)) == [255, len(KeyRecord("A" * 392).text) - 255]


OURS = KeyRecord("QUJD")
LACKS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, ""),
    ({"services": ("email",)}, {}, ""),
    ({"services": ("email", "tlsrpt")}, {"services": ("tlsrpt",)}, ""),
    ({}, {"services": ("tlsrpt",)}, ""),
    ({"hashes": ("sha256",), "strict": True}, {}, ""),
    ({"public_key": ""}, {}, "revoked"),
    ({"public_key": "QUJE"}, {}, "another key"),
    ({"key_type": "ed25519"}, {}, "k=ed25519, and the key is rsa"),
    ({"services": ("tlsrpt",)}, {}, "s=tlsrpt does not let it sign for email"),
    ({"services": ("email",)}, {"services": ("tlsrpt",)}, "does not let it sign for tlsrpt"),
    ({"hashes": ("sha1",)}, {}, "does not allow SHA-256"),
    ({"testing": True}, {}, "t=y"),
]


@pytest.mark.parametrize(("published", "wanted", "lack"), LACKS)
def test_what_a_published_record_lacks(published: dict[str, Any], wanted: dict[str, Any], lack: str) -> None:
    found = KeyRecord(**{"public_key": "QUJD", **published}).lack(KeyRecord(**{"public_key": "QUJD", **wanted}))
    assert found == "" if not lack else lack in found


def test_names() -> None:
    assert key_name("s", "b.example") == "s._domainkey.b.example"
    assert split_key_name("S2026.mail._DomainKey.Bücher.example.") == ("s2026.mail", "xn--bcher-kva.example")


@pytest.mark.parametrize(
    "text",
    [
        *("s", "s.b.example", "._domainkey.b.example", "s._domainkey.", "s x._domainkey.b.example"),
        *("s._domainkey.[192.0.2.1]", "[192.0.2.1]._domainkey.b.example"),
        "s._domainkey." + ".".join(["a" * 60] * 4),
    ],
)
def test_what_is_no_name_of_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name of a DKIM key"):
        split_key_name(text)
