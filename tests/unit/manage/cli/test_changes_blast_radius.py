from __future__ import annotations

import json
import time

import pytest

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
"""
LOCK = '[[organization.contoso.inbound_connector]]\nname = "lock"\nsender_domains = ["*"]\n'
LAB = '[[organization.contoso.outbound_connector]]\nname = "lab"\nrecipient_domains = ["lab.example"]\n'
NOW = time.time()


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    home.events(
        {"at": NOW - 60, "message": "1", "peer_address": "192.0.2.1"},
        {"at": NOW - 50, "message": "2", "peer_address": "192.0.2.1", "tls": {"version": "TLSv1.3"}},
        {"at": NOW - 20 * 86400, "message": "3", "peer_address": "192.0.2.1"},
    )
    return home


def dry_run(home, text, *words, code=0):
    return home.call("apply", "-f", home.write(text), "--dry-run", *words, code=code)


def test_what_a_change_would_have_done(base):
    lines = dry_run(base, BASE + LOCK).stdout.splitlines()
    assert lines[0].startswith("+ organization.contoso.inbound_connector['lock']: ")
    assert lines[1:5] == [
        "",
        "adds inbound connector 'lock' of contoso",
        "touches senders: *",
        "touches recipients: contoso.example",
    ]
    assert lines[5].startswith("of 2 messages received or refused since ")
    assert lines[5].endswith(", 2 would have been decided differently")
    assert lines[6:11] == [
        "  inbound, accepted -> refused: 1 (also stronger requirement: 1, another connector: 1)",
        "    mail of elsewhere.example from 192.0.2.1 (1)",
        "    was: accepted (no connector, opportunistic)",
        "    now: refused (connector 'lock', encrypted): 530 5.7.0 Must issue a STARTTLS command first",
        "    see: gatepost trace show 1",
    ]
    assert lines[-1] == "1 change, not applied (--dry-run)"
    assert base.config()[0] == 1


def test_the_time_that_is_looked_at_can_be_chosen(base):
    since = [dry_run(base, BASE + LOCK, "--since", age).stdout for age in ("30d", "10s")]
    assert "of 3 messages received or refused since" in since[0]
    assert "no message was received or refused since" in since[1]
    assert "the effect of the change is not known" in since[1]


def test_only_the_side_that_is_touched_is_looked_at(base):
    found = dry_run(base, BASE + LAB).stdout
    assert (
        "adds outbound connector 'lab' of contoso\ntouches recipients: lab.example\nno message was delivered or sent on"
        in found
    )
    assert "received" not in found


def test_what_scanners_would_have_said_is_not_told_but_that_others_are_asked_is(base):
    hook = '[[organization.contoso.content_hook]]\nname = "av"\ntype = "clamav"\naddress = "127.0.0.1"\n'
    found = dry_run(base, BASE + hook).stdout
    assert "adds content hook 'av' of contoso\nthe results of scanners for past mail are not known" in found
    assert "no mail would be decided differently" not in found


@pytest.mark.parametrize("change", ['display_name = "C"', 'message_expiration = "1h"'])
def test_what_no_decision_depends_on(base, change):
    assert "\nno mail would be decided differently\n" in dry_run(base, BASE + change).stdout


def test_many_domains_and_peers_are_cut_short(base):
    base.events(*({"at": NOW - n, "message": str(n), "peer_address": f"192.0.2.{n}"} for n in range(20, 30)))
    many = LOCK.replace('["*"]', json.dumps(["*", *(f"d{n:02}.example" for n in range(30))]))
    lines = dry_run(base, BASE + many).stdout.splitlines()
    assert [
        line for line in lines if line.startswith("touches senders: *, d00.example") and line.endswith(" and 11 more")
    ]
    assert [line for line in lines if line.endswith("; and 6 more")]


def test_for_machines(base):
    found = json.loads(dry_run(base, BASE + LOCK, "--json").stdout)
    assert (found["version"], found["dry_run"], len(found["changes"])) == (1, True, 1)
    radius = found["blast_radius"]
    assert radius["parts"] == [{"sign": "+", "part": "inbound connector 'lock' of contoso", "fields": []}]
    assert (radius["senders"], radius["recipients"]) == (["*"], ["contoso.example"])
    assert (radius["inbound"], radius["outbound"]) == ({"messages": 2, "different": 2}, {"messages": 0, "different": 0})
    first = radius["differences"][0]
    assert (first["kind"], first["direction"], first["messages"], first["sample"]) == (
        "accepted -> refused", "inbound", 1, "1",
    )  # fmt: skip
    assert first["peers"] == [{"peer": "mail of elsewhere.example from 192.0.2.1", "messages": 1}]
    assert {one["kind"]: one["messages"] for one in first["also"]} == {
        "stronger requirement": 1,
        "another connector": 1,
    }
    assert sum(one["messages"] for one in radius["differences"]) == radius["inbound"]["different"]
    assert radius["unreadable"] == []


def test_a_part_of_the_trace_that_cannot_be_read_is_said(base):
    file = base.data / "trace" / f"{time.strftime('%Y-%m-%d', time.gmtime())}.9.db"
    file.write_bytes(b"no database, but long enough to be read as one " * 100)
    assert f"{file.name} of the trace cannot be read" in dry_run(base, BASE + LOCK).stderr
