from __future__ import annotations

import time

import pytest

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.analysis.alarms.alarm_state import ALARMS_CONTENT, Memory, Standing, encoded
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import alarms
from gatepost.manage.use_cases import alarms as here

from .conftest import OWNER

NOW = time.time()
STANDING = (
    Alarm(Kind.QUEUE_AGE, Severity.WARNING, "", "Mail waits.", "For long.", "Look.", "contoso/x", since=NOW - 60),
    Alarm(Kind.PARTNER_FAILING, Severity.ERROR, "", "A partner.", "Fails.", "Ask.", "fabrikam/y", ("a", "b"), since=1),
)


@pytest.fixture
def troubled(there):
    with there.api.gateway.config() as store:
        memory = Memory(tuple(Standing(one, NOW) for one in STANDING), looked=NOW - 30)
        store.apply({}, author="gatepost", content={ALARMS_CONTENT: encoded(memory)})
    return there


def test_nothing_is_wrong(there):
    assert alarms.alarms(there, NOW) == here.alarms(there.api.gateway, OWNER, NOW) == here.Found((), 0.0, ())


def test_what_is_wrong_is_the_same(troubled):
    found = alarms.alarms(troubled, NOW)
    assert found == here.alarms(troubled.api.gateway, OWNER, NOW)
    assert [one.about for one in found.of_mail().alarms] == ["fabrikam/y", "contoso/x"]
    assert found.looked


def test_a_tenant_finds_its_own(troubled):
    troubled.api.who = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert [one.about for one in alarms.alarms(troubled, NOW).alarms] == ["contoso/x"]
