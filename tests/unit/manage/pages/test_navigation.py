from __future__ import annotations

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.pages.navigation import NAVIGATION, NavigationEntry, navigation
from gatepost.manage.pages.static_files import _all

EVERY = [one.text for group in NAVIGATION for one in group.entries]
OF_GATEWAY = {"Certificates", "Doctor", "Users", "API tokens"}


@pytest.mark.parametrize(
    ("role", "organizations", "missing"),
    [
        (Role.OWNER, None, set()),
        (Role.ADMINISTRATOR, None, {"Users", "API tokens"}),
        (Role.AUDITOR, None, {"Users", "API tokens"}),
        (Role.OWNER, {"contoso"}, OF_GATEWAY),
        (Role.OPERATOR, {"contoso"}, OF_GATEWAY),
    ],
)
def test_only_what_somebody_may_see_is_there(role, organizations, missing):
    who = Principal("ann", ROLES[role], None if organizations is None else frozenset(organizations))
    assert [one.text for group in navigation(who) for one in group.entries] == [
        text for text in EVERY if text not in missing
    ]


def test_a_group_without_entries_is_not_there():
    nobody = Principal("token", frozenset())
    assert navigation(nobody) == ()


@pytest.mark.parametrize(
    ("path", "at", "current"),
    [
        ("/connectors", "/connectors", True),
        ("/connectors", "/connectors/bank-out", True),
        ("/connectors", "/connectors-old", False),
        ("/", "/", True),
        ("/", "/connectors", False),
    ],
)
def test_a_page_belongs_to_the_entry_above_it(path, at, current):
    assert NavigationEntry("x", path).is_current(at) is current


def test_every_icon_is_drawn():
    drawn = _all()["icons.svg"].content.decode()
    assert all(f'id="{one.icon}"' in drawn for group in NAVIGATION for one in group.entries)
