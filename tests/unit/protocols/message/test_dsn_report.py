from __future__ import annotations

import pytest

from gatepost.protocols.message.dsn_report import DsnAction, DsnActor, DsnRecipient
from gatepost.values import replace


def test_actions_are_those_of_rfc_3464() -> None:
    assert {action.value for action in DsnAction} <= {"failed", "delayed", "delivered", "relayed", "expanded"}


def test_actors_are_the_three_boxes() -> None:
    assert [actor.name for actor in DsnActor] == ["SENDER", "SERVICE", "RECIPIENT"]


def test_reports_are_values() -> None:
    one = DsnRecipient("b@b.example", DsnAction.FAILED, "5.1.1")
    assert one == replace(one)
    assert hash(one) == hash(replace(one))
    with pytest.raises(AttributeError):
        one.status = "5.0.0"  # type: ignore[misc]
