from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.exchange_json import (
    KIND_NAMES,
    ExchangeObject,
    Unreadable,
    is_empty,
    read_objects,
    shown,
)
from gatepost.analysis.migration.report import ImportRefused

INBOUND = {"Name": "in", "SenderDomains": ["smtp:*;1"]}
OUTBOUND = {"Name": "out", "RecipientDomains": []}


def read(document: object) -> list[ExchangeObject]:
    return read_objects(json.dumps(document).encode(), "f.json")


def one(**properties: object) -> ExchangeObject:
    return ExchangeObject("inbound", "f.json, object 1", {name.lower(): value for name, value in properties.items()})


KINDS = [
    (INBOUND, "inbound"),
    ({"TlsSenderCertificateName": None}, "inbound"),
    ({"SenderIPAddresses": None}, "inbound"),
    ({"RestrictDomainsToCertificate": False}, "inbound"),
    (OUTBOUND, "outbound"),
    ({"RouteAllMessagesViaOnPremises": False}, "outbound"),
    ({"SmartHosts": [], "UseMXRecord": True}, "outbound"),
    ({"tlssettings": None}, "outbound"),  # as Select-Object prints what was typed
    ({"DomainName": "a.example", "DomainType": 0}, "domain"),
    ({"DomainName": "a.example", "AllowedOOFType": 0}, "remote"),
    ({"DomainName": "a.example"}, ""),
    ({"RouteMessageOutboundConnector": None}, "rule"),
    ({"RouteMessageOutboundRequireTls": False}, "rule"),
    ({"State": "Enabled", "Priority": 0, "Mode": "Enforce"}, "rule"),
    ({"MessageExpiration": "1.00:00:00"}, "transport"),
    ({"TLSSendDomainSecureList": []}, "transport"),
    ({"RejectDirectSend": False}, "organization"),
    ({"AddressSpaces": [], "SmartHosts": []}, "send"),
    ({"Bindings": []}, "receive"),
    ({"PSTypeName": "Deserialized.Microsoft.Exchange.Management.InboundConnector", "Name": "x"}, "inbound"),
    ({"PSTypeName": "Other", "SenderDomains": []}, "inbound"),
    ({}, ""),
    ({"Weather": "fine"}, ""),
]


@pytest.mark.parametrize(("table", "kind"), KINDS)
def test_objects_are_told_apart_by_their_properties(table, kind):
    assert [found.kind for found in read(table)] == [kind]
    assert not kind or kind in KIND_NAMES


SHAPES = [
    ([INBOUND, OUTBOUND], ["inbound", "outbound"]),
    ({"Get-InboundConnector": [INBOUND], "Get-OutboundConnector": OUTBOUND}, ["inbound", "outbound"]),
    ({"InboundConnectors": [{"Name": "x"}], "AcceptedDomain": None}, ["inbound"]),
    ({"get-inboundconnector": INBOUND, "made": [{"Weather": 1}]}, ["inbound", ""]),
    ({"value": [INBOUND, OUTBOUND], "Count": 2}, ["inbound", "outbound"]),
    ([[INBOUND], [[OUTBOUND]]], ["inbound", "outbound"]),
    (None, []),
    ([None], []),
    ("text", [""]),
    (7, [""]),
]


@pytest.mark.parametrize(("document", "kinds"), SHAPES)
def test_every_shape_of_a_file_is_read(document, kinds):
    assert [found.kind for found in read(document)] == kinds


def test_places_are_named():
    assert [found.where for found in read([INBOUND, OUTBOUND])] == ["f.json, object 1", "f.json, object 2"]


TEXT = '{"Name": "Büro", "SenderDomains": []}'


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-8-sig") + b"\r\n",
    ],
)
def test_the_encodings_of_windows_are_read(data):
    (found,) = read_objects(data, "f")
    assert found.name == "Büro"


def test_outputs_that_were_appended_are_read():
    data = TEXT.encode("utf-8-sig") + b"\r\n" + TEXT.encode("utf-8-sig") + b" \n"
    assert len(read_objects(data, "f")) == 2
    data = TEXT.encode("utf-16") + TEXT.encode("utf-16")
    assert len(read_objects(data, "f")) == 2


