from __future__ import annotations

import io
import json
import time

import pytest

from gatepost.analysis.reports.evidence_export import Selection
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import evidence
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.evidence_files import evidence_directory, log_directory

DAY = 86_400.0
ALL = Principal("ann", frozenset({Scope.READ}))


@pytest.fixture
def log(gateway, logs):
    """Two days that are over, with heads, and today."""
    directory = evidence_directory(gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    for day in range(3):
        at = time.time() - (2 - day) * DAY
        chain.append(logs.events(3, at=at, message=f"m{day}"), at)
        chain.checkpoint(at)
    logs.heads(directory).make(time.time())
    return directory


def exported(gateway, who=ALL, form="json", **wanted):
    out = io.BytesIO()
    summary = evidence.export(gateway, who, Selection(**wanted), form, out)
    return summary, out.getvalue()


def test_heads_and_keys(gateway, log, logs):
    first, second = evidence.heads(gateway, ALL)
    assert evidence.heads(gateway, ALL, second.day) == [second]
    assert evidence.head_record(first)["hash"] == first.hash
    (key,) = evidence.keys(gateway, ALL)
    assert evidence.key_record(key) == {"id": logs.signer.key, "pem": logs.pem.decode()}
    assert evidence.days_kept(gateway)[0] == first.day


def test_nothing_yet(gateway):
    assert (evidence.heads(gateway, ALL), evidence.keys(gateway, ALL), evidence.days_kept(gateway)) == (
        [],
        [],
        ("", ""),
    )


def test_exports_in_every_form(gateway, log):
    summary, content = exported(gateway)
    assert summary.entries == 9
    assert len(json.loads(content)["segments"]) >= 3
    summary, content = exported(gateway, form="csv")
    assert content.count(b"\n") == 10
    assert exported(gateway, form="pdf")[1].startswith(b"%PDF")


def test_who_sees_other_organizations_gets_no_entry(gateway, log, logs):
    (organization,) = {one.organization for one in logs.events(3, at=time.time(), message="m")}
    own = Principal("o", frozenset({Scope.READ}), frozenset({organization}))
    other = Principal("o", frozenset({Scope.READ}), frozenset({"another"}))
    assert exported(gateway, own)[0].entries == 9
    summary, content = exported(gateway, other)
    assert summary.entries == 0
    assert json.loads(content)["selection"] == {"organizations": "another"}
    assert exported(gateway, other, organization=organization)[0].entries == 0


def test_what_cannot_be_read_is_a_refusal(gateway, log):
    (log / "keys").joinpath("x.pem").write_bytes(b"no key")
    next(iter(log_directory(log).glob("*.log.gz")), None)
    with pytest.raises(Refusal) as refused:
        evidence.keys(gateway, ALL)
    assert refused.value.kind is Kind.UNREADABLE
    with pytest.raises(Refusal):
        exported(gateway)


def test_without_reportlab_there_is_no_pdf(monkeypatch):
    assert evidence.export_forms() == ("json", "csv", "pdf")
    monkeypatch.setattr(evidence, "find_spec", lambda _: None)
    assert evidence.export_forms() == ("json", "csv")


@pytest.mark.parametrize("asked", [evidence.heads, evidence.keys])
def test_what_is_about_all_mail_is_not_for_who_sees_some_of_it(gateway, asked):
    with pytest.raises(Refusal) as refused:
        asked(gateway, Principal("o", frozenset({Scope.READ}), frozenset({"another"})))
    assert refused.value.kind is Kind.FORBIDDEN
