from __future__ import annotations

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.move import SrsPart
from gatepost.store.move_parts import MoveRecord, copy_part
from gatepost.store.srs_keys import SrsKeyFile


def nothing(_done):
    pass


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
