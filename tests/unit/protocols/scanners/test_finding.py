from __future__ import annotations

from gatepost.protocols.scanners.finding import TEXT, ScanAction, ScanFinding, printable


def test_actions_are_rspamds_in_kebab_case() -> None:
    assert [str(one) for one in ScanAction] == [
        "no-action",
        "greylist",
        "add-header",
        "rewrite-subject",
        "soft-reject",
        "reject",
    ]


def test_a_finding_says_nothing_more_than_it_was_given() -> None:
    found = ScanFinding(ScanAction.NO_ACTION)
    assert (found.symbols, found.signature, found.subject) == ((), "", "")
    assert not found.edits
    assert not found.marks


def test_text_of_a_scanner_is_one_bounded_line() -> None:
    assert printable("Grüße") == "Grüße"
    assert printable("a\r\nb\x1b[2J") == "a??b?[2J"
    assert len(printable("x" * 1000)) == TEXT
    assert printable("abc", 2) == "ab"
