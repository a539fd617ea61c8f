from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from xml.etree import ElementTree as ET

from support.table_scene import HOST, certificate, chain

from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.published import Event
from gatepost.pki.certificates.published_atom import atom
from gatepost.values import replace

A = "{http://www.w3.org/2005/Atom}"
MADE = certificate()


def read(table, own="certificates.atom", page="index.html"):
    return ET.fromstring(atom(table, own, page))  # noqa: S314 - our own


def test_an_entry_for_each_state(entry, table, change):
    staged = entry(MADE, State.NEXT)
    current = replace(staged, state=State.CURRENT)
    old = replace(staged, state=State.DEPRECATED)
    gone = replace(staged, state=State.RETIRED)
    steps = [staged, current, old, gone]
    changes = [change(100.0, staged)]
    changes += [change(200.0 + 100.0 * at, one, before) for at, (before, one) in enumerate(pairwise(steps))]
    feed = read(table((gone, chain(MADE)), changes=changes[::-1]), "https://x.example/certificates.atom")
    assert feed.find(f"{A}updated").text == "1970-01-01T00:06:40Z"
    assert [one.get("href") for one in feed.findall(f"{A}link")] == [
        "https://x.example/certificates.atom",
        "index.html",
    ]
    entries = feed.findall(f"{A}entry")
    assert [one.find(f"{A}category").get("term") for one in entries] == ["retired", "deprecated", "current", "next"]
    assert [one.find(f"{A}title").text.rpartition(" ")[2] for one in entries] == [
        "retired",
        "deprecated",
        "current",
        "staged",
    ]
    ids = [one.find(f"{A}id").text for one in entries]
    assert len(set(ids)) == 4
    assert all(one.startswith(f"tag:{HOST},2026:certificates/{staged.leaf.sha256}/") for one in ids)
    again = read(table(changes=changes[:2][::-1]))
    assert [one.find(f"{A}id").text for one in again.findall(f"{A}entry")] == ids[2:]  # they stay what they are
    for one in (feed, *entries):
        assert {f"{A}id", f"{A}title", f"{A}updated"} <= {child.tag for child in one}
        datetime.fromisoformat(one.find(f"{A}updated").text)
    assert feed.find(f"{A}author/{A}name").text == HOST
    assert b"a note for us alone" not in atom(table(changes=changes), "", "")


def test_an_empty_feed_is_a_feed(table):
    feed = read(table())
    assert feed.find(f"{A}updated").text == "1970-01-01T00:00:00Z"
    assert feed.findall(f"{A}entry") == []


def test_names_cannot_break_it(table):
    hostile = "<script>&\"']]>\x00\x1b\ufffe\U0001f512"
    event = Event(1.0, State.CURRENT, None, hostile, "ab" * 32, "CN=</entry>", 0.0)
    feed = read(replace(table(), events=(event,)))
    title = feed.find(f"{A}entry/{A}title").text
    assert title == "<script>&\"']]>\ufffd\ufffd\ufffd\U0001f512 is current"
    assert "issued by CN=</entry>, valid until an unknown time" in feed.find(f"{A}entry/{A}summary").text
