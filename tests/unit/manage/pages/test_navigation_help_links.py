from __future__ import annotations

import pytest

from gatepost.manage.pages.document_text import INDEX, sections
from gatepost.manage.pages.navigation import HELP, NAVIGATION, help_for
from gatepost.manage.pages.routes import ROUTES


@pytest.mark.parametrize("page", HELP)
def test_help_leads_to_a_heading(page):
    path, _, anchor = HELP[page].partition("#")
    name = path.removeprefix("/docs").strip("/") or INDEX
    assert not anchor or anchor in {section.anchor for section in sections(name)}


def test_every_page_of_the_navigation_has_help():
    assert {one.path for group in NAVIGATION for one in group.entries} <= HELP.keys()


def test_help_is_about_pages_that_exist():
    paths = {route.path for route in ROUTES} | {"/reports/domains"}
    assert [page for page in HELP if page not in paths] == []


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/", "/docs/admin-centre#the-first-page-and-alarms"),
        ("/queue/destinations", "/docs/destinations"),
        ("/queue/0cac382213400000", "/docs/admin-centre#queue"),
        ("/connectors/contoso/outbound/bank", "/docs/admin-centre#connectors-and-other-resources"),
        ("/nowhere", "/docs"),
    ],
)
def test_the_longest_beginning_counts(path, address):
    assert help_for(path) == address