REFUSED = [
    (b"", "the file is empty"),
    (b" \r\n", "the file is empty"),
    (b"[1, 2", "line 1, column 6: not JSON"),
    (b'[\n  {"a": 1,}\n]', "line 2"),
    (b"Name : x", "not JSON"),
    (b"\r\nName SenderDomains\r\n---- -------------\r\n", "not JSON but a table"),
    ("ü".encode("latin-1"), "byte 1 is not UTF-8"),
    (b"\xff\xfe\x00", "is not UTF-16"),
    (b"[" * 100_000, "nested too deeply"),
    (b"[" * 101 + b"]" * 101, "nested too deeply"),
    (b'{"a":' * 3000 + b"1" + b"}" * 3000, "nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
    (b'{"a": NaN}', "NaN is not a JSON value"),
    (b'{"Name": "a", "b": 1, "Name": "b"}', '"Name" stands twice'),
    (b'{"Name": "a", "NAME": "b"}', "in upper and in lower case"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_output_of_convertto_json_is_refused(data, words):
    with pytest.raises(ImportRefused) as refused:
        read_objects(data, "f.json")
    assert words in str(refused.value)
    assert str(refused.value).startswith("f.json")


def test_a_hundred_levels_are_read():
    assert [found.kind for found in read_objects(b"[" * 99 + b"]" * 99, "f")] == []


TEXTS = [
    (None, ""),
    (" a ", "a"),
    ({"Address": "a.example", "Domain": "x"}, "a.example"),
    ({"Domain": "a.example"}, "a.example"),
    ({"Name": "n", "DistinguishedName": "CN=n"}, "n"),
    ({"value": "x", "PSComputerName": "y"}, "x"),
    ({"value": 2, "Value": "Partner"}, "Partner"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_a_text(value, text):
    assert one(P=value).text("P") == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "P is the number 7: numbers of enumerations"),
        ({"x": 1}, "a text is needed"),
        (["a"], "a text is needed"),
        ("System.Object[]", "-Depth 5"),
        ("Microsoft.Exchange.Data.MultiValuedProperty`1[System.String]", "-Depth 5"),
        ("@{Name=x; Domain=y}", "-Depth 5"),
    ],
)
def test_what_is_no_text(value, words):
    with pytest.raises(Unreadable, match=words.replace("[", r"\[")):
        one(P=value).text("P")


LISTS = [
    (None, []),
    ([], []),
    ("", []),
    (["a", "b"], ["a", "b"]),
    (["a", None, ""], ["a"]),
    ("a", ["a"]),
    ("smtp:a.example;1 smtp:b.example;1", ["smtp:a.example;1", "smtp:b.example;1"]),
    ("a, b,c", ["a", "b", "c"]),
    ({"value": ["a"], "Count": 1}, ["a"]),
    ([{"Domain": "a"}], ["a"]),
]


@pytest.mark.parametrize(("value", "texts"), LISTS)
def test_a_list(value, texts):
    assert one(P=value).texts("P") == texts


def test_one_text_may_be_left_whole():
    assert one(P="two words").texts("P", split=False) == ["two words"]
    assert one(P="").texts("P", split=False) == []


def test_a_list_that_was_cut_off():
    for value in ("System.Object[]", ["System.Object[]"], [3]):
        with pytest.raises(Unreadable):
            one(P=value).texts("P")


def test_a_switch():
    cases = [(True, True), (False, False), ("True", True), (" false", False), (None, True)]
    for value, expected in cases:
        assert one(P=value).switch("P", default=True) is expected
    assert one().switch("P", default=False) is False
    for value in (1, "yes", [True]):
        with pytest.raises(Unreadable, match="true or false"):
            one(P=value).switch("P", default=True)


CHOICES = {"Partner": "partner", "OnPremises": "on-premises"}


def test_a_choice():
    numbers = {1: "OnPremises", 2: "Partner"}
    for value, expected in [
        ("Partner", "partner"),
        ("onpremises", "on-premises"),
        (1, "on-premises"),
        ({"value": 2, "Value": "Partner"}, "partner"),
        (None, ""),
        ("", ""),
    ]:
        assert one(P=value).choice("P", CHOICES, numbers) == expected
    for value, words in [(3, "-EnumsAsStrings"), ("Other", "only Partner, OnPremises"), (True, "text is needed")]:
        with pytest.raises(Unreadable, match=words):
            one(P=value).choice("P", CHOICES, numbers)
    with pytest.raises(Unreadable, match="EnumsAsText"):
        one(P=1).choice("P", CHOICES)


def test_numbers():
    assert one(P=1).is_number("P")
    assert not one(P=True).is_number("P")
    assert not one(P="1").is_number("P")
    assert one(P=7).number("P") == 7
    assert one().number("P") == 0
    for value in ("7", True, 1.5):
        with pytest.raises(Unreadable, match="whole number"):
            one(P=value).number("P")


SPANS = [
    ("1.00:00:00", 86400),
    ("12:00:00", 43200),
    ("0.00:30:01.5000000", 1801),
    ({"Ticks": 432_000_000_000, "Days": 0, "Hours": 12}, 43200),
    ({"Ticks": -1}, -1),
]


@pytest.mark.parametrize(("value", "seconds"), SPANS)
def test_a_time_span(value, seconds):
    assert one(P=value).seconds("P") == seconds


@pytest.mark.parametrize("value", ["a day", None, 5, {"Days": 1}])
def test_what_is_no_time_span(value):
    with pytest.raises(Unreadable):
        one(P=value).seconds("P")


def test_the_name_of_an_object():
    assert one(Name="n", Identity="i").name == "n"
    assert one(Name=5, Identity="i").name == "i"
    assert one(Name=None, DomainName={"Domain": "a.example"}).name == "a.example"
    assert one().name == "f.json, object 1"
    assert one(x=1).has("X")
    assert not one(x=1).has("y")


def test_shown():
    assert shown("a\u202eb") == '"a?b"'
    assert shown("\ud800") == '"?"'
    assert len(shown("x" * 500)) == 80


def test_emptiness():
    for value in (None, "", " ", False, "False", [], [None, ""], {"value": [], "Count": 0}):
        assert is_empty(value), value
    for value in (True, "x", 0, ["x"], {}):
        assert not is_empty(value), value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read_or_refused(document):
    try:
        found = read(document)
    except ImportRefused:
        return
    for each in found:
        assert isinstance(each.name, str)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        read_objects(data, "f")
    except ImportRefused:
        return
