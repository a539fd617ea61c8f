from __future__ import annotations

import time

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Kind, Memory, Severity, encoded
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases.alarms import list_alarms


def test_what_is_wrong(api_of):
    api, now = api_of(RestEndpoint(list_alarms)), time.time()
    assert api.call("GET", "/alarms").json == {"alarms": [], "looked": None, "unknown": []}
    alarm = Alarm(Kind.QUEUE_AGE, Severity.WARNING, "", "Mail waits.", "Long.", "Look.", "contoso/x", since=now)
    with api.gateway.config() as store:
        content = {ALARMS_CONTENT: encoded(Memory((AlarmStatus(alarm, now),), looked=now))}
        store.apply({}, author="gatepost", content=content)
    (found,) = api.call("GET", "/alarms").json["alarms"]
    assert (found["kind"], found["severity"], found["certificate"], found["about"]) == (
        "queue-age",
        "warning",
        None,
        "contoso/x",
    )
    api.who = Principal("tim", frozenset({Scope.READ}), frozenset({"fabrikam"}))
    assert api.call("GET", "/alarms").json["alarms"] == []
    api.who = Principal("tim", frozenset({Scope.QUEUE}))
    assert api.call("GET", "/alarms").problem == "forbidden"
