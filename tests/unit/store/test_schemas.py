from __future__ import annotations

import re

from gatepost.store.schemas import STORED


def test_no_two_schemas_have_one_name_or_table():
    names = [schema.name for schema in STORED]
    tables = [name for schema in STORED for name in re.findall(r"CREATE TABLE (\w+)", schema.tables)]
    assert len(set(names)) == len(names)
    assert len(set(tables)) == len(tables) > len(names)
