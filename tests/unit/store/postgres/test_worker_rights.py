from __future__ import annotations

from gatepost.store.postgres.worker_rights import _of_table, also_from_public


def statements(name, held, *, columns=(), revokes=True):
    table = {"name": name, "quoted": f'"{name}"' if name == "user" else name, "held": held, "columns": columns}
    return list(_of_table(table, "w", revokes=revokes))


def test_what_is_missing_is_granted_and_what_is_beyond_is_revoked():
    assert statements("queue_message", ["SELECT", "UPDATE"]) == [
        "GRANT INSERT, DELETE ON queue_message TO w",
        "REVOKE UPDATE ON queue_message FROM w",
    ]
    assert statements("user", ["SELECT", "TRUNCATE"]) == ['REVOKE SELECT, TRUNCATE ON "user" FROM w']
    assert statements("user", ["SELECT"], revokes=False) == []
    assert statements("trace", ["SELECT", "INSERT"]) == []


def test_rights_on_columns_are_taken_and_do_not_stand_for_those_on_the_table():
    assert statements("token", [], columns=["SELECT"]) == ["REVOKE SELECT ON token FROM w"]
    assert statements("trace", ["SELECT"], columns=["SELECT", "INSERT"]) == ["GRANT INSERT ON trace TO w"]
    assert statements("schema_version", ["SELECT"], columns=["SELECT"]) == []
    assert statements("schema_version", ["SELECT"], columns=["UPDATE"]) == ["REVOKE UPDATE ON schema_version FROM w"]
    assert statements("schema_version", ["SELECT"], columns=["INSERT"]) == ["REVOKE INSERT ON schema_version FROM w"]


def test_a_day_has_the_rights_of_the_trace():
    assert statements("trace_20260101", []) == ["GRANT SELECT, INSERT ON trace_20260101 TO w"]


def test_tables_of_others_are_left_alone():
    assert statements("theirs", ["SELECT"]) == []


def test_everybody_loses_what_is_revoked_alone():
    assert also_from_public(["REVOKE A ON t FROM w", "GRANT B ON t TO w"]) == [
        "REVOKE A ON t FROM w, PUBLIC",
        "GRANT B ON t TO w",
    ]
