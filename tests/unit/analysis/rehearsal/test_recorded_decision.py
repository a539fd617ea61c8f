from __future__ import annotations

import pytest

from gatepost.analysis.rehearsal.recorded import Decision, Effect, settled
from gatepost.policy.decisions.requirement import Encrypted
from gatepost.values import replace

HELD = Decision(Effect.HELD, "contoso", "bank", "encrypted", "UntrustedRoot", demand=Encrypted(()))


@pytest.mark.parametrize("change", [{}, {"why": "another thumbprint"}, {"reply": "UntrustedRoot of another"}])
def test_what_agrees_but_for_its_words_is_settled(change: dict[str, str]) -> None:
    assert settled([HELD, replace(HELD, **change)], "nothing") is HELD


def test_what_differs_cannot_be_told_but_what_is_agreed_of_the_way_is() -> None:
    found = settled(iter([HELD, replace(HELD, outcome=Effect.DELIVERED, reply="")]), "who knows")
    assert (found.outcome, found.why) == (Effect.UNKNOWN, "who knows")
    assert (found.owner, found.connector, found.requirement, found.demand) == (
        "contoso", "bank", "encrypted", HELD.demand,
    )  # fmt: skip
    assert found.ways == {("contoso", "bank")}


def test_of_ways_that_differ_all_are_told() -> None:
    found = settled([HELD, replace(HELD, connector="lab", demand=None)], "who knows")
    assert (found.owner, found.connector, found.demand) == ("", "", None)
    assert {("contoso", "bank"), ("contoso", "lab")} <= found.ways
