from __future__ import annotations

import json

from gatepost.analysis.hybrid.plan import TRAPS, plan


def test_a_plan_has_both_sides_and_says_whether_this_one_is_complete(given):
    made = plan(given(warnings=["outbound connector 'x' of contoso: beware"]))
    assert made.complete
    assert made.traps == (*TRAPS, "outbound connector 'x' of contoso: beware")
    assert not plan(given(inbound=None)).complete
    known = {"name": "own", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.20"]}
    assert "from 192.0.2.20. If Exchange is among them" in plan(given(others={"inbound": [known]})).traps[-1]


def test_the_record_is_json_under_keys_that_stay(given):
    record = json.loads(json.dumps(plan(given(outbound=None)).record()))
    assert set(record) == {
        "complete", "organization", "hostname", "exchange_host", "here", "firewall", "exchange", "checks", "traps",
    }  # fmt: skip
    assert record["complete"] is False
    (missing,) = [one for one in record["here"] if not one["complete"]]
    assert missing["subject"] == "outbound-connector"
    assert missing["commands"][0].startswith("gatepost connector add outbound")
    assert set(record["exchange"][0]) == {"title", "lines"}
    assert set(record["checks"][0]) == {"side", "command", "expect"}
