"""What is said of a log, of files of one, and of an export, as far as each is what was written."""

from __future__ import annotations

import io
import json
import time

import pytest

from gatepost.analysis.checks.evidence import drills_in_copy, keep
from gatepost.analysis.reports.evidence_audit import LogAudit
from gatepost.analysis.reports.evidence_export import Selection
from gatepost.events.evidence.audit import FaultKind, Faults
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import evidence
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.evidence_audit import (
    Verification,
    _log_result,
    verify_export,
    verify_log,
    verify_stored_log,
)
from gatepost.manage.use_cases.evidence_export import LogExport
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.evidence_files import EvidenceDirectory, log_directory

DAY = 86_400.0
ALL = Principal("ann", frozenset({Scope.READ}))
OTHER_KEY = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA%s\n-----END PUBLIC KEY-----\n" % (b"A" * 43 + b"=")
ANY = ("", "9999")


@pytest.fixture
def export(gateway, log, tmp_path):
    """An export as a file, with some of it written over."""

    def make(**changes):
        out = io.BytesIO()
        LogExport(Context(gateway, ALL, lambda: None), Selection(), "json").write_unrecorded(out)
        (tmp_path / "export.json").write_text(json.dumps(json.loads(out.getvalue()) | changes))
        return tmp_path / "export.json"

    return make


def verified(paths, given=(), heads=(), days=ANY, own=False):
    if own:
        return verify_stored_log(EvidenceDirectory(*paths), drills_in_copy(*paths), given, heads, days)
    return verify_log(list(paths), list(given), heads, days)


def days(log):
    """Files of days, but for the heads."""
    return sorted(path for path in log_directory(log).iterdir() if path.suffix == ".log")


def refusal(verify, *given, **more):
    with pytest.raises(Refusal) as refused:
        verify(*given, **more)
    assert refused.value.text.isprintable()
    return refused.value


# faults, whether the reader's own keys, whether something is signed -> the verdict
VERDICTS = [
    ((), True, True, True),
    ((), False, True, None),
    ((), True, False, None),
    ((FaultKind.KEY,), True, True, None),
    ((FaultKind.CHANGED,), True, True, False),
    ((FaultKind.KEY, FaultKind.CHANGED), False, False, False),
]


@pytest.mark.parametrize(("kinds", "trusted", "proven", "expected"), VERDICTS)
def test_a_verdict(kinds, trusted, proven, expected):
    faults = Faults()
    for kind in kinds:
        faults.add(kind, ("a.log", 1, 1), "something")
    found = Verification(faults, trusted=trusted, proven=proven)
    assert (found.verified, found.data["verified"]) == (expected, expected)
    found.cannot_tell()
    assert found.verified is (False if expected is False else None)
    assert len(found.notes) == (not trusted) + (not proven and not kinds)


def test_the_own_log_is_proven_by_its_own_keys(log, logs):
    found = verified([log], own=True)
    assert (found.verified, found.data["entries"] >= 9, found.data["keys"]) == (True, True, [logs.signer.key])
    assert found.data["notes"] == found.notes


def test_who_brings_no_key_cannot_tell(log, logs):
    assert verified([log]).verified is None
    assert verified([log], [logs.pem]).verified is True
    assert verified([log.parent], [logs.pem]).verified is True, "the data directory is meant"


def test_a_key_that_is_anothers_proves_nothing(log):
    found = verified([log], [OTHER_KEY])
    assert found.verified is None
    assert found.faults.first


def test_an_entry_that_was_changed_is_found(log, logs):
    file = next(one for one in days(log) if b'"m0"' in one.read_bytes())
    file.write_bytes(file.read_bytes().replace(b'"m0"', b'"m9"', 1))
    found = verified([log], [logs.pem])
    assert found.verified is False
    assert found.data["faults"]


def test_a_hash_that_was_noted_elsewhere_must_be_in_it(log, logs, gateway):
    head = execute(evidence.list_heads, Context(gateway, ALL, lambda: None), evidence.ListHeads()).items[0].hash
    assert verified([log], [logs.pem], [head]).verified is True
    assert verified([log], [logs.pem], ["0" * 64]).verified is False


