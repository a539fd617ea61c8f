from __future__ import annotations

import pytest

from gatepost.protocols.tls.signature import may_go_on

WHOLE = b"\x16\x03\x01\x00\x04abcd"
LARGEST = b"\x16\x03\x01\x40\x00"


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_the_beginning_of_a_record_may_go_on(size):
    assert may_go_on(WHOLE[:size])


@pytest.mark.parametrize(
    "stream",
    [
        WHOLE,
        WHOLE + b"\x16",
        b"E",
        b"EHLO x",
        b"\x15\x03\x01\x00\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\xff\xff",
        LARGEST + bytes(16384),
    ],
)
def test_what_is_whole_or_refused_does_not(stream):
    assert not may_go_on(stream)


def test_the_largest_record_may_be_long_in_coming():
    assert may_go_on(LARGEST)
    assert may_go_on(LARGEST + bytes(16383))
