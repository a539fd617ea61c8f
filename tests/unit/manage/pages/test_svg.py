from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from gatepost.language import in_language
from gatepost.manage.pages.svg import Series, _ceiling, document, shares, stacked

NAME = "<script>alert(1)</script>"


def parsed(drawn):
    return ET.fromstring(str(drawn))  # noqa: S314 - our own


def test_columns_are_as_high_as_their_numbers():
    svg = parsed(stacked("Mail", ["1 Nov", "2 Nov"], [Series("a", "pass", [50, 100]), Series("b", "warn", [50, 0])]))
    assert svg.get("aria-label") == "Mail"
    assert [one.text for one in svg.iter("text")][:3] == ["0", "50", "100"]
    first, second = (one.get("d") for one in svg.iter("path") if one.get("class") in {"tone-pass", "tone-warn"})
    assert first.count("M") == 2, "a column for each day that has any"
    assert second.count("M") == 1
    assert "v95h" in first
    assert "v190h" in first
    assert "v95h" in second


def test_what_is_worst_is_hatched_too():
    svg = parsed(stacked("Mail", ["1 Nov"], [Series("a", "pass", [1]), Series("clear", "fail", [1])], "out"))
    assert [one.get("fill") for one in svg.iter("path") if one.get("fill")] == ["url(#hatch-out)"]
    assert svg.find("defs/pattern").get("id") == "hatch-out"


def test_what_is_little_can_be_seen():
    svg = parsed(stacked("Mail", ["1 Nov"], [Series("a", "pass", [100_000]), Series("clear", "fail", [1])]))
    assert all("v1.5h" in one.get("d") for one in svg.iter("path") if one.get("class") == "tone-fail")


@pytest.mark.parametrize("values", [[], [0], [0, 0]])
def test_nothing_is_drawn_of_nothing(values):
    svg = parsed(stacked("Mail", ["x"] * len(values), [Series("a", "pass", values)]))
    assert not [one for one in svg.iter("path") if one.get("class") == "tone-pass"]


def test_a_series_of_zeros_leaves_no_line():
    drawn = str(stacked("Mail", ["1 Nov", "2 Nov"], [Series("a", "pass", [5, 7]), Series("clear", "fail", [0, 0])]))
    assert 'class="tone-pass"' in drawn
    assert "tone-fail" not in drawn
    assert "url(#hatch" not in drawn


def test_a_part_knows_its_column_of_the_table():
    svg = parsed(
        stacked("Mail", ["1 Nov"], [Series("a", "pass", [0]), Series("b", "warn", [1]), Series("c", "fail", [1])])
    )
    shown = [(one.get("class"), one.get("data-series")) for one in svg.iter("path") if one.get("data-series")]
    assert shown == [("tone-warn", "2"), ("tone-fail", "3"), (None, "3")]
    assert svg.get("data-left")


def test_texts_are_texts():
    drawn = stacked(NAME, [NAME], [Series(NAME, "pass", [1])], NAME) + shares(NAME, [Series(NAME, "pass", [1])])
    assert "<script" not in drawn


def test_days_below_do_not_overlap():
    svg = parsed(stacked("Mail", [f"d{number}" for number in range(31)], [Series("a", "pass", [1] * 31)]))
    assert len([one for one in svg.iter("text") if (one.text or "").startswith("d")]) <= 8


def test_shares_of_a_bar():
    svg = parsed(shares("Mail", [Series("a", "pass", [1]), Series("b", "warn", [0]), Series("c", "fail", [3])]))
    assert [(one.get("class"), one.get("x"), one.get("width")) for one in svg.iter("rect")] == [
        ("tone-pass", "0", "25"), ("tone-fail", "25", "75")
    ]  # fmt: skip
    assert list(parsed(shares("Mail", [Series("a", "pass", [0])]))) == []


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (3, 4), (5, 5), (7, 10), (11, 20), (300, 400), (999, 1000)])
def test_scales_end_at_round_numbers(value, top):
    assert _ceiling(value) == top


@pytest.mark.parametrize(
    ("highest", "axis"), [(1, ["0", "1"]), (2, ["0", "1", "2"]), (5, ["0", "5"]), (50, ["0", "25", "50"])]
)
def test_an_axis_of_counts_has_whole_numbers(highest, axis):
    svg = parsed(stacked("Mail", ["1 Nov"], [Series("a", "pass", [highest])]))
    assert [one.text for one in svg.iter("text") if one.text != "1 Nov"] == axis


def test_a_file_has_its_pictures_below_each_other_and_a_legend():
    series = [Series("over <TLS>", "pass", []), Series("unencrypted", "fail", [])]
    pictures = [(name, stacked(name, ["1 Nov"], [Series("a", "pass", [1])])) for name in ("Received", "Sent")]
    svg = parsed(document(NAME, pictures, series))
    space = "{http://www.w3.org/2000/svg}"
    assert svg.find(f"{space}title").text == svg.get("aria-label") == NAME
    texts = [one.text for one in svg.findall(f"{space}text")]
    assert texts == [NAME, "over <TLS>", "unencrypted", "Received", "Sent"]
    first, second = svg.findall(f"{space}svg")
    assert float(second.get("y")) >= float(first.get("y")) + float(first.get("height"))
    assert float(svg.get("height")) >= float(second.get("y")) + float(second.get("height"))


def test_a_file_without_a_legend():
    assert "tone-" not in document("Mail", [], []).partition("</style>")[2]


def test_the_scale_is_written_as_the_language_does():
    with in_language("de"):
        assert ">2.000<" in stacked("t", ["a"], [Series("x", "pass", [1900])])