def test_days_are_chosen(log, logs, gateway):
    first = execute(evidence.get_kept_days, Context(gateway, ALL, lambda: None), evidence.GetKeptDays())[0]
    found = verified([log], [logs.pem], days=(first, first))
    assert (found.data["first"], found.data["last"]) == (first, first)
    assert refusal(verified, [log], [logs.pem], days=("1999-01-01", "1999-01-02")).kind is RefusalKind.UNREADABLE


def test_heads_without_the_files_of_the_days_are_told(log, logs):
    for file in days(log):
        file.unlink()
    assert verified([log], [logs.pem]).verified is False


UNSIGNED = "writer 0: no signature covers 4 entries at the end yet: written, but not proven to be unchanged"


def test_what_the_log_says_of_itself_is_told():
    gaps = [("0", {"number": 7, "count": 3, "what": "torn"}), ("1", {"number": 8, "count": 2, "what": "dropped"})]
    audit = LogAudit(first="2026-11-01", last="2026-11-02", files=1, entries=2, unsigned={"0": 4}, gaps=gaps)
    audit.pruned, audit.heads = "2026-10-01", 1
    found = _log_result(audit, "the log", [], trusted=True)
    assert found.lines == [
        "the log: 2026-11-01 to 2026-11-02, 1 file, 2 entries, 0 checkpoints, 1 head",
        "keys used to verify: none",
    ]
    assert found.notes == [
        UNSIGNED,
        "writer 0, entry 7: a crash tore 3 octets; kept in a file .torn",
        "writer 1, entry 8: dropped 2 events, as the disk was behind",
        "files of days before 2026-10-01 were removed in order (evidence.keep); heads say so",
    ]
    assert (found.verified, found.data["gaps"][0]["writer"]) == (True, "0")


def test_one_of_a_kind_is_in_the_singular():
    gaps = [("0", {"number": 7, "count": 1, "what": "torn"}), ("1", {"number": 8, "count": 1, "what": "dropped"})]
    audit = LogAudit(first="2026-11-01", last="2026-11-01", entries=1, checkpoints=1, unsigned={"0": 1}, gaps=gaps)
    found = _log_result(audit, "the log", [], trusted=True)
    assert found.lines[0] == "the log: 2026-11-01, 0 files, 1 entry, 1 checkpoint, 0 heads"
    assert found.notes == [
        "writer 0: no signature covers 1 entry at the end yet: written, but not proven to be unchanged",
        "writer 0, entry 7: a crash tore 1 octet; kept in a file .torn",
        "writer 1, entry 8: dropped 1 event, as the disk was behind",
    ]


def test_a_gap_of_a_forged_log_may_have_any_count():
    audit = LogAudit(first="2026-11-01", last="2026-11-01", entries=1, gaps=[("0", {"number": 7, "count": ["x"]})])
    assert "dropped 0 events" in _log_result(audit, "the log", [], trusted=True).notes[-1]


# days without heads, days whose heads are lost -> the verdict, the note
@pytest.mark.parametrize(
    ("unheaded", "headless", "verdict", "words"),
    [
        (["2026-11-02"], [], True, "no head of a day yet: 2026-11-02"),
        (["2026-11-02"], ["2026-11-01"], None, "the heads of 2026-11-01 are missing"),
        ([], [f"2026-11-{day:02}" for day in range(1, 9)], None, "the heads of 2026-11-01, 2026-11-02, "),
    ],
)
def test_days_without_heads(unheaded, headless, verdict, words):
    found = _log_result(LogAudit(unheaded=unheaded, headless=headless, heads=1), "the log", ["k"], trusted=True)
    assert (found.verified, found.data["verified"]) == (verdict, verdict)
    assert found.notes[0].startswith(words)


def test_files_alone_do_not_tell_what_is_gone(log, logs):
    files = days(log)
    assert files
    found = verified(files, [logs.pem])
    assert found.verified is True
    assert "without the daily heads" in found.notes[-1]
    assert verified(files).data["keys"] == [logs.signer.key], "those that lie beside the log"


def test_what_cannot_be_verified_is_refused(log, tmp_path):
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    cases = [
        (([log, log],), RefusalKind.INPUT, "not both"),
        (([tmp_path / "other.txt"],), RefusalKind.INPUT, "neither a file of an evidence log"),
        (([tmp_path / "a\x1b[31m\nb.txt"],), RefusalKind.INPUT, "neither a file of an evidence log"),
        (([tmp_path / "empty"],), RefusalKind.UNREADABLE, "there is no evidence log here"),
        (([log], [b"no key"]), RefusalKind.INPUT, "the key that was given: "),
    ]
    for given, kind, words in cases:
        refused = refusal(verified, *given)
        assert (refused.kind, words in refused.text) == (kind, True)


