from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType
from gatepost.store.interface import StoreFailure
from gatepost.store.move import SessionsPart, SrsPart
from gatepost.store.move_parts import MoveRecord, copy_part, digest_of
from gatepost.store.session_counts import SessionFiles
from gatepost.store.session_tables import SESSIONS, SessionTables
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.srs_keys import SrsKeyFile

FIRST, LAST = "2026-11-28", "2026-11-29"


def nothing(_done):
    pass


def counts(day, domain):
    sts = AppliedPolicy(PolicyType.STS, domain, ("version: STSv1",), (f"mx.{domain}",))
    plain = AppliedPolicy(PolicyType.NONE, domain)
    failure = FailureDetail(next(iter(ResultType)), f"mx.{domain}", "192.0.2.1")
    return [Count(day, domain, sts, None, 3), Count(day, domain, sts, failure, 2), Count(day, domain, plain, None, 1)]


def test_counts_move_between_files_and_tables(tmp_path):
    files = SessionFiles(tmp_path / "sessions")
    files.write(FIRST, counts(FIRST, "a.example") + counts(FIRST, "b.example"))
    files.write(LAST, counts(LAST, "a.example"))
    with closing(SqliteDatabase(tmp_path, SESSIONS)) as database:
        source, target = SessionsPart(files), SessionsPart(SessionTables(lambda: database))
        target.add([MoveRecord((LAST, "a.example"), tuple(counts(LAST, "a.example")))])
        assert target.present([(FIRST, "a.example"), (LAST, "a.example")]) == {(LAST, "a.example")}
        copy_part(source, target, nothing)
        assert source.count() == target.count() == 3
        assert digest_of(source, nothing) == digest_of(target, nothing)
        target.clear()
        assert target.count() == 0


class Full:
    def write(self, _day, _counts):
        return 4

    def prune(self, _before):
        raise PermissionError(13, "Permission denied")


def test_counts_that_find_no_room_end_the_move():
    with pytest.raises(StoreFailure, match="not all of 2026-11-28 found room"):
        SessionsPart(Full()).add([MoveRecord((FIRST, "a.example"), ())])
    with pytest.raises(StoreFailure, match="Permission denied"):
        SessionsPart(Full()).clear()


def test_srs_keys_move(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    files = [SrsKeyFile(place) for place in places]
    source, target = map(SrsPart, files)
    assert (source.count(), list(source.records())) == (0, [])
    files[0].replace(b"11\n")
    assert target.present([("keys",)]) == set()
    copy_part(source, target, nothing)
    assert files[1].read() == b"11\n"
    assert target.present([("keys",)]) == {("keys",)}
    target.clear()
    assert target.count() == 0


class Locked:
    def read(self):
        raise PermissionError(13, "Permission denied")

    def replace(self, _text):
        raise OSError("no room")

    remove = read


def test_srs_keys_that_cannot_be_read_or_written():
    part = SrsPart(Locked())
    for step, why in (
        (part.count, "Permission denied"),
        (lambda: part.add([MoveRecord(("keys",), (b"",))]), "no room"),
        (part.clear, "Permission denied"),
    ):
        with pytest.raises(StoreFailure, match=why):
            step()
