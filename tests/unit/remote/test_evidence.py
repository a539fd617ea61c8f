from __future__ import annotations

import io
import json
import time

import pytest

from gatepost.administration import evidence as here
from gatepost.administration.refusal import Kind, Refusal
from gatepost.evidence.chain import Place
from gatepost.evidence.heads import DayHead, HeadBook
from gatepost.remote import evidence
from gatepost.reports.evidence_export import Selection
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


def test_a_pdf_is_made_there(logged):
    with pytest.raises(Refusal, match="on the gateway's machine") as refused:
        written(evidence.export, logged, form="pdf")
    assert refused.value.kind is Kind.INPUT


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
