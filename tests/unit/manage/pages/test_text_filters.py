from __future__ import annotations

from datetime import UTC

import pytest
from markupsafe import Markup

from gatepost.manage.pages.text_filters import CLOCKED, FILTERS, NOTHING, remarks, sentence, texts_by_field
from gatepost.times import named_zone, rfc3339, second_text

NOW = 1_795_737_665.0  # 2026-11-27T00:01:05Z


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"amount", "in_sentence", "initial", "iso", "sentence"}))
def test_what_is_not_there_is_a_dash(name):
    assert FILTERS[name](None) == NOTHING


@pytest.mark.parametrize("name", sorted(CLOCKED))
def test_a_time_that_is_not_there_is_a_dash(name):
    assert CLOCKED[name](None, NOW, UTC) == NOTHING


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2404, "240 ms"),
        (0.9996, "1000 ms"),
        (1, "1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (1234, "20 min"),
        (7440, "2 h 4 min"),
        (7201, "2 h"),
        (187_200, "2 d 4 h"),
        (86_400 * 30, "30 d"),
        (86_400 * 400, "1 y 35 d"),
        (-200, "3 min 20 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert FILTERS["duration"](seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (NOW, "2026-11-27T00:01:05Z"),
        (-62_000_000_000.0, "0005-04-19T09:46:40Z"),
        (1e18, "9999-12-31T23:59:59Z"),
        (-1e18, "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_in_utc_stays_within_the_calendar(seconds, text):
    assert FILTERS["iso"](seconds) == text


HINTS = [(NOW, "now"), (NOW - 200, "3 min 20 s ago"), (NOW + 7440, "in 2 h 4 min")]


@pytest.mark.parametrize(("seconds", "hint"), HINTS)
def test_a_moment_says_how_long_ago_it_is(seconds, hint):
    iso = FILTERS["iso"](seconds)
    written = iso.replace("T", " ")

    def shown(name):
        return str(CLOCKED[name](seconds, NOW, UTC))

    assert shown("moment") == f'<time datetime="{iso}" title="{hint}">{written}</time>'
    assert shown("minute") == f'<time datetime="{iso}" title="{hint}">{written[:16]}Z</time>'
    assert shown("ago") == f'<time datetime="{iso}" title="{written}">{hint}</time>'
    assert shown("day") == f'<time datetime="{iso}" title="{hint}">{iso[:10]}</time>'
    assert shown("utc_day") == f'<time datetime="{iso[:10]}" title="{hint}">{iso[:10]}</time>'


@pytest.mark.parametrize(("seconds", "hint"), HINTS)
def test_a_moment_elsewhere_says_utc_too(seconds, hint):
    denver = named_zone("America/Denver")
    iso, utc, local = rfc3339(seconds), second_text(seconds), second_text(seconds, denver)
    assert local.startswith("2026-11-26 ")

    def shown(name):
        return str(CLOCKED[name](seconds, NOW, denver))

    assert shown("moment") == f'<time datetime="{iso}" title="{utc}, {hint}">{local}</time>'
    assert shown("ago") == f'<time datetime="{iso}" title="{local}, {utc}">{hint}</time>'
    assert shown("day") == f'<time datetime="{iso}" title="{utc}, {hint}">2026-11-26</time>'
    assert shown("utc_day") == f'<time datetime="{iso[:10]}" title="{hint}">{iso[:10]}</time>'


@pytest.mark.parametrize(("seconds", "text"), [(NOW - 200, "3 min 20 s"), (NOW + 5, "0 s")])
def test_an_age_is_never_negative(seconds, text):
    assert CLOCKED["age"](seconds, NOW, UTC) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1_240_000, "1.24 MB"),
        (9_995_000, "10.0 MB"),
        (99_950_000, "100 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.00 GB"),
        (3e18, "3000 PB"),
    ],
)
def test_a_size_has_three_digits(size, text):
    assert FILTERS["octets"](size) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0, 1, "0 %"),
        (1, 1, "100 %"),
        (0.5, 1, "50 %"),
        (0.1234, 1, "12.3 %"),
        (0.00004, 1, "< 0.1 %"),
        (0.99996, 1, "> 99.9 %"),
        (0.99996, 2, "> 99.99 %"),
        (0.0004, 2, "0.04 %"),
        (1.5, 1, "150 %"),
    ],
)
def test_a_share_is_not_rounded_to_all_or_nothing(share, digits, text):
    assert FILTERS["percent"](share, digits) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 messages"), (1, "1 message"), (1204, "1,204 messages")])
def test_an_amount_has_its_noun(number, text):
    assert FILTERS["amount"](number, "message") == text


def test_an_amount_may_have_a_plural_of_its_own():
    assert FILTERS["amount"](2, "entry", "entries") == "2 entries"


def test_a_count_has_commas():
    assert FILTERS["count"](1_204_331) == "1,204,331"


def test_a_thumbprint_can_break_and_is_escaped():
    assert FILTERS["thumbprint"]("c0:ff:ee:00:c0:ff") == Markup("C0FFEE00<wbr>C0FF")
    assert FILTERS["thumbprint"]("<b>x") == Markup("&lt;B&gt;X")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bob@bank.example", "bob@<wbr>bank.<wbr>example"),
        ("127.0.0.1:25", "127.<wbr>0.<wbr>0.<wbr>1:<wbr>25"),
        ("localhost", "localhost"),
        ("*.bank.example", "*.bank.<wbr>example"),
        ("bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
        ("<b>@x.", "&lt;b&gt;@<wbr>x."),
        ("", ""),
    ],
)
def test_a_name_breaks_after_its_signs(name, shown):
    assert str(FILTERS["breakable"](name)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it is not", "It is not"),
        ("mx.gate.example: has none", "mx.gate.example: has none"),
        ("s2026._domainkey.contoso.example is not published", "s2026._domainkey.contoso.example is not published"),
        ("'x' is not a domain", "'x' is not a domain"),
        ("", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_letter_unless_with_a_name(text, shown):
    assert sentence(text) == FILTERS["sentence"](text) == shown


def test_warnings_are_sentences_that_follow_each_other():
    assert remarks(["there is no postmaster; add one", "Done.", "s1.a.example is new"]) == [
        "There is no postmaster; add one.",
        "Done.",
        "s1.a.example is new.",
    ]


def test_only_texts_that_are_shown_are_worded():
    """A translation of each of 10,000 errors takes longer than to find them."""
    worded = []

    def word(field, number):
        worded.append(number)
        return f"{field} {number}"

    texts = texts_by_field([*(("a", number) for number in range(10_000)), ("b", 1)], word)
    assert texts["a"].startswith("a 0. a 1. ")
    assert (texts["a"][-11:], texts["b"]) == ("9,980 more.", "b 1")
    assert worded == [*range(20), 1]
