from __future__ import annotations

from .test_connector_change import BASE


def test_drills_are_listed_with_their_results(home):
    home.call("apply", "-f", home.write(BASE))
    assert home.json("connector", "drills") == []
    assert "no organization" in home.call("connector", "drills", "--organization", "nobody", code=2).stderr
    held = home.call("connector", "drill", "Bank", "--direction", "outbound", "--json", code=1)
    lines = [line.split("\t") for line in home.call("connector", "drills").stdout.splitlines()]
    assert lines[0] == ["at", "result", "organization", "connector", "number", "verdict", "name"]
    (kept,) = home.json("connector", "drills", "--organization", "contoso", "--connector", "bank")
    assert lines[1][1:4] == ["failed", "contoso", "Bank"]
    assert kept["sha256"] in held.stdout
