from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.ldap.ber import (
    ENUMERATED,
    OCTET_STRING,
    SEQUENCE,
    BerError,
    decode,
    element_size,
    encode,
    encode_number,
)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_encoded_is_decoded(values: list[bytes]) -> None:
    element = decode(encode(SEQUENCE, *(encode(OCTET_STRING, value) for value in values)))
    assert [(inner.tag, inner.content) for inner in element.elements()] == [(OCTET_STRING, value) for value in values]


@given(st.integers(0, 2**62))
def test_numbers_are_the_same_again(value: int) -> None:
    assert decode(encode_number(value, ENUMERATED)).number() == value


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65535, 65536])
def test_the_size_is_known_from_the_header_on(size: int) -> None:
    data = encode(OCTET_STRING, bytes(size))
    header = len(data) - size
    assert all(element_size(data[:part], 1 << 20) is None for part in range(header))
    assert element_size(data[:header], 1 << 20) == len(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x1f\x01", "tag of several octets"),
        (b"\x30\x80", "indefinite"),
        (b"\x30\x85\x00\x00\x00\x00\x01", "huge length"),
        (b"\x30\x84\x7f\xff\xff\xff", "allowed"),
        (b"\x04\x7f", "allowed"),
    ],
)
def test_what_is_too_large_or_strange_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BerError, match=said):
        element_size(data, 100)


@pytest.mark.parametrize("data", [b"", b"\x04", b"\x04\x02a", b"\x04\x01aX", b"\x04\x81"])
def test_an_element_begins_and_ends_with_the_data(data: bytes) -> None:
    with pytest.raises(BerError):
        decode(data)


@pytest.mark.parametrize("inner", [b"\x04", b"\x04\x05a", b"\x04\x81"])
def test_an_element_inside_ends_with_the_outer_one(inner: bytes) -> None:
    with pytest.raises(BerError):
        list(decode(encode(SEQUENCE, inner)).elements())


@pytest.mark.parametrize("octets", [b"", bytes(9)])
def test_a_number_has_one_to_eight_octets(octets: bytes) -> None:
    with pytest.raises(BerError, match="octets"):
        decode(encode(ENUMERATED, octets)).number()
