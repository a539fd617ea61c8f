from __future__ import annotations

import re
from threading import Event

import pytest

from gatepost.manage.use_cases import bulk_validation

from .test_connectors_switches import KEYS, switch


@pytest.fixture
def slow(monkeypatch):
    """Validations that end when they are let go."""
    go = Event()

    def run(_context, candidate, _token):
        go.wait(20)
        failed = candidate.chosen.direction == "inbound"
        return {"outcome": "not-validated" if failed else "validated", "verdict": "<b>said by a peer</b>"}

    monkeypatch.setattr(bulk_validation, "run_candidate", run)
    yield go
    go.set()


def started(centre, **form):
    answer = switch(centre, action="validate", **form)
    assert answer.status == 303
    return answer.headers["location"]


def test_it_is_found_again_while_it_runs_and_afterwards(centre, slow):
    path = started(centre)
    page = centre.get(path)
    assert "0 of 2 done" in page.words
    assert f'hx-sse:connect="{path}/events?page=1"' in page.text
    assert f'href="{path}"' in centre.get("/connectors").text
    slow.set()
    for _ in range(2000):
        page = centre.get(path)
        if "All done" in page.words:
            break
        Event().wait(0.02)
    assert "All done : 1 validated, 1 not validated, 0 inconclusive." in page.words.replace("done:", "done :")
    assert "hx-sse:connect" not in page.text
    assert "<b>said by a peer" not in page.text
    names = re.findall(r'<th scope="row" data-label="Name"><a href="([^"]+)"', page.text)
    assert names[0].startswith("/connectors/contoso/inbound/"), "what failed stands first"
    assert f'href="{path}"' not in centre.get("/connectors").text


def test_all_that_match_the_filter_and_stop(centre, slow):
    path = started(centre, keys=(), which="all", q="bank")
    assert "of 2 done" in centre.get(path).words
    form = re.search(r'action="(/connectors/validations/[^"]+/stop)"', centre.get(path).text)[1]
    slow.set()
    assert centre.post(form).headers["location"] == path


@pytest.mark.parametrize("path", ["", "/events", "/stop"])
def test_others_see_and_stop_nothing(centre, slow, path):
    there = started(centre) + path
    for who, status in (("reader", 403), ("tenant", 404)):
        method, body = ("POST", b"") if path == "/stop" else ("GET", b"")
        assert centre.ask(method, there, who, body, {}).status == status


def test_who_may_not_begins_none(centre, slow):
    assert switch(centre, who="reader", action="validate").status == 403
    assert switch(centre, who="tenant", action="validate").status == 404
    assert switch(centre, keys=("contoso/outbound/gone",), action="validate").status == 404
    assert switch(centre, keys=(), action="validate").status == 422
    assert KEYS


def test_the_stream_tells_of_the_end(centre, slow):
    path = started(centre)
    slow.set()
    said = centre.get(f"{path}/events?page=1").text
    assert "data: <p role" in said
    assert "<strong>All done</strong>" in said
    assert said.endswith("event: done\ndata: \n\n")


def test_results_are_sorted_by_each_column_while_they_come_and_afterwards(centre, slow):
    path = started(centre)
    assert f'hx-sse:connect="{path}/events?page=1&amp;sort=-name"' in centre.get(f"{path}?sort=-name").text
    slow.set()
    streamed = centre.get(f"{path}/events?page=1&sort=-name").text
    assert f'href="{path}?page=' not in streamed
    assert f'class="sort" href="{path}?sort=verdict"' in streamed, "a heading leads to the page, not to the stream"
    assert f'action="{path}"' in streamed
    for key in ("result", "name", "direction", "organization", "verdict"):
        there, back = (names(centre.get(f"{path}?sort={sign}{key}").text) for sign in ("", "-"))
        assert len(set(there)) == len(there) == 2
        assert set(there) == set(back)
        if key in {"result", "name", "direction"}:
            assert there == back[::-1], key
    tables = [names(event) for event in streamed.split("\n\n")]  # each event has what is known by then
    assert len(max(tables, key=len)) == 2
    assert tables == [sorted(table, reverse=True) for table in tables]
    assert names(centre.get(f"{path}?sort=nonsense").text) == names(centre.get(path).text)


def names(text):
    return re.findall(r'#validation">([^<]+)</a></th>', text)
