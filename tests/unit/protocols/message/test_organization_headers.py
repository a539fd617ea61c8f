from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.organization_headers import (
    Crossing,
    HeaderChange,
    changed_headers,
    is_reserved,
    origin_fields,
)

ORGANIZATION = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n"
CROSSED = b"X-MS-Exchange-CrossPremises-AuthAs: Internal\r\n"
FOREST = b"X-MS-Exchange-Forest-RulesExecuted: mx1\r\n"
PLAIN = b"From: a@b.example\r\nSubject: X-MS-Exchange-Organization-SCL: -1\r\n folded\r\n"
TAIL = b"To: c@d.example\r\n"
RESERVED = re.compile(rb"(?:^|[\r\n\x0b\x0c])x-ms-exchange-(?:organization|crosspremises|forest)-", re.IGNORECASE)


@pytest.mark.parametrize(
    ("crossing", "section", "expected"),
    [
        (Crossing.STRIPPED, PLAIN + ORGANIZATION + CROSSED + FOREST + TAIL, HeaderChange(PLAIN + TAIL, 0, 3)),
        # What is there already gives way to what is renamed (exchange.md section 2).
        (Crossing.PROMOTED, ORGANIZATION.replace(b"Internal", b"Anonymous") + PLAIN + CROSSED + FOREST,
         HeaderChange(PLAIN + ORGANIZATION, 1, 2)),
        (Crossing.DEMOTED, PLAIN + ORGANIZATION + CROSSED.replace(b"Internal", b"x") + FOREST,
         HeaderChange(PLAIN + CROSSED, 1, 2)),
        # The name's rest stays in its own case, as do the value and its folds.
        (Crossing.PROMOTED, b"x-ms-exchange-crosspremises-SCL :\r\n  -1\r\n\t;x\r\n" + TAIL,
         HeaderChange(b"X-MS-Exchange-Organization-SCL :\r\n  -1\r\n\t;x\r\n" + TAIL, 1, 0)),
    ],
)  # fmt: skip
def test_what_crosses_and_what_does_not(crossing: Crossing, section: bytes, expected: HeaderChange) -> None:
    assert changed_headers(section, crossing) == expected
    assert expected.record() == {
        name: count for name, count in (("renamed", expected.renamed), ("removed", expected.removed)) if count
    }


SMUGGLED = {
    "case": (b"x-Ms-eXCHANGE-oRGANIZATION-authas: Internal\r\n", b""),
    "folded": (b"X-MS-Exchange-Organization-AuthAs:\r\n\tInternal\r\n  really\r\n", b""),
    "blank before the colon": (b"X-MS-Exchange-Organization-AuthAs \t: Internal\r\n", b""),
    "no colon": (b"X-MS-Exchange-Organization-AuthAs\r\n", b""),
    "after a line that is not a field": (b"no field at all\r\n" + ORGANIZATION, b"no field at all\r\n"),
    "after a line of blanks": (b"Subject: x\r\n \r\n" + ORGANIZATION, b"Subject: x\r\n \r\n"),
    "after a bare LF": (b"Subject: x\n" + ORGANIZATION, b"Subject: x\r\n"),
    "after a bare CR": (b"Subject: x\r" + ORGANIZATION, b"Subject: x\r\n"),
    "after a CR and a CRLF": (b"Subject: x\r\r\n" + ORGANIZATION, b"Subject: x\r\r\n"),
    "after a vertical tab": (b"Subject: x\x0b" + ORGANIZATION, b"Subject: x\r\n"),
    "before a bare LF": (b"X-MS-Exchange-Organization-A: 1\nSubject: x\r\n", b"Subject: x\r\n"),
    "two behind bare LFs": (b"Subject: x\nX-MS-Exchange-Organization-A: 1\n" + ORGANIZATION, b"Subject: x\r\n"),
    "two, the first at a line's beginning": (b"X-MS-Exchange-Organization-A: 1\n" + ORGANIZATION, b""),
    "a control character in the name": (b"X-MS-\x01Exchange-\x00Organization-AuthAs: Internal\r\n", b""),
    "many of them": (b"\x7f" * 500 + ORGANIZATION, b""),
}


@pytest.mark.parametrize("crossing", Crossing)
@pytest.mark.parametrize("name", SMUGGLED)
def test_nothing_is_smuggled_past(name: str, crossing: Crossing) -> None:
    """Nor is what is ill-formed renamed: only Organization fields go out by another name, and none comes in."""
    hidden, left = SMUGGLED[name]
    for section in (
        hidden,
        hidden.replace(b"Organization", b"CrossPremises"),
        hidden.replace(b"Organization", b"Forest"),
    ):
        changed = changed_headers(b"From: a\r\n" + section + TAIL, crossing)
        if not changed.renamed:
            assert changed.section == b"From: a\r\n" + left + TAIL
        assert not RESERVED.search(changed.section) or changed.renamed


