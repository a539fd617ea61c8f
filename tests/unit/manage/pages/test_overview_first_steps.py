from __future__ import annotations

import pytest
from tests.unit.manage.use_cases.calls import add_organization, remove_organization

from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.name_lookup import DOMAIN, MAILBOX
from gatepost.manage.use_cases.resources import PartName, add_part

from .conftest import OWNER


@pytest.fixture
def empty(centre):
    """Without any resources, as a new gateway is."""
    for name in ("contoso", "fabrikam"):
        remove_organization(centre.gateway, OWNER, name, ChangeOptions("root"))
    return centre


def test_a_new_gateway_says_what_to_do_first(empty):
    steps = ["Add an organization", "Add its domain", "Add a connector"]
    page = empty.get("/")
    assert "Get started" in page.words
    assert [page.words.count(f"To do {step}") for step in steps] == [1, 1, 1]
    assert 'href="/organizations/new"' in page.text
    add_organization(empty.gateway, OWNER, "new", {}, ChangeOptions("root"))
    page = empty.get("/")
    assert "Done Add an organization" in page.words
    assert 'href="/domains/new"' in page.text
    add_part(empty.gateway, OWNER, PartName(DOMAIN, "new", "new.example"), {}, ChangeOptions("root"))
    add_part(empty.gateway, OWNER, PartName(MAILBOX, "new", "ann@new.example"), {}, ChangeOptions("root"))
    assert "Get started" not in empty.get("/").words


def test_who_may_not_do_it_is_not_told_to(empty):
    assert "Get started" not in empty.get("/", "reader").words
    assert "Get started" not in empty.get("/", "tenant").words


def test_a_gateway_that_is_set_up_says_nothing_of_it(centre):
    assert "Get started" not in centre.get("/").words
