from __future__ import annotations

import pytest

from gatepost.manage.use_cases.doctor import _sending_limits
from gatepost.policy.connectors.model import parse

USERS = {"mailbox": [{"address": "ann@a.example"}], "accepted_domain": [{"name": "a.example"}]}


def organizations(**fields):
    return parse({"organization": {"contoso": USERS | fields, "empty": {}}}).organizations


def test_users_without_a_limit_are_told_with_the_command_that_sets_one():
    (found,) = _sending_limits(organizations())
    assert found.text.startswith("users of 1 organization may send without a limit")
    assert found.fix == "gatepost organization set contoso user_recipients_per_day=2000"


@pytest.mark.parametrize("field", ["user_recipients_per_day", "user_messages_per_day"])
def test_one_limit_is_enough(field):
    assert list(_sending_limits(organizations(**{field: 500}))) == []
