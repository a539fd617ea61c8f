"""The rule of `store.interface.Schema`: what an upgrade takes away, its `oldest` says."""

from __future__ import annotations

import re

import pytest

from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.store.changes import CONFIGURATION
from gatepost.values import replace

# A column that old code does not write must be NULL, or have a default.
TAKES_AWAY = re.compile(
    r"\b(DROP|RENAME|TRUNCATE|DELETE|ALTER COLUMN|ADD CONSTRAINT|UNIQUE)\b|ADD COLUMN(?=[^;]*NOT NULL)(?![^;]*DEFAULT)",
    re.IGNORECASE,
)


# The upgrades that take away, by schema and the version they make: the first version whose code does without.
# That of the trace only names the right DELETE: code of version 1 does without.
ENDS = {("access", 3): 3, ("trace", 2): 1}


def broken(schema):
    """The versions to which an upgrade takes something away that `oldest` does not tell of."""
    taking = [old + 1 for old, sql in schema.upgrades.items() if TAKES_AWAY.search(sql)]
    return [version for version in taking if schema.oldest < ENDS.get((schema.name, version), version)]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_upgrades_only_add_or_say_whose_code_they_end(schema):
    assert broken(schema) == []
    assert 1 <= schema.oldest <= schema.version
    assert set(schema.upgrades) <= set(range(1, schema.version))


@pytest.mark.parametrize(
    ("sql", "oldest", "is_broken"),
    [
        ("ALTER TABLE resource ADD COLUMN colour TEXT", 1, False),
        ("ALTER TABLE resource ADD COLUMN colour TEXT NOT NULL DEFAULT ''", 1, False),
        ("CREATE INDEX of_colour ON resource (colour)", 1, False),
        ("ALTER TABLE resource ADD COLUMN colour TEXT NOT NULL", 1, True),
        ("ALTER TABLE resource DROP COLUMN note", 1, True),
        ("ALTER TABLE resource DROP COLUMN note", 4, False),
        ("ALTER TABLE resource RENAME TO thing", 2, True),
        ("CREATE UNIQUE INDEX one ON resource (name)", 1, True),
    ],
)
def test_the_rule_finds_what_it_is_for(sql, oldest, *, is_broken):
    next_one = replace(CONFIGURATION, version=4, upgrades={3: sql}, oldest=oldest)
    assert bool(broken(next_one)) is is_broken


def test_two_releases_take_something_away(monkeypatch):
    monkeypatch.setitem(ENDS, ("configuration", 4), 2)  # code of version 2 knew both forms
    next_one = replace(CONFIGURATION, version=4, upgrades={3: "ALTER TABLE resource DROP COLUMN note"}, oldest=2)
    assert broken(next_one) == []
    assert broken(replace(next_one, oldest=1)) == [4]
