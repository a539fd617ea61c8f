from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.ldap.ber import ENUMERATED, OCTET_STRING, SEQUENCE, encode, encode_number
from gatepost.protocols.ldap.messages import (
    MESSAGE_OCTETS,
    LdapError,
    LdapResult,
    Operation,
    bind_request,
    message_size,
    read_message,
    search_request,
    start_tls_request,
    unbind_request,
)


def answer(operation: int, *parts: bytes, number: int = 1) -> bytes:
    return encode(SEQUENCE, encode_number(number), encode(operation, *parts))


def result(code: int, said: bytes = b"") -> tuple[bytes, ...]:
    return encode_number(code, ENUMERATED), encode(OCTET_STRING), encode(OCTET_STRING, said)


def test_requests_have_the_octets_that_libldap_sends() -> None:
    assert bind_request(1, "cn=a", "secret").hex() == "301602010160110201030404636e3d618006736563726574"
    assert unbind_request(3).hex() == "30050201034200"
    assert start_tls_request(1).hex() == "301d02010177188016312e332e362e312e342e312e313436362e3230303337"
    assert (
        search_request(2, "dc=a", b"\x87\x01x", 5).hex()
        == "3024020102631f0404"
        + b"dc=a".hex()
        + "0a01020a0100020101020105010100"
        + "870178"
        + "30050403"
        + b"1.1".hex()
    )


def test_a_bind_without_a_password_is_never_made() -> None:
    with pytest.raises(ValueError, match="without a password"):
        bind_request(1, "cn=a", "")


@pytest.mark.parametrize("operation", [Operation.BOUND, Operation.SEARCHED, Operation.EXTENDED])
def test_results_are_read(operation: Operation) -> None:
    found = read_message(answer(operation, *result(49, b"no\xff"), encode(0xA3, b"referral"), number=300))
    assert (found.number, found.operation, found.result) == (
        300,
        operation,
        LdapResult(49, "no\N{REPLACEMENT CHARACTER}"),
    )


@pytest.mark.parametrize("operation", [Operation.ENTRY, Operation.REFERENCE])
def test_entries_and_references_have_no_result(operation: Operation) -> None:
    assert read_message(answer(operation, encode(OCTET_STRING, b"cn=a"))).result is None


def test_a_reference_names_other_servers() -> None:
    urls = [b"ldap://a.example/\n" + b"x" * 500, *(b"ldap://%d.example" % number for number in range(9))]
    read = read_message(answer(Operation.REFERENCE, *(encode(OCTET_STRING, url) for url in urls)))
    assert read.references[1:] == ("ldap://0.example", "ldap://1.example", "ldap://2.example")
    assert read.references[0].startswith("ldap://a.example/ x")
    assert len(read.references[0]) == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x01\x01",
        encode(SEQUENCE),
        encode(SEQUENCE, encode_number(1)),
        encode(SEQUENCE, encode(OCTET_STRING, b"a"), encode(Operation.ENTRY)),
        answer(0x7F),
        answer(0x60, *result(0)),
        answer(Operation.BOUND),
        answer(Operation.BOUND, encode_number(0), encode(OCTET_STRING), encode(OCTET_STRING)),
        answer(Operation.BOUND, encode_number(0, ENUMERATED), encode(OCTET_STRING), encode_number(0)),
        answer(Operation.BOUND, encode(ENUMERATED, bytes(9)), encode(OCTET_STRING), encode(OCTET_STRING)),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(LdapError, match="no message of LDAP"):
        read_message(data)


@given(st.binary(max_size=200))
def test_no_octets_do_more_than_be_refused(data: bytes) -> None:
    try:
        size = message_size(data)
        read_message(data if size is None else data[:size])
    except LdapError:
        pass


def test_the_size_of_a_message_is_bounded() -> None:
    assert message_size(b"\x30") is None
    assert message_size(answer(Operation.BOUND, *result(0)) + b"more") == len(answer(Operation.BOUND, *result(0)))
    with pytest.raises(LdapError, match="allowed"):
        message_size(encode(SEQUENCE, bytes(MESSAGE_OCTETS)))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (LdapResult(49), "invalidCredentials (49)"),
        (LdapResult(32, "no\nsuch\0"), "noSuchObject (32): no such"),
        (LdapResult(999, "x" * 500), f"result (999): {'x' * 200}"),
    ],
)
def test_a_result_fits_in_a_line(said: LdapResult, text: str) -> None:
    assert said.text == text
