from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.postfix_config import (
    Entry,
    directory_file,
    logical_lines,
    references,
    source_file,
    table,
)

LINES = [
    ("a = b\n", [(1, "a = b")]),
    ("# c\n\na = b\n  # inner\n\n\tc\nd", [(3, "a = b c"), (7, "d")]),
    ("  leading\r\nnext\r\n", [(1, "leading"), (2, "next")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "lines"), LINES)
def test_logical_lines(text, lines):
    assert list(logical_lines(text)) == lines


REFERENCES = [
    ("a, b\tc", ["a", "b", "c"]),
    ("hash:/etc/x !y", ["hash:/etc/x", "!y"]),
    ("inline:{ a=b, { c = d e } }, z", ["inline:{ a=b, { c = d e } }", "z"]),
    ("inline:{ a=b", ["inline:{ a=b"]),
    ("", []),
    (" , ", []),
]


@pytest.mark.parametrize(("text", "found"), REFERENCES)
def test_references(text, found):
    assert references(text) == found


SOURCES = [
    ("hash:/etc/postfix/x", "/etc/postfix/x"),
    ("proxy:lmdb:/x", "/x"),
    ("!/file", "/file"),
    ("/file", "/file"),
    ("cidr:/n", "/n"),
    ("ldap:/x", ""),
    ("pcre:/x", ""),
    ("inline:{a=b}", ""),
    ("b.example", ""),
    ("[::1]/128", ""),
]


@pytest.mark.parametrize(("reference", "path"), SOURCES)
def test_source_files(reference, path):
    assert source_file(reference) == path


def test_a_table_in_a_file():
    text = '# routes\nB.Example\tsmtp:[x]:25\n"quoted" y\n.c.example smtp:x,\n   y\nalone\n'
    assert table("hash:/t", {"/t": (text, "")}, "transport_maps") == [
        Entry("b.example", "smtp:[x]:25", "/t, line 2"),
        Entry("quoted", "y", "/t, line 3"),
        Entry(".c.example", "smtp:x, y", "/t, line 4"),
        Entry("alone", "", "/t, line 6"),
    ]


def test_a_list_in_a_file():
    assert table("!/t", {"/t": ("a b,\n C\n", "")}, "mynetworks") == [
        Entry("a", "", "/t, line 1"),
        Entry("b", "", "/t, line 1"),
        Entry("c", "", "/t, line 1"),
    ]


def test_a_table_in_main_cf():
    assert table("inline:{ a=b, { c = d e } }", {}, "relay_domains") == [
        Entry("a", "b", "relay_domains"),
        Entry("c", "d e", "relay_domains"),
    ]


UNREAD = [
    ("ldap:/etc/x", "cannot be listed"),
    ("static:all", "names none"),
    ("hash:/gone", "/gone: no such file"),
    ("hash:/other", "/other was not read"),
]


@pytest.mark.parametrize(("reference", "why"), UNREAD)
def test_why_a_table_is_not_read(reference, why):
    assert why in table(reference, {"/gone": (None, "/gone: no such file")}, "x")


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    for one in references(text):
        source_file(one)
        table(one, {}, "x")
    table("hash:/t", {"/t": (text, "")}, "x")
    table("/t", {"/t": (text, "")}, "x")
    table(f"inline:{text}", {}, "x")


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("ldap:/etc/postfix/people.cf", "/etc/postfix/people.cf"),
        ("proxy:ldap:./people.cf", "./people.cf"),
        ("ldap:people", ""),
        ("hash:/etc/postfix/people", ""),
        ("ldapx:/etc/x", ""),
    ],
)
def test_the_file_of_a_directory(reference, path):
    assert directory_file(reference) == path
