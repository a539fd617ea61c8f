"""Texts of a full trace file: which rows may match, block by block, and for whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite import trace
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import TraceWriter, write_events
from gatepost.store.sqlite.trace_files import trace_files
from gatepost.store.text_pattern import TextPattern
from gatepost.store.trace import TEXT_COLUMNS

NOON = 1_764_000_000.0


def row(number: int, recipient: str, subject: str, organization: str = "contoso") -> TraceEvent:
    return TraceEvent(
        NOON + number,
        "SEND",
        f"{number:016x}",
        organization,
        "",
        "s",
        "ann@contoso.example",
        recipient,
        subject=subject,
    )


ROWS = [
    row(0, "bob@partner.example", "Öppettider for the OFFICE"),
    row(1, "bob@partner.example", "Öppettider for the OFFICE"),
    row(2, "eve@other.example", "a report of the office"),
    row(3, "bob@partner.example", "a report", "fabrikam"),
    row(4, "joe@partner.example", "lunch"),
]


@pytest.fixture(params=[2000, 2])
def sealed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[apsw.Connection]:
    """The rows, numbered from 1, in one block and in several."""
    monkeypatch.setattr(trace, "_ROWS", request.param)
    write_events(tmp_path, "0", ROWS)
    TraceWriter(tmp_path, "0").close()
    (file,) = trace_files(tmp_path)
    with contextlib.closing(open_for_reading(tmp_path / file.name)) as connection:
        yield connection


@pytest.mark.parametrize(
    ("words", "organizations", "below", "rows"),
    [
        (["office"], None, 0, [3, 2, 1]),
        (["office", "partner"], None, 0, [2, 1]),
        (["office*nowhere"], None, 0, []),
        (["partner"], None, 0, [5, 4, 2, 1]),
        (["partner"], None, 4, [2, 1]),
        (["partner"], frozenset({"fabrikam"}), 0, [4]),
        (["office"], frozenset({"fabrikam"}), 0, []),
        (["office"], frozenset(), 0, []),
        (["*"], None, 0, [5, 4, 3, 2, 1]),
        (["ÖPPET"], None, 0, [2, 1]),
    ],
)
def test_rows_that_may_match(
    sealed: apsw.Connection, words: list[str], organizations: frozenset[str] | None, below: int, rows: list[int]
) -> None:
    patterns = [TextPattern(TEXT_COLUMNS, word) for word in words]
    pages = list(trace.rows_with(sealed, patterns, organizations, below))
    assert [number for page in pages for number in page] == rows
    assert all(pages)
