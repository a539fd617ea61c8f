from __future__ import annotations

from gatepost import __version__


def test_the_status(api):
    found = api.call("GET", "/status").json
    assert (found["software"], found["hostname"]) == (__version__, "mx.gate.example")
    assert (found["configuration"]["version"], found["configuration"]["author"]) == (1, "ann")
    assert found["queue"] == {"active": 0, "deferred": 3, "held": 0}
    assert found["ok"] is False, "there is no listener"
    assert (found["listeners"], found["logins"]) == ([], None)
    assert found["mail"] == {"alarms": 0, "text": "no alarms"}
