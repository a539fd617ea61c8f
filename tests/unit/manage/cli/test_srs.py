from __future__ import annotations

import json


def test_a_key_is_rotated_and_the_old_one_removed(home):
    assert home.call("srs", "list").stdout.startswith("name\tuse\n")
    (old,) = json.loads(home.call("srs", "list", "--json").stdout)
    shown = home.call("srs", "rotate").stdout
    name = shown.removeprefix("new key: ").partition(";")[0]
    assert home.call("srs", "list").stdout.splitlines()[1:] == [
        f"{name}\tsigns and verifies",
        f"{old['name']}\tverifies",
    ]
    assert home.call("srs", "remove", old["name"]).stdout == f"removed: {old['name']}\n"
    assert "`gatepost srs list` lists the keys" in home.call("srs", "remove", old["name"], code=2).stderr
    assert "rotate first" in home.call("srs", "remove", name, code=1).stderr
    assert json.loads(home.call("srs", "rotate", "--json").stdout)["signs"] is True
