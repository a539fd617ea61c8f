from __future__ import annotations

from gatepost.store.database import Schema


def test_a_schema_has_no_upgrades_and_no_secrets_unless_it_says_so() -> None:
    schema = Schema(
        name="fruit", file="fruit.db", application_id=1, version=1, tables="CREATE TABLE fruit (name TEXT);"
    )
    assert dict(schema.upgrades) == {}
    assert not schema.secret
