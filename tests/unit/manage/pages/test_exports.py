from __future__ import annotations

import asyncio
import io
import json
from types import SimpleNamespace

import pytest

from gatepost.manage.pages import exports
from gatepost.manage.pages.exports import chunks_of, download, exported
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

ROWS = [{"name": "=1+1", "domains": ["a", "b"], "more": {"x": 1}}, {"name": "plain"}]


def asked(form="", session=None):
    query = {"format": form} if form else {}
    return SimpleNamespace(query_params=query, state=SimpleNamespace(session=session))


def body(response):
    async def read():
        return b"".join([part if isinstance(part, bytes) else part.encode() async for part in response.body_iterator])

    return asyncio.run(read()).decode()


def test_a_page_is_no_file():
    def never():
        raise AssertionError

    assert exported(asked(), "things", ("name",), never) is None


def test_csv_has_its_columns_and_no_formula():
    response = exported(asked("csv"), "things", ("name", "domains", "more"), lambda: ROWS)
    assert response.headers["content-disposition"] == 'attachment; filename="gatepost-things.csv"'
    assert body(response).splitlines() == ["name,domains,more", '\'=1+1,"a, b","{""x"":1}"', "plain,,"]


def test_csv_for_a_person_says_that_it_is_utf_8():
    """Excel shows "Jörg" as it is written then; a program with a token compares names of columns."""
    rows = [{"name": "Jörg"}]
    assert body(exported(asked("csv", session=object()), "things", ("name",), lambda: rows)) == "\ufeffname\r\nJörg\r\n"
    assert body(exported(asked("csv"), "things", ("name",), lambda: rows)) == "name\r\nJörg\r\n"
    assert body(exported(asked("json", session=object()), "things", ("name",), lambda: rows)).startswith("[")


def test_times_in_csv_are_those_that_spreadsheets_read():
    """As in the trace's file, and to a millisecond; numbers in JSON, as REST has them."""
    rows = [{"name": "a", "at": 1_800_000_000.25, "expires": None, "count": 7}, {"name": "b", "at": 0.0, "count": 1.5}]
    columns = ("name", "at", "expires", "count")
    assert body(exported(asked("csv"), "things", columns, lambda: rows)).splitlines()[1:] == [
        "a,2027-01-15T08:00:00.250Z,,7",
        "b,,,1.5",
    ]
    assert json.loads(body(exported(asked("json"), "things", columns, lambda: rows))) == rows


def test_json_has_everything():
    assert json.loads(body(exported(asked("json"), "things", ("name",), lambda: ROWS))) == ROWS
    assert json.loads(body(exported(asked("json"), "things", ("name",), list))) == []


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(exports, "MOST", 3)
    endless = ({"name": number} for number in iter(int, 1))
    assert len(json.loads(body(exported(asked("json"), "things", ("name",), lambda: endless)))) == 3


@pytest.mark.parametrize("form", ["csv", "json"])
def test_long_files_are_sent_in_few_parts_and_whole(form):
    rows = [{"name": f"row {number} of Zürich", "domains": [], "more": {}} for number in range(5000)]
    response = exported(asked(form), "things", ("name",), lambda: rows)

    async def read():
        return [part async for part in response.body_iterator]

    parts = asyncio.run(read())
    assert 2 <= len(parts) < 10
    text = b"".join(parts).decode()
    names = text.split("\r\n")[1:-1] if form == "csv" else [row["name"] for row in json.loads(text)]
    assert names == [row["name"] for row in rows]


def test_another_format_is_refused():
    with pytest.raises(Refusal) as refused:
        exported(asked("xls"), "things", ("name",), list)
    assert refused.value.kind is RefusalKind.INPUT


def test_a_file_is_sent_as_it_is_read_and_closed():
    file = io.BytesIO(b"content" * 20_000)
    response = download(chunks_of(file), "a.json", "application/json", content_length="140000")
    assert response.headers["content-disposition"] == 'attachment; filename="a.json"'
    assert response.headers["content-length"] == "140000"
    assert body(response) == "content" * 20_000
    assert file.closed
