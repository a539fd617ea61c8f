from __future__ import annotations

import io
import json
import time

import pytest

from gatepost.analysis.reports.evidence_export import Selection, Summary
from gatepost.events.evidence.chain import Place
from gatepost.events.evidence.heads import DayHead, HeadBook
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import evidence
from gatepost.manage.use_cases import evidence as here
from gatepost.store.evidence_files import evidence_directory

from .conftest import OWNER

NOW = time.time()


@pytest.fixture
def logged(there, logs):
    """Three messages, a signature, and one more."""
    directory = evidence_directory(there.api.gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    for number in range(3):
        chain.append(logs.events(2, at=NOW - 90 + number, message=f"m{number}"), NOW)
    chain.checkpoint(NOW)
    chain.append(logs.events(1, at=NOW - 9, message="late"), NOW)
    return there


def written(export, *args, form="json", **wanted):
    out = io.BytesIO()
    summary = export(*args, Selection(**wanted), form, out)
    return summary, out.getvalue()


def both(there, **wanted):
    return written(evidence.export, there, **wanted), written(here.export, there.api.gateway, OWNER, **wanted)


def unmade(content):
    found = json.loads(content)
    return content.replace(found["made"].encode(), b"then")


CHOICES = {
    "all": {},
    "a message": {"message": "m1"},
    "since": {"since": NOW - 20},
    "until": {"until": NOW - 88.5},
    "between": {"since": NOW - 89.5, "until": NOW - 88.5},
    "of another": {"organization": "another"},
}


@pytest.mark.parametrize("wanted", CHOICES.values(), ids=CHOICES)
def test_an_export_is_the_same_to_the_byte(logged, wanted):
    (there, content), (expected, own) = both(logged, **wanted)
    assert unmade(content) == unmade(own)
    assert there == expected


@pytest.mark.parametrize("wanted", CHOICES.values(), ids=CHOICES)
def test_a_table_is_the_same_to_the_byte(logged, wanted):
    found, expected = both(logged, form="csv", **wanted)
    assert found == expected


def test_what_is_chosen_is_counted(logged):
    summary, _ = written(evidence.export, logged)
    assert (summary.entries, len(summary.messages), summary.unsigned) == (7, 4, 1)


def drawn(monkeypatch):
    """What each document is made of."""
    made = []

    def write_pdf(out, log, selection, found, **options):
        made.append((log.node, list(log.keys), list(log.heads), selection, [one.record() for one in found], options))
        return Summary(entries=len(made))

    monkeypatch.setattr("gatepost.analysis.reports.evidence_pdf.write_pdf", write_pdf)
    return made


@pytest.mark.parametrize("wanted", CHOICES.values(), ids=CHOICES)
def test_a_pdf_is_drawn_of_the_same(logged, monkeypatch, wanted):
    heads = HeadBook({"2026-11-24": DayHead("2026-11-24", "ab" * 32, {})})
    monkeypatch.setattr(here, "read_heads", lambda _: heads)
    made = drawn(monkeypatch)
    assert [one.entries for one, _ in both(logged, form="pdf", **wanted)] == [1, 2]
    assert made[0] == made[1]
    assert [one.day for one in made[0][2]] == ["2026-11-24"]


def test_a_pdf_is_a_pdf(logged):
    summary, content = written(evidence.export, logged, form="pdf")
    assert (content[:5], summary.entries) == (b"%PDF-", 7)


def test_a_tenants_pdf_has_no_heads_of_all_mail(logged, monkeypatch):
    logged.api.who = Principal("tenant", frozenset({Scope.READ}), frozenset({"another"}))
    made = drawn(monkeypatch)
    written(evidence.export, logged, form="pdf")
    ((_, keys, heads, _, segments, _),) = made
    assert (len(keys), heads, segments) == (1, [], [])
    assert not [one for one in logged.calls if "heads" in one], "nothing is asked for that will be refused"


def test_keys_are_the_same(logged, logs):
    (key,) = evidence.keys(logged)
    assert [key] == here.keys(logged.api.gateway, OWNER)
    assert key.pem == logs.pem.decode()


def test_heads_are_the_same(logged, monkeypatch):
    assert evidence.heads(logged) == []
    writers = {"0": Place(7, "cd" * 32), "admin": Place(1, "ef" * 32)}
    days = [DayHead(day, "ab" * 32, writers) for day in ("2026-11-23", "2026-11-24")]
    monkeypatch.setattr(here, "read_heads", lambda _: HeadBook({one.day: one for one in days}))
    assert evidence.heads(logged) == here.heads(logged.api.gateway, OWNER) == days
    assert evidence.heads(logged, "2026-11-24") == days[1:]
