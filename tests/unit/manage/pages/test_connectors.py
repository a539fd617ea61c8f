from __future__ import annotations

import re

import pytest

from gatepost.analysis.rehearsal.verdicts import Verdicts
from gatepost.manage.use_cases import connector_views
from gatepost.manage.use_cases.connectors import SORTS


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"bank-in", "bank-out", "off"}),
        ("?direction=inbound", {"bank-in"}),
        ("?direction=sideways", {"bank-in", "bank-out", "off"}),
        ("?status=disabled", {"off"}),
        ("?q=off.EXAMPLE", {"off"}),
        ("?page=2", {"bank-in", "bank-out", "off"}),
        ("?q=nothing", set()),
        ("?verdicts=yes", {"bank-in", "bank-out", "off"}),
    ],
)
def test_the_list_has_what_is_wanted(centre, query, shown):
    answer = centre.get(f"/connectors{query}")
    assert answer.status == 200
    assert {name for name in ("bank-in", "bank-out", "off") if f">{name}</a>" in answer.text} == shown


def test_a_page_behind_the_end_does_not_say_that_there_is_no_connector(centre):
    answer = centre.get("/connectors?page=2")
    assert "1 to 3 of 3 connectors" in answer.words, "it is the last one there is"
    assert "No connectors yet" not in answer.words


def test_what_it_did_is_counted_when_htmx_asks(centre):
    assert 'hx-trigger="load"' in centre.get("/connectors").text
    part = centre.get("/connectors?verdicts=yes", hx_request="true", hx_request_type="partial")
    assert part.text.lstrip().startswith('<div id="connectors">')
    assert "No results" in part.words, "mail that could not be judged is mail"


def test_what_was_refused_in_rehearsal_is_that_of_a_connector_in_rehearsal_alone(centre, monkeypatch):
    tried = Verdicts(1, 3, 2, 2)
    monkeypatch.setattr(connector_views, "recent_verdicts", lambda _gateway, keys: dict.fromkeys(keys, tried))
    rows = {row["name"]: row for row in centre.get("/connectors?format=json").json}
    assert {(name, row["mode"], row["passed_7d"], row["failed_7d"]) for name, row in rows.items()} == {
        ("off", "rehearse", 1, 3), ("bank-in", "enforce", 3, 1), ("bank-out", "enforce", 3, 1),
    }  # fmt: skip


def test_a_tenant_sees_none_of_others(centre):
    assert "No connectors yet" in centre.get("/connectors", "tenant").words
    assert centre.get("/connectors?organization=contoso", "tenant").status == 404


def test_files_have_every_column(centre):
    rows = centre.get("/connectors?format=json").json
    (row,) = [one for one in rows if one["name"] == "off"]
    assert (row["mode"], row["validated"], row["passed_7d"]) == ("rehearse", None, 0)
    assert centre.get("/connectors?format=csv").text.startswith("status,name,direction,organization,from,to,mode")


def test_who_only_reads_is_not_offered_to_add(centre):
    assert "Add a connector" in centre.get("/connectors").words
    assert "Add a connector" not in centre.get("/connectors", "reader").words


def names(answer):
    return re.findall(r">(bank-in|bank-out|off)</a>", answer.text)


def test_the_list_is_sorted_by_links_that_keep_the_filters(centre):
    page = centre.get("/connectors?direction=outbound&sort=-name")
    assert names(page) == ["off", "bank-out"]
    assert page.text.count("aria-sort=") == 1
    assert 'aria-sort="descending"' in page.text
    assert 'href="/connectors?direction=outbound&amp;sort=name"' in page.text
    assert 'href="/connectors?direction=outbound&amp;sort=validated"' in page.text
    assert page.text.count('name="sort"') == 1, "a filter keeps the order"
    assert '<option value="-name" selected>Name, descending</option>' in page.text
    orders = re.findall(
        r'<option value="(-?[a-z]+)"', page.text.partition('id="sort-status"')[2].partition("</select>")[0]
    )
    shown = set(SORTS) - {"mode"}  # the status says it
    assert sorted(orders) == sorted([*shown, *(f"-{one}" for one in shown)]), "a telephone shows no headings"
    assert "aria-sort=" not in centre.get("/connectors?sort=colour").text
    assert [one["name"] for one in centre.get("/connectors?format=json&sort=-name").json] == [
        "off",
        "bank-out",
        "bank-in",
    ]


def test_by_verdicts_it_is_sorted_when_they_are_counted(centre):
    path = "/connectors?sort=-verdicts"
    assert f'hx-get="{path}&amp;verdicts=yes"' in centre.get(path).text
    part = centre.get(f"{path}&verdicts=yes", hx_request="true", hx_request_type="partial")
    assert names(part) == ["bank-in", "bank-out", "off"]
    assert 'href="/connectors?sort=verdicts"' in part.text