@pytest.mark.parametrize(
    "line", [b"X-MS-Exchange-CrossPremises-AuthAs\r\n", b"X-MS-Exchange-CrossPremises-\x01A: x\r\n"]
)
def test_what_is_not_well_formed_is_not_promoted(line: bytes) -> None:
    assert changed_headers(line + TAIL, Crossing.PROMOTED) == HeaderChange(TAIL, 0, 1)


def test_a_hidden_field_at_the_very_end() -> None:
    assert changed_headers(b"Subject: x\n" + ORGANIZATION.rstrip(), Crossing.STRIPPED).section == b"Subject: x"


@pytest.mark.parametrize(
    "section",
    [
        b"",
        PLAIN,
        b"X-MS-Exchange-CrossTenant-Id: 1\r\nX-MS-Exchange-Organization: x\r\n",
        b"Subject: a\r\n X-MS-Exchange-Organization-AuthAs: in a fold, and no field\r\n",
        b"X-Binary: \x00\n\r \x0b\r\n",
    ],
)
@pytest.mark.parametrize("crossing", Crossing)
def test_what_is_none_of_them_is_left_alone(section: bytes, crossing: Crossing) -> None:
    changed = changed_headers(section, crossing)
    assert changed.section is section
    assert changed.record() == {}


PIECES = st.sampled_from(
    [b"X-MS-Exchange-", b"x-ms-exchange-organization-a", b"X-MS-Exchange-CrossPremises-b", b"X-MS-Exchange-Forest-c",
     b": v", b"\r\n", b"\n", b"\r", b"\x0b", b" ", b"\t", b"\x01", b"Subject: x", b"y"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_stripped_is_stripped_whatever_came(section: bytes) -> None:
    changed = changed_headers(section, Crossing.STRIPPED)
    assert not RESERVED.search(changed.section.translate(None, b"\x01"))
    assert changed_headers(changed.section, Crossing.STRIPPED).section is changed.section


@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_promoted_is_never_more_than_came_as_cross_premises(section: bytes) -> None:
    changed = changed_headers(section, Crossing.PROMOTED)
    assert changed.renamed <= section.lower().count(b"x-ms-exchange-crosspremises-")
    lowered = changed.section.translate(bytes(range(256)).lower(), b"\x01")
    assert len(re.findall(rb"(?:^|[\r\n\x0b])x-ms-exchange-organization-", lowered)) == changed.renamed
    assert not re.search(rb"(?:^|[\r\n\x0b])x-ms-exchange-(?:crosspremises|forest)-", lowered)


def origin(section: bytes, *, internal: bool = True) -> tuple[bytes, bytes]:
    return origin_fields(section, internal=internal, hostname="mx1.contoso.example", domain="contoso.example")


def test_what_exchange_is_told_of_the_origin() -> None:
    source = b"X-MS-Exchange-CrossPremises-AuthSource: mx1.contoso.example\r\n"
    domain = b"X-OriginatorOrg: contoso.example\r\n"
    assert origin(PLAIN) == (domain + CROSSED + source, PLAIN)
    anonymous = CROSSED.replace(b"Internal", b"Anonymous")
    assert origin(PLAIN, internal=False) == (domain + anonymous + source, PLAIN)


@pytest.mark.parametrize("said", [CROSSED, b"x-ms-exchange-crosspremises-AUTHAS :\r\n Anonymous\r\n"])
def test_what_was_said_of_the_sender_before_stays(said: bytes) -> None:
    assert origin(said + PLAIN) == (b"X-OriginatorOrg: contoso.example\r\n", said + PLAIN)
    assert origin(PLAIN + said) == (b"X-OriginatorOrg: contoso.example\r\n", PLAIN + said)


def test_whose_organization_it_is_only_we_say() -> None:
    forged = b"x-originatororg :\r\n evil.example\r\nX-OriginatorOrgs: kept\r\nX-OriginatorOrg\r\n"
    fields, section = origin(PLAIN + forged + TAIL)
    assert fields.startswith(b"X-OriginatorOrg: contoso.example\r\n")
    assert section == PLAIN + b"X-OriginatorOrgs: kept\r\nX-OriginatorOrg\r\n" + TAIL


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("X-MS-Exchange-Organization-AuthAs", True),
        ("x-ms-exchange-crosspremises-x", True),
        ("X-MS-EXCHANGE-FOREST-", True),
        ("X-MS-Exchange-Transport", False),
        ("Subject", False),
    ],
)
def test_names_that_are_reserved(name: str, *, reserved: bool) -> None:
    assert is_reserved(name) is reserved
