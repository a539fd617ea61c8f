"""The evidence log in the admin centre: three days of it, two of which are over."""

from __future__ import annotations

import csv
import errno
import io
import os
import tempfile
import time
from types import SimpleNamespace

import pytest

from gatepost.analysis.checks.evidence import drills_in_copy
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.pages import evidence
from gatepost.manage.use_cases.evidence import LogVerification, OwnLog
from gatepost.manage.use_cases.evidence_audit import verify_export, verify_stored_log
from gatepost.manage.use_cases.evidence_export import ExportLimit
from gatepost.manage.use_cases.jobs import Job
from gatepost.store.evidence_files import EvidenceDirectory, evidence_directory

from .conftest import MARKUP, OWNER

DAY = 86_400.0
PAGE, EXPORT = "/reports/evidence", "/reports/evidence/export"


@pytest.fixture
def log(whole_day, centre, logs):
    directory = evidence_directory(centre.gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    for back in (2, 1, 0):
        at = time.time() - back * DAY
        chain.append(logs.events(3, at=at, message=f"m{back}", organization="contoso"), at)
        chain.append(logs.events(1, at=at, message=f"f{back}", organization="fabrikam", connector="=1+1"), at)
        chain.checkpoint(at)
    logs.heads(directory).make(time.time())
    return directory


def day(back=0):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - back * DAY))


def entries(answer):
    return [one for segment in answer.json["segments"] for one in segment["entries"] if "organization" in one]


def audit_events(centre):
    return [one for one in centre.accounts.audit_events(OWNER) if one.action.startswith("evidence-")]


def test_a_gateway_without_a_log(centre, person):
    words = centre.get(PAGE).words
    assert "No keys yet. The gateway makes one when it starts" in words
    assert "Not verified since the admin centre started" in words
    assert centre.get(f"{PAGE}?table=heads&format=json").json == []
    assert centre.get(EXPORT).json["segments"] == []
    assert centre.get(f"{EXPORT}?form=csv").text.count("\n") == 1, "its head alone"
    answer = person().get(f"{EXPORT}?form=csv")
    assert answer.text.startswith("\ufefftime,event"), "Excel is told that it is UTF-8"
    assert int(answer.headers["content-length"]) == len(answer.text.encode())


def test_heads_and_keys(centre, log, logs):
    page = centre.get(PAGE, "reader")
    assert logs.signer.key in page.words
    assert page.text.index(day(1)) < page.text.index(f">{day(2)}<"), "the newest first"
    heads = centre.get(f"{PAGE}?table=heads&format=json").json
    assert [one["day"] for one in heads] == [day(1), day(2)]
    rows = list(csv.DictReader(io.StringIO(centre.get(f"{PAGE}?table=heads&format=csv").text)))
    assert [(one["day"], one["head"]) for one in rows] == [(one["day"], one["hash"]) for one in heads]
    (only,) = centre.get(f"{PAGE}?table=heads&format=json&since={day(2)}&until={day(2)}").json
    assert only["day"] == day(2)
    assert f"{day(2)} to {day(0)}" in page.words


@pytest.mark.parametrize("query", ["?format=csv", "?format=json&table=x", "?table=x&format=csv"])
def test_another_table_is_not_there(centre, query):
    assert centre.get(f"{PAGE}{query}").status == 404
    assert centre.get(f"{PAGE}?table=heads&format=xls").status == 422


def test_a_tenant_is_shown_nothing_of_the_whole(centre, log, logs):
    page = centre.get(PAGE, "tenant")
    assert page.status == 200
    for hidden in (logs.signer.key, "Verify now", "Heads", "Public keys"):
        assert hidden not in page.words
    assert centre.get(f"{PAGE}?table=heads&format=json", "tenant").status == 404
    assert centre.get(f"{PAGE}?organization=contoso", "tenant").status == 404
    assert centre.get(f"{EXPORT}?organization=contoso", "tenant").status == 404
    assert centre.post(f"{PAGE}/verify", "tenant").status == 404


