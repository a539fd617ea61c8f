"""What every list has in common, as templates declare it."""

from __future__ import annotations

import re

import pytest

from gatepost.manage.pages.rendering import environment

LISTS = sorted(
    name
    for name in environment().list_templates()
    if name.endswith(("/list.html", "domains/index.html", "queue/destinations.html", "trace/search.html"))
    or name in {"accounts/users.html", "accounts/tokens.html", "accounts/audit.html", "certificates/history.html"}
)


@pytest.mark.parametrize("name", LISTS)
def test_the_columns_of_a_list_may_be_chosen(name):
    source, _path, _is_current = environment().loader.get_source(environment(), name)
    tables = re.findall(r"\{% call ui\.table\(.*?%\}", source, re.DOTALL)
    assert tables
    assert [table for table in tables if "choosable=true" not in table] == []
