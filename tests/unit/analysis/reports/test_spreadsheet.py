from __future__ import annotations

import csv

import pytest

from gatepost.analysis.reports.spreadsheet import csv_lines, harmless


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_text_is_taken_for_a_formula(sign):
    assert harmless(f"{sign}1+1") == f"'{sign}1+1"


@pytest.mark.parametrize("cell", ["", "plain", "a=b", None, -5, 1.5, True])
def test_what_is_none_stays(cell):
    assert harmless(cell) == cell


def test_rows_are_lines_that_can_be_read_again():
    lines = list(csv_lines(("name", "domains"), [("a,b", ["x.example", "y.example"]), ('say "hi"\n', None)]))
    assert len(lines) == 3
    assert list(csv.reader("".join(lines).splitlines(keepends=True))) == [
        ["name", "domains"],
        ["a,b", "x.example, y.example"],
        ['say "hi"\n', ""],
    ]


def test_a_list_that_begins_like_a_formula_is_harmless_too():
    assert "".join(csv_lines(("a",), [(["=1", "b"],)])).splitlines()[1] == '"\'=1, b"'


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d"])
def test_no_text_has_a_formula_behind_what_another_language_separates_cells_by(sign, separator):
    """Spreadsheets in German or Swedish read CSV with ";", where quotes within a line of ours mean nothing."""
    lines = "".join(csv_lines(("id", "subject"), [("7", f"Invoice{separator}{sign}HYPERLINK(1), now")]))
    read = csv.reader(lines.splitlines(keepends=True), delimiter="\t" if separator == "\t" else ";")
    cells = [cell for row in read for cell in row]
    assert [cell for cell in cells if cell.startswith(sign)] == []
    assert any(cell.startswith(f"'{sign}HYPERLINK(1)") for cell in cells)
