from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from gatepost.policy.connectors.fields import (
    Domain,
    Duration,
    FilePath,
    HeaderName,
    Ipv4Text,
    Ipv6Text,
    Label,
    Length,
    ListenAddress,
    NamePattern,
    NetworkText,
    Pattern,
    Range,
    Size,
    SmartHostField,
    Switch,
    Text,
    TrustAnchorsText,
    Version,
    Whole,
)
from gatepost.policy.connectors.names import SmartHost
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration


class Sample(Record):
    domain: Domain = ""
    pattern: Pattern = ""
    name: NamePattern = ""
    network: NetworkText = ""
    listen: ListenAddress = ""
    host: SmartHostField = SmartHost("x")
    duration: Duration = 0
    size: Size = 0
    switch: Switch = False
    text: Text = ""
    label: Label = "x"
    path: FilePath = ""
    version: Version | None = None
    header: HeaderName = ""
    anchors: TrustAnchorsText = ""
    short: Annotated[tuple[Text, ...], Length(1, 2)] = ("a",)
    some: Annotated[Text, Length(1)] = "a"


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("domain", "B.example.", "b.example"),
        ("text", "Bücher & Co", "Bücher & Co"),
        ("pattern", "*", "*"),
        ("name", "*.B.example", "*.b.example"),
        ("network", "192.0.2.7/24", "192.0.2.0/24"),
        ("network", "192.0.2.7/32", "192.0.2.7"),
        ("listen", "127.0.0.1:0", "127.0.0.1:0"),
        ("listen", "[::]:25", "[::]:25"),
        ("listen", "mx.example:25", "mx.example:25"),
        ("host", "Mail.example:26", SmartHost("mail.example", 26)),
        ("host", SmartHost("a.example"), SmartHost("a.example")),
        ("duration", "15m", 900.0),
        ("size", "1KB", 1024),
        ("version", "TLSv1.2", "TLSv1.2"),
        ("version", "1.2", "TLSv1.2"),
        ("header", "X-Confidential", "X-Confidential"),
    ],
)
def test_values_are_brought_to_one_form(key: str, written: object, value: object) -> None:
    assert getattr(Sample.model_validate({key: written}), key) == value


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("domain", 5),
        ("domain", "*.b.example"),
        ("name", "*"),
        ("pattern", "a.*.b"),
        ("network", "10/33"),
        ("listen", "127.0.0.1"),
        ("host", "a b"),
        ("duration", "soon"),
        ("size", "1.5"),
        ("switch", "true"),
        ("switch", 1),
        ("text", "a\nb"),
        ("label", "a\x00"),
        ("path", "/etc/\x1b[31m"),
        ("version", "1.4"),
        ("version", 1.2),
        ("header", "Subject:"),
        ("header", "X Confidential"),
        ("header", "Betreff-ü"),
        ("header", "x" * 201),
        ("some", ""),
        ("short", []),
        ("short", ["a", "b", "c"]),
        ("else", 1),
    ],
)
def test_nothing_is_bent_into_shape(key: str, written: object) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({key: written})


def test_values_are_written_as_people_write_them() -> None:
    sample = Sample(host=SmartHost("a.example", 26), duration=900, size=2048)
    dumped = sample.model_dump(mode="json", exclude_unset=True)
    assert dumped == {"host": "a.example:26", "duration": "15m", "size": "2KB"}


class Timed(Record):
    wait: Annotated[Duration, Range(1, 60, format_duration)] = 1
    count: Annotated[Whole, Range(0, 5)] = 1


@pytest.mark.parametrize(("key", "written", "value"), [("wait", "1s", 1), ("wait", "1m", 60), ("count", 5, 5)])
def test_a_range_has_its_ends(key: str, written: object, value: float) -> None:
    assert getattr(Timed.model_validate({key: written}), key) == value


@pytest.mark.parametrize(
    ("key", "written", "why"),
    [
        ("wait", "500ms", "0.5s is out of range: 1s to 1m"),
        ("wait", 61, "61s is out of range: 1s to 1m"),
        ("count", -1, "-1 is out of range: 0 to 5"),
    ],
)
def test_a_range_says_what_it_takes(key: str, written: object, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Timed.model_validate({key: written})
    (took,) = (each for each in Timed.model_fields[key].metadata if isinstance(each, Range))
    assert why.endswith(f": {took}")


class Written(Record):
    wait: Duration = 0.0
    size: Size = 0
    hosts: tuple[SmartHostField, ...] = ()
    label: Label


def test_json_schema_is_about_what_is_written() -> None:
    found = Written.model_json_schema()["properties"]
    assert found["wait"]["type"] == ["string", "number"]
    assert found["size"]["type"] == ["string", "integer"]
    assert found["hosts"]["items"] == {"type": "string"}
    assert (found["label"]["type"], found["label"]["minLength"]) == ("string", 1)


@pytest.mark.parametrize(
    "kind", [Annotated[Duration, Range(1, 2, format_duration)], Duration, Size, SmartHostField, Label]
)
def test_what_a_field_takes_can_be_hashed(kind):
    """CPython 3.12.0 to 3.12.3 hash the annotations of a union (`Annotated[…] | None`), and all that is in them."""
    assert isinstance(hash((kind.__origin__, kind.__metadata__)), int)


@pytest.mark.parametrize(
    ("kind", "written", "parsed"),
    [
        (Ipv4Text, "", ""),
        (Ipv4Text, "192.0.2.1", "192.0.2.1"),
        (Ipv6Text, "2001:DB8:0::1", "2001:db8::1"),
        (Ipv4Text, "::1", None),
        (Ipv6Text, "ff02::1", None),
        (Ipv4Text, "0.0.0.0", None),
        (Ipv4Text, "mx.example", None),
    ],
)
def test_an_address_to_call_from(kind, written, parsed):
    adapter = TypeAdapter(kind)
    if parsed is None:
        with pytest.raises(ValidationError, match="is not an IP"):
            adapter.validate_python(written)
    else:
        assert adapter.validate_python(written) == parsed