def test_a_tenant_takes_its_own_entries_along(centre, log):
    found = entries(centre.get(EXPORT, "tenant"))
    assert {one["organization"] for one in found} == {"fabrikam"}
    assert len(found) == 3
    assert entries(centre.get(f"{EXPORT}?organization=fabrikam", "tenant")) == found
    text = centre.get(EXPORT, "tenant").text
    assert '"m0"' not in text


SELECTIONS = [
    ("", 12),
    ("?organization=contoso", 9),
    ("?organization=nobody", 0),
    ("?message=m1", 3),
    ("?message=%20m1%20", 3),
    ("?partner=b.example", 12),
    ("?partner=B.Example.", 12),
    ("?partner=%3D1%2B1", 3),
    ("?partner=%00", 0),
    (f"?partner={'x' * 20_000}", 0),
]


@pytest.mark.parametrize(("query", "count"), SELECTIONS)
def test_what_is_wanted_and_nothing_else(centre, log, query, count):
    assert len(entries(centre.get(f"{EXPORT}{query}"))) == count


def test_days_are_those_above(centre, log):
    found = entries(centre.get(f"{EXPORT}?since={day(1)}&until={day(1)}"))
    assert {one["message"] for one in found} == {"m1", "f1"}
    assert entries(centre.get(f"{EXPORT}?since=1970-01-01&until=1970-01-02")) == []


@pytest.mark.parametrize(
    "query", ["since=x", "since=2026-02-30", "since=2026-02-02&until=2026-02-01", "until=99999-01-01"]
)
def test_days_that_are_none(centre, query):
    for path in (PAGE, EXPORT):
        answer = centre.get(f"{path}?{query}")
        assert answer.status == 422
        assert "Traceback" not in answer.text


def test_an_export_proves_itself(centre, log, logs, tmp_path):
    answer = centre.get(f"{EXPORT}?organization=contoso")
    name = f"gatepost-evidence-{day(29)}-{day()}.json"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert int(answer.headers["content-length"]) == len(answer.text.encode())
    file = tmp_path / name
    file.write_text(answer.text, encoding="utf-8")
    assert verify_export(file, [logs.pem], ()).verified is True
    file.write_text(answer.text.replace('"m1"', '"m9"', 1), encoding="utf-8")
    assert verify_export(file, [logs.pem], ()).verified is False


def test_a_spreadsheet_computes_nothing(centre, log):
    rows = list(csv.DictReader(io.StringIO(centre.get(f"{EXPORT}?form=csv").text)))
    assert len(rows) == 12
    assert {one["connector"] for one in rows} == {"", "'=1+1"}


@pytest.mark.parametrize("form", ["", "xml", "JSON", "../json", "%00"])
def test_another_form_is_not_there(centre, form):
    assert centre.get(f"{EXPORT}?form={form}").status == 404


def test_without_the_extra_there_is_no_pdf(centre, monkeypatch):
    monkeypatch.setattr(evidence.evidence_export, "find_spec", lambda _: None)
    assert "PDF needs the Python package reportlab" in centre.get(PAGE).words
    assert centre.get(f"{EXPORT}?form=pdf").status == 404


def test_who_took_what_along_is_on_record(centre, log):
    centre.get(f"{EXPORT}?organization=contoso&message={'m' * 3000}&form=csv", "reader")
    (event,) = audit_events(centre)
    assert (event.action, event.who, event.organization, event.subject) == (
        "evidence-export", "token reader", "contoso", "csv",
    )  # fmt: skip
    assert len(event.detail["message"]) == 1000


def test_one_export_at_a_time_of_one_asker_which_holds_up_nobody_else(centre, log):
    with centre.gateway.kept(ExportLimit).slot("token owner"):
        answer = centre.get(EXPORT)
    assert (answer.status, "Another export is running" in answer.words) == (429, True)
    assert audit_events(centre) == []
    with centre.gateway.kept(ExportLimit).slot("of fabrikam"):
        assert centre.get(EXPORT).status == 200


