from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.changing import ChangeQuery, seconds, wish
from gatepost.manage.rest.endpoint import Asked
from gatepost.manage.rest.problem import Problem

WHO = Principal("token t", frozenset(Scope))


def asked(**other):
    query = ChangeQuery(**other.pop("query", {}))
    return Asked(WHO, None, None, None, {}, query, **other)


def test_the_wish_is_what_was_asked():
    found = wish(asked(query={"note": "why"}, expected=3))
    assert (found.author, found.note, found.dry_run, found.expected) == ("token t", "why", False, 3)


@pytest.mark.parametrize(("since", "days"), [({}, 7), ({"since": "2d"}, 2)])
def test_a_dry_run_looks_back(since, days):
    before = time.time()
    found = wish(asked(query=since, dry_run=True))
    assert found.dry_run
    assert before - days * 86400 <= found.since <= time.time() - days * 86400


def test_times_that_are_none():
    with pytest.raises(Problem) as caught:
        seconds("since", "yesterday")
    assert [error.path for error in caught.value.errors] == ["query.since"]
