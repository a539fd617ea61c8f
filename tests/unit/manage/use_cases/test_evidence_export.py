from __future__ import annotations

import io
import json
import time

import pytest

from gatepost.analysis.reports.evidence_export import Summary
from gatepost.events.evidence.chain import Place
from gatepost.events.evidence.heads import DayHead, HeadBook
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases import evidence_export as module
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.evidence import Head
from gatepost.manage.use_cases.evidence_export import FetchedExport, OpenExport, export_evidence, open_export
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import BusyRefusal
from gatepost.store.evidence_files import evidence_directory

NOW = time.time()
ALL = Principal("ann", frozenset({Scope.READ}))
OPEN = "1970-01-01T00:00"


class Accounts:
    """In place of what keeps the audit."""

    def __init__(self):
        self.events = []
        self.begun = []

    def record(self, _, action, **more):
        if more.get("outcome") is AuditOutcome.BEGUN:
            self.begun.append(action)
        else:
            self.events.append((action, str(more.get("outcome", "done")), more["organization"], more["subject"]))


@pytest.fixture
def accounts():
    return Accounts()


@pytest.fixture
def log(gateway, logs):
    """Three messages, a signature, and one more."""
    directory = evidence_directory(gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    for number in range(3):
        chain.append(logs.events(2, at=NOW - 90 + number, message=f"m{number}"), NOW)
    chain.checkpoint(NOW)
    chain.append(logs.events(1, at=NOW - 9, message="late"), NOW)
    return directory


def export_of(gateway, accounts, who=ALL, **wanted):
    return execute(open_export, Context(gateway, who, lambda: accounts), OpenExport(**{"since": OPEN} | wanted))


def written(export):
    out = io.BytesIO()
    return export.write(out), out.getvalue()


def fetched(gateway, accounts, heads=(), **wanted):
    """As a command gets it from another gateway."""
    request = OpenExport(**{"since": OPEN} | wanted)
    fields = {name: getattr(request, name) for name in module.ExportEvidence.__struct_fields__}
    raw = execute(export_evidence, Context(gateway, ALL, lambda: accounts), module.ExportEvidence(**fields))
    return FetchedExport(json.loads(bytes(raw)), heads, request)


def unmade(content):
    found = json.loads(content)
    return content.replace(found["made"].encode(), b"then")


def text(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


CHOICES = {
    "all": {},
    "a message": {"message": "m1"},
    "since": {"since": text(NOW - 20)},
    "until": {"until": text(NOW - 88.5)},
    "of another": {"organization": "another"},
}


@pytest.mark.parametrize("wanted", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_from_afar_an_export_is_the_same_to_the_byte(gateway, log, accounts, form, wanted):
    summary, content = written(export_of(gateway, accounts, form=form, **wanted))
    there, document = written(fetched(gateway, accounts, form=form, **wanted))
    assert there == summary
    assert document == content if form == "csv" else unmade(document) == unmade(content)


def test_from_afar_a_pdf_is_drawn_of_the_same(gateway, log, accounts, monkeypatch):
    made = []

    def write_pdf(out, log, selection, found, **options):
        made.append((log.node, list(log.keys), list(log.heads), selection, [one.record() for one in found], options))
        return Summary(entries=len(made))

    heads = HeadBook({"2026-11-24": DayHead("2026-11-24", "ab" * 32, {"0": Place(7, "cd" * 32)})})
    monkeypatch.setattr(module, "read_heads", lambda _: heads)
    monkeypatch.setattr("gatepost.analysis.reports.evidence_pdf.write_pdf", write_pdf)
    written(export_of(gateway, accounts, form="pdf"))
    known = Head("2026-11-24", "ab" * 32, {"0": {"number": 7, "head": "cd" * 32}})
    written(fetched(gateway, accounts, [known], form="pdf"))
    assert made[0] == made[1]


def test_exports_in_every_form(gateway, log, accounts):
    summary, content = written(export_of(gateway, accounts))
    assert (summary.entries, len(summary.messages), summary.unsigned) == (7, 4, 1)
    assert len(json.loads(content)["segments"]) >= 2
    assert written(export_of(gateway, accounts, form="csv"))[1].count(b"\n") == 8
    assert written(export_of(gateway, accounts, form="pdf"))[1].startswith(b"%PDF")


def test_every_entry_is_in_the_export_of_one_day(gateway, logs, accounts):
    """Times of entries have microseconds: the last of a day is not lost between two exports."""
    directory = evidence_directory(gateway.data)
    logs.keep_key(directory)
    midnight = NOW // 86400 * 86400
    chain = logs.chain(directory)
    for at in (midnight - 0.0005, midnight - 0.00001, midnight):
        chain.append(logs.events(1, at=at), NOW)
    days = [text(midnight + offset)[:10] for offset in (-86400, 0)]
    exports = [written(export_of(gateway, accounts, since=day, until=day))[0].entries for day in days]
    assert exports == [2, 1]


def test_what_was_written_is_recorded(gateway, log, accounts):
    export = export_of(gateway, accounts, form="csv", organization="contoso")
    assert accounts.events == []
    written(export)
    assert accounts.events == [("evidence-export", "done", "contoso", "csv")]
    fetched(gateway, accounts, organization="contoso")
    assert accounts.events[1:] == [("evidence-export", "done", "contoso", "json")]


def test_who_sees_other_organizations_gets_no_entry(gateway, log, logs, accounts):
    (organization,) = {one.organization for one in logs.events(3, at=time.time(), message="m")}
    own = Principal("o", frozenset({Scope.READ}), frozenset({organization}))
    other = Principal("o", frozenset({Scope.READ}), frozenset({"another"}))
    assert written(export_of(gateway, accounts, own))[0].entries == 7
    summary, content = written(export_of(gateway, accounts, other))
    assert summary.entries == 0
    assert json.loads(content)["selection"] == {"organizations": "another"}
    assert written(export_of(gateway, accounts, other, organization=organization))[0].entries == 0


def test_a_stored_key_that_cannot_be_read_is_told_in_an_export(gateway, log, accounts):
    (log / "keys").joinpath("x.pem").write_bytes(b"no key")
    document = json.loads(written(export_of(gateway, accounts))[1])
    assert (len(document["keys"]), document["unreadable_keys"]) == (1, 1)


def test_a_reader_that_goes_away_is_on_record_as_failed(gateway, log, accounts):
    """Octets of the export may have been read by then."""

    class Broken(io.BytesIO):
        def write(self, data):
            assert accounts.begun == ["evidence-export"], "it is on record before the first octet"
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        export_of(gateway, accounts).write(Broken())
    assert accounts.events == [("evidence-export", "failed", "", "json")]


def test_without_reportlab_there_is_no_pdf(monkeypatch):
    assert module.export_forms() == ("json", "csv", "pdf")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert module.export_forms() == ("json", "csv")


def test_calls_of_one_asker_make_one_export_at_a_time(gateway, log, accounts):
    with gateway.kept(module.ExportLimit).slot(ALL.share_key), pytest.raises(BusyRefusal):
        fetched(gateway, accounts)
    with gateway.kept(module.ExportLimit).slot("of fabrikam"):
        assert fetched(gateway, accounts)
