from __future__ import annotations

from gatepost.settings.roles import ListenerRole


def test_who_connects() -> None:
    assert [role for role in ListenerRole if role.for_users] == ["submission", "submissions"]