class Full(io.BytesIO):
    """A disk without room."""

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def no_file():
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")


def test_an_export_leaves_room_for_the_queue(centre, log, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(centre.gateway.data))  # as a confined process has it
        patched.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1 << 20, f_frsize=128))
        answer = centre.get(EXPORT)
    assert (answer.status, "kept for the queue" in answer.words) == (503, True)


@pytest.mark.parametrize(("file", "outcomes"), [(Full, ["failed"]), (no_file, [])])
def test_a_disk_without_room_is_said_and_stands_in_nobodys_way(centre, log, monkeypatch, file, outcomes):
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", file)
        answer = centre.get(EXPORT)
    assert answer.status == 503
    assert "Free disk space there (TMPDIR), then try again" in answer.words
    assert [one.outcome for one in audit_events(centre)] == outcomes
    assert centre.get(EXPORT).status == 200, "the next one is not refused"


def test_a_key_that_cannot_be_read_is_told_and_the_others_count(centre, log):
    (log / "keys" / "x.pem").write_bytes(b"no key")
    assert '"unreadable_keys":1' in centre.get(EXPORT).text
    assert "A stored public key cannot be read." in centre.get(PAGE).words
    assert "A stored public key cannot be read." not in centre.get(PAGE, "tenant").words


def test_a_log_that_cannot_be_read_is_said_to_be_so(centre, log):
    (log / "keys" / "x.pem").mkdir()
    assert centre.get(EXPORT).status == 503
    assert centre.get(PAGE).status == 503
    assert centre.get(PAGE, "tenant").status == 200
    (log / "keys" / "x.pem").rmdir()
    assert centre.get(EXPORT).status == 200


# the verification


class Verified:
    """In place of the thread that verifies."""

    def __init__(self, last=None):
        self.last, self.started = last, 0

    def start(self, _):
        self.started += 1


def verified(centre, last=None):
    made = centre.gateway.instances._made[LogVerification] = Verified(last)
    return made


def job(result=None, trouble="", begun=0.0, ended=None):
    made = Job(OwnLog(), OWNER)
    made.begun = begun or time.time()
    if ended:
        made.end(result, trouble)
        made.ended = ended
    return made


def test_who_reads_has_it_verified_and_that_is_on_record(centre, log):
    verification = verified(centre)
    answer = centre.post(f"{PAGE}/verify", "reader", organization="contoso")
    assert answer.headers["location"] == f"{PAGE}?organization=contoso"
    assert verification.started == 1
    assert [one.action for one in audit_events(centre)] == ["evidence-verify"]
    centre.tokens["blind"] = centre.accounts.add_token("blind", [Scope.QUEUE], actor=Actor("", ""))
    assert centre.post(f"{PAGE}/verify", "blind").status == 403
    assert verification.started == 1


def test_where_to_go_afterwards_is_ours_to_say(centre):
    verified(centre)
    for evil in ("//evil.example", "https://evil.example", "x\r\nset-cookie: a=b"):
        location = centre.post(f"{PAGE}/verify", organization=evil).headers["location"]
        assert location.startswith(f"{PAGE}?organization=")
        assert "\n" not in location


def test_it_is_asked_again_while_it_runs(centre, log):
    verified(centre, job())
    page = centre.get(PAGE)
    assert "Verifying…" in page.words
    assert "every 2s" in page.text
    assert "Verifying…" not in centre.get(PAGE, "tenant").words


def test_what_was_found_is_shown(centre, log):
    found = verify_stored_log(EvidenceDirectory(log), drills_in_copy(log))
    verified(centre, job(found, begun=time.time() - 5, ended=time.time() - 4))
    page = centre.get(PAGE)
    assert "Verified: the log is unaltered." in page.words
    assert "every 2s" not in page.text
    verified(centre, job(None, f"disk {MARKUP}", begun=1.0, ended=2.0))
    page = centre.get(PAGE)
    assert f"The log could not be verified. disk {MARKUP}" in page.words
    assert "<script>" not in page.text
