from __future__ import annotations

import re

import pytest
from tests.unit.manage.use_cases.calls import set_organization

from gatepost.manage.access.principal import Principal
from gatepost.manage.use_cases.change import ChangeOptions

from .conftest import OWNER


@pytest.fixture
def long(centre):
    """Thirty changes more."""
    bob = Principal("bob <b>", OWNER.scopes)
    for number in range(30):
        wish = ChangeOptions(bob.name, f"note {number}")
        set_organization(
            centre.gateway, Principal("bob <b>", OWNER.scopes), "contoso", {"display_name": f"C{number}"}, wish
        )
    return centre


def test_the_newest_come_first_and_the_rest_a_page_later(long):
    first = long.get("/history")
    assert "note 29" in first.words
    assert "note 4 " not in first.words
    assert "bob &lt;b&gt;" in first.text
    assert "25 changes, more on the next page" in first.words
    second = long.get(re.search(r'href="(/history\?before=[^"]+)"', first.text)[1])
    assert 5 <= int(re.search(r"(\d+) changes?", second.words)[1]) < 25
    assert 'rel="prev"' in second.text
    assert "note 4 " in second.words
    assert "note 5 " not in second.words
    assert ['rel="next"' in page.text for page in (first, second)] == [True, False]
    assert long.get("/history?before=7").status == 422, "which no page gave"


def test_one_version_says_what_it_changed(long):
    answer = long.get("/history/31")
    assert "C28" in answer.words
    assert "C29" in answer.words
    (change,) = long.get("/history/31?format=json").json
    assert (change["before"], change["after"]) == ("C28", "C29")
    assert long.get("/history/99").status == 404
    assert long.get("/history/99999999999999999999").status == 404
    assert long.get(f"/history/{'9' * 5000}").status == 404
    assert long.get("/history/-1").status == 404


def test_a_tenant_sees_its_own(long):
    assert "note" not in long.get("/history", "tenant").words
    assert long.get("/history/31", "tenant").status == 404
    assert long.get("/history?organization=contoso", "tenant").status == 404


def test_the_whole_of_it_is_a_file(long):
    assert len(long.get("/history?format=json").json) == 32
    lines = long.get("/history?format=csv").text.splitlines()
    assert len(lines) == 33
    assert lines[0] == "version,at,author,organization,changes,summary,note"
    assert re.match(r"\d+,\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z,", lines[1])


def test_a_revision_is_gone_back_to_after_a_look(long):
    page = long.get("/history/29/revert")
    assert "note 29" in page.words
    assert "note 28" in page.words
    assert "note 27" not in page.words
    expected = page.value("expected")
    assert long.get("/history").words.count("Revert") == 0, "nothing was done yet"
    done = long.post("/history/29/revert", expected=expected, note="back", back="//elsewhere.example")
    assert (done.status, done.headers["location"]) == (303, "/")
    assert "back" in long.get("/history").words
    assert long.get("/organizations/view/contoso").text.count("C27") > 0


def test_what_changed_meanwhile_is_not_overwritten(long):
    expected = long.get("/history/29/revert").value("expected")
    set_organization(
        long.gateway, Principal("eve", OWNER.scopes), "contoso", {"display_name": "late"}, ChangeOptions("eve", "late")
    )
    answer = long.post("/history/29/revert", expected=expected)
    assert answer.status == 409
    assert "Nothing was reverted" in answer.words
    assert "late" in answer.words
    assert long.post("/history/29/revert").status == 409, "a form without a version"
    assert "Revert to revision" not in long.get("/history").words


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 200)])
def test_who_may_not_reverts_nothing_of_others(long, who, status):
    answer = long.get("/history/1/revert", who)
    assert answer.status == status
    assert "note" not in answer.words
    assert "C1" not in answer.words


def test_a_revision_that_is_not_there_is_not_gone_back_to(long):
    assert long.get("/history/99/revert").status == 422
    assert long.get("/history/x/revert").status == 404
