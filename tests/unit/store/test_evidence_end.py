from __future__ import annotations

from gatepost.decoding import from_json
from gatepost.events.evidence.chain import Place, parse_line
from gatepost.events.evidence.entry import AddressPrivacy, Privacy
from gatepost.store.evidence_end import ChainEnd, day_after


def test_entries_are_joined_one_to_the_other(logs):
    end = ChainEnd(node="mx1", writer="0", privacy=Privacy(AddressPrivacy.FULL))
    end.begin("2026-11-18", logs.NOON)
    end.gap(logs.NOON, "dropped", 3)
    end.gap(logs.NOON, "torn", 9, "ab" * 32)
    end.events(logs.events(2))
    end.checkpoint(logs.NOON, logs.signer)
    lines = [parse_line(line) for line in end.lines]
    assert [line.body["kind"] for line in lines] == ["begin", "gap", "gap", "event", "event", "checkpoint"]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]
    assert end.place == Place(6, lines[-1].hash)
    assert (lines[1].body["count"], lines[2].body["sha256"]) == (3, "ab" * 32)
    assert lines[3].body["sender"] == "a@a.example"
    assert lines[5].body["head"] == lines[4].hash
    assert from_json(end.lines[0][65:])["writer"] == "0"


def test_addresses_are_kept_as_the_default_says(logs):
    end = ChainEnd(node="mx1", writer="0")
    end.events(logs.events())
    assert "sender" not in parse_line(end.lines[0]).body


def test_the_day_after():
    assert [day_after(day) for day in ("2026-11-30", "2024-02-28")] == ["2026-12-01", "2024-02-29"]