def test_a_key_that_came_along_and_is_none(log):
    for path in (log / "keys").iterdir():
        path.write_text("no key")
    found = verified([log])
    assert (found.verified, found.data["keys"]) == (None, [])
    assert any("1 stored public key of the log cannot be read" in note for note in found.notes)


def test_a_stored_key_that_is_none_takes_nothing_from_the_others(log):
    (log / "keys").joinpath("x.pem").write_bytes(b"\xff no key")
    found = verified([log], own=True)
    assert (found.verified, found.data["entries"] >= 9) == (True, True)
    assert any("1 stored public key of the log cannot be read" in note for note in found.notes)


def test_an_export_is_proven_by_the_readers_key(export, logs):
    found = verify_export(export(), [logs.pem], ())
    assert (found.verified, found.data["entries"], found.data["keys"]) == (True, 9, [logs.signer.key])
    assert verify_export(export(), [], ()).verified is None
    other = verify_export(export(), [OTHER_KEY], ())
    assert (other.verified, other.notes) == (None, []), "it is signed, and exporting again would not help"
    assert f"those given: {logs.signer.key}" in str(other.data["faults"])


def test_an_export_of_which_something_is_missing(export, logs):
    segments = json.loads(export().read_text())["segments"]
    segments[0]["entries"][0]["organization"] = "somebody else"
    altered = verify_export(export(segments=segments), [logs.pem], ())
    assert (altered.verified, altered.notes) == (False, []), "it is not unsigned"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another"},
        {"version": 2},
        {"keys": None},
        {"keys": [7]},
        {"keys": [{"pem": "no key"}]},
        {"segments": None},
        {"segments": [7]},
        {"segments": [{}]},
        {"heads": 7},
        {"selection": ["what"]},
        {"selection": "everything"},
        {"selection": None},
    ],
)
def test_a_damaged_export_is_refused_in_a_sentence(export, changes):
    refused = refusal(verify_export, export(**changes), [], ())
    assert refused.kind in {RefusalKind.INPUT, RefusalKind.UNREADABLE}


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"keys": []}'])
def test_what_is_no_export(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert refusal(verify_export, tmp_path / "file", [], ()).kind is RefusalKind.INPUT


def test_whatever_nobody_signed_cannot_write_to_a_terminal(export, logs):
    """Who forges an export chooses what stands beside the entries."""
    made = export(made="\x1b[2J", node="mx\nverified", selection={"organization\x1b[31m": "a\rb"})
    found = verify_export(made, [logs.pem], ())
    assert [line for line in found.lines if not line.isprintable()] == []


def test_an_export_from_before_the_next_signature(gateway, log, export, logs):
    logs.chain(log).append(logs.events(2, at=time.time(), message="m4"), time.time())
    found = verify_export(export(), [logs.pem], ())
    assert (found.verified, found.data["unsigned"]) == (None, 2)
    assert "no signature covers 2 of the entries yet" in found.notes[-1]


def test_heads_are_for_a_whole_log(export, logs):
    assert refusal(verify_export, export(), [logs.pem], ["0" * 64]).kind is RefusalKind.INPUT


def test_results_of_drills_of_these_days_are_compared(log):
    record = {"organization": "contoso", "connector": "Bank"}
    today = keep(drills_in_copy(log), record)
    keep(drills_in_copy(log), record, clock=lambda: time.time() - 40 * DAY)
    found = verify_stored_log(EvidenceDirectory(log), drills_in_copy(log))
    assert found.verified is True
    assert any(note.startswith("2 drill results that the log does not have: ") for note in found.notes)
    since = time.strftime("%Y-%m-%d", time.gmtime(time.time() - DAY))
    found = verify_stored_log(EvidenceDirectory(log), drills_in_copy(log), days=(since, "9999"))
    assert found.data["drills"]["unlogged"] == [today.path.name]
    today.path.write_text("{}")
    found = verify_stored_log(EvidenceDirectory(log), drills_in_copy(log))
    assert found.verified is False
    assert f"drill result {today.path.name} is wrong: it is no longer evidence: its content was altered" in found.lines
