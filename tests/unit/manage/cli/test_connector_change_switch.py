from __future__ import annotations

import pytest

from .test_connector_change import BASE


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


def statuses(base):
    rows = base.json("connector", "list")
    return [(row["organization"], row["direction"], row["name"]) for row in rows if row["status"] == "rehearsal"]


CONTOSO = [("contoso", "inbound", "bank"), ("contoso", "outbound", "Bank"), ("contoso", "outbound", "lab")]
CASES = {
    "--all": [*CONTOSO, ("fabrikam", "outbound", "lab")],
    "--all --organization contoso": CONTOSO,
    "--all --direction inbound": CONTOSO[:1],
    "Bank --direction outbound": CONTOSO[1:2],
    "Bank lab --direction outbound --organization contoso": CONTOSO[1:],
}


@pytest.mark.parametrize("words", CASES)
def test_connectors_are_switched_by_one_change(base, words):
    planned = base.call("connector", "switch", "rehearse", *words.split(), "--dry-run")
    assert "not applied (--dry-run)" in planned.stdout
    assert statuses(base) == []
    done = base.json("connector", "switch", "rehearse", *words.split(), "--note", "all at once")
    assert (done["version"], len(done["changes"])) == (2, len(CASES[words]))
    assert sorted(statuses(base)) == sorted(CASES[words])
    base.call("history", "revert", "1")
    assert statuses(base) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "name connectors, or use --all"),
        ("lab --all", "name connectors, or use --all"),
        ("lab --status enabled", "name connectors, or use --all"),
        ("--all --status disabled", "no connector matches these options"),
        ("lab --direction outbound", "lab"),
        ("gone", "gone"),
    ],
)
def test_what_is_not_clear_changes_nothing(base, words, said):
    done = base.call("connector", "switch", "rehearse", *words.split(), code=2)
    assert said in done.stderr
    assert statuses(base) == []
