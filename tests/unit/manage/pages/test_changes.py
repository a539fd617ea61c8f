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
    second = long.get(re.search(r'href="(/history\?before=[^"]+)"', first.text)[1])
    assert "note 4 " in second.words
    assert "note 5 " not in second.words
    assert "Next" not in second.words
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
    assert long.get("/history?format=csv").text.count("\n") == 33
