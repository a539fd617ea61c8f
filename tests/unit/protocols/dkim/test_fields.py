from __future__ import annotations

import pytest

from gatepost.protocols.dkim.fields import MOST_FIELDS, chosen_fields, field_list, split_fields

SECTION = (
    b"Received: by mx\r\n\tfor all\r\nFrom: <ann@contoso.example>\r\nSUBJECT : one\r\n two\r\nno field\r\n"
    b"Subject: three\r\nX-Own: 1\r\nList-Id: <l>\r\nMIME-Version: 1.0\r\n"
)


def test_a_section_is_split_at_fields() -> None:
    fields = split_fields(SECTION)
    assert [one.name for one in fields] == [
        "received",
        "from",
        "subject",
        "subject",
        "x-own",
        "list-id",
        "mime-version",
    ]
    assert (fields[2].octets, fields[2].value) == (b"SUBJECT : one\r\n two", b"one two")
    assert split_fields(b"") == ()


def test_what_must_not_be_added_is_named_once_more() -> None:
    names = chosen_fields(split_fields(SECTION))
    assert names == (
        *("from", "from", "reply-to", "subject", "subject", "subject", "to", "cc"),
        *("mime-version", "mime-version", "list-id"),
    )


def test_of_several_fields_the_last_is_meant_first() -> None:
    fields = split_fields(SECTION)
    found = field_list(fields, ("subject", "to", "from", "subject", "subject"))
    assert [one.value for one in found] == [b"three", b"<ann@contoso.example>", b"one two"]


@pytest.mark.parametrize(("number", "most"), [(MOST_FIELDS - 5, True), (MOST_FIELDS - 4, False), (9000, False)])
def test_more_fields_than_anybody_writes_are_not_signed(number: int, most: bool) -> None:
    names = chosen_fields(split_fields(b"To: a@b.example\r\n" * number))
    assert bool(names) is most
    assert len(names) <= MOST_FIELDS
