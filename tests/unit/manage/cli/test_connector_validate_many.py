from __future__ import annotations

import json

import pytest

from .test_connector_validate import closed_port, stored  # noqa: F401 - fixtures


def many(home, *words, code):
    return home.call("connector", "validate-many", *words, code=code)


def test_each_has_a_line_and_the_worst_decides(stored):  # noqa: F811
    done = many(stored, "--all", code=1)
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["outcome", "direction", "name", "organization", "verdict"]
    assert {row[2]: row[0] for row in rows}["Bank out"] == "not-validated"
    assert len(rows) == 3
    assert done.stderr.startswith("3 connectors: ")
    assert "1 not validated" in done.stderr
    listed = {row["name"]: row["validated"] for row in stored.json("connector", "list")}
    assert listed["Bank out"]["outcome"] == "not-validated", "each result is kept"


def test_json_has_counts_and_results(stored):  # noqa: F811
    found = json.loads(many(stored, "lost", "--json", code=3).stdout)
    assert found["counts"]["total"] == found["counts"]["unknown"] == 1
    assert [(row["name"], row["state"], row["outcome"]) for row in found["connectors"]] == [("lost", "done", "unknown")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "name connectors, or use --all"),
        ("lost --all", "name connectors, or use --all"),
        ("--all --status disabled", "no connector matches these options"),
        ("gone", "gone"),
    ],
)
def test_what_is_not_clear_validates_nothing(stored, words, said):  # noqa: F811
    assert said in many(stored, *words.split(), code=2).stderr
    assert all(row["validated"] is None for row in stored.json("connector", "list"))
