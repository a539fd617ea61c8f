from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import User, UserSession
from gatepost.manage.web.reauthentication import FRESH, is_confirmed

ANN = User("ann", Role.OWNER, None, True, 0.0, 0.0, 1)


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (FRESH - 1, True), (FRESH, False), (-30, True), (-90, False)])
def test_a_session_is_fresh_for_a_quarter_of_an_hour(age, fresh):
    session = UserSession(1, ANN, 0.0, 0.0, "", "", confirmed=10_000.0)
    assert is_confirmed(session, 10_000.0 + age) is fresh


def test_a_token_proves_itself():
    assert is_confirmed(None, 0.0)
