from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.manage.use_cases.doctor import _sending_limits, _size_of_queue
from gatepost.node.machine_findings import Level
from gatepost.policy.connectors.model import parse
from gatepost.settings.sections import Store

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


POSTGRESQL = "postgresql://gatepost@127.0.0.1/mail"


def of_store(**fields):
    return SimpleNamespace(store=Store(**fields))


def test_organizations_that_share_the_disk_of_a_database_are_told():
    (found,) = _size_of_queue(of_store(url=POSTGRESQL), organizations())
    assert (found.area, found.level) == ("store.queue_size", Level.WARN)


@pytest.mark.parametrize(
    ("store", "most"),
    [({"url": POSTGRESQL, "queue_size": 1 << 30}, 2), ({"url": POSTGRESQL}, 1), ({}, 2)],
    ids=["with a size", "one alone", "a disk that is seen"],
)
def test_no_size_is_asked_for_where_it_would_be_of_no_use(store, most):
    assert list(_size_of_queue(of_store(**store), organizations()[:most])) == []
