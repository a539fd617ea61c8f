from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.pki.smime import ber as module
from gatepost.pki.smime.ber import OCTET_STRING, SEQUENCE, BerError, context, read, write


@given(st.integers(0, 70_000))
def test_what_is_written_reads_back(size: int) -> None:
    octets = write(SEQUENCE, write(OCTET_STRING, bytes(size)), write(context(1, constructed=False), b"x"))
    found = read(octets + b"what follows")
    assert bytes(found.raw) == octets
    assert found.part(0, OCTET_STRING).octets == bytes(size)
    assert bytes(found.part(1, 0x81).content) == b"x"


def test_indefinite_lengths_and_content_in_pieces() -> None:
    pieces = b"\x24\x80" + b"\x04\x02ab" + b"\x24\x03\x04\x01c" + b"\0\0"
    found = read(b"\x30\x80" + pieces + b"\x02\x01\x05" + b"\0\0" + b"rest")
    assert found.parts[0].octets == b"abc"
    assert found.parts[1].octets == b"\5"
    assert bytes(found.raw).endswith(b"\x05\0\0")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x05\x02\x01",
        b"\x30\x80",
        b"\x30\x80\x02\x01\x05\0",
        b"\x04\x80ab\0\0",  # a primitive one without a length
        b"\x1f\x01\x00",  # a long tag
        b"\x04\x86\1\1\1\1\1\1",
        b"\x04\x82\1",
        b"\x30\x80" * 40,
        b"\x30\x03\x04\x05a",  # an inner one beyond the outer
    ],
)
def test_what_is_no_ber(octets: bytes) -> None:
    with pytest.raises(BerError):
        read(octets)


def test_too_many_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._ELEMENTS == 50_000, "to read as many takes a tenth of a second"
    monkeypatch.setattr(module, "_ELEMENTS", 4_000)
    octets = write(SEQUENCE, b"\x05\0" * 4_000)
    more = len(octets) // 256  # a larger message may have more
    assert len(read(write(SEQUENCE, b"\x05\0" * (3_999 + more))).parts) == 3_999 + more
    with pytest.raises(BerError, match="too many"):
        read(write(SEQUENCE, b"\x05\0" * (4_000 + more)))


def test_content_in_usual_pieces_is_never_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ELEMENTS", 1)
    pieces = write(context(0), write(OCTET_STRING, b"x" * 1000) * 5_000)
    assert len(read(pieces).parts) == 5_000


def test_a_part_that_is_not_there() -> None:
    found = read(write(SEQUENCE, write(OCTET_STRING, b"x")))
    for place, tag in ((0, SEQUENCE), (1, OCTET_STRING)):
        with pytest.raises(BerError, match=f"part {place}"):
            found.part(place, tag)


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(octets: bytes) -> None:
    with suppress(BerError):
        assert read(octets).raw
