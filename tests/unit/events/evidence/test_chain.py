from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.evidence.chain import (
    ORIGIN,
    NotCanonical,
    canonical,
    digest,
    join,
    key_id,
    link,
    parse_body,
    parse_line,
    sign_body,
    signed_part,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
VALUES = st.recursive(
    TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=6)


@given(BODIES)
def test_the_canonical_form_is_that_of_any_json_library_with_sorted_keys(body):
    expected = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert canonical(body) == expected
    assert parse_body(expected) == body


@pytest.mark.parametrize(
    ("body", "form"),
    [
        # RFC 8785 section 3.2.2.2: the two-character escapes, lower case for other controls, everything else as it is
        ({"a": '\b\t\n\f\r"\\/\x00\x1f\x7f\u20ac\U0001f600'}, b'{"a":"\\b\\t\\n\\f\\r\\"\\\\/\\u0000\\u001f\x7f'),
        ({"b": 1, "a": [True, None, -5]}, b'{"a":[true,null,-5],"b":1}'),
        ({"a": "x\ud800", "\udc80": {"z": ["\udfff", 1]}}, b'{"\\\\udc80":{"z":["\\\\udfff",1]},"a":"x\\\\ud800"}'),
    ],
)
def test_the_canonical_form_of_hard_cases(body, form):
    assert canonical(body).startswith(form)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a":1', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"a": 1}', "canonical"),
        (b'{"b":1,"a":1}', "canonical"),
        (b'{"a":1,"a":1}', "canonical"),
        (b'{"a":"\\u0041"}', "canonical"),
        (b'{"a":"\\/"}', "canonical"),
        (b'{"a":1} ', "canonical"),
        (b'{"a":01}', "not JSON"),
    ],
)
def test_two_texts_never_are_the_same_body(data, why):
    with pytest.raises(NotCanonical, match=why):
        parse_body(data)


def test_a_hash_covers_the_one_before_it_and_the_digest():
    body = canonical({"number": 1})
    expected = hashlib.sha256(bytes(32) + hashlib.sha256(body).digest()).hexdigest()
    assert link(ORIGIN, digest(body)) == expected
    assert join(ORIGIN, {"number": 1}) == (expected, expected.encode() + b" " + body + b"\n")


def test_a_line_reads_back():
    head, line = join(ORIGIN, {"number": 7, "text": "ü"})
    found = parse_line(line)
    assert (found.hash, found.number, found.fault, found.body["text"]) == (head, 7, "", "ü")
    assert link(ORIGIN, found.digest) == head


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", "no line"),
        (b"\n", "no line"),
        (b"0" * 64 + b' {"number":1}', "no line"),
        (b"0" * 64 + b'  {"number":1}\n', "no line"),
        (b"0" * 64 + b' {"number":1}\r\n', "no line"),
        (b"A" * 64 + b' {"number":1}\n', "no line"),
        (b"0" * 63 + b' {"number":1}\n', "no line"),
        (b"0" * 64 + b' {"number": 1}\n', "canonical"),
        (b"0" * 64 + b" {}\n", "no number"),
        (b"0" * 64 + b' {"number":"1"}\n', "no number"),
        (b"0" * 64 + b' {"number":true}\n', "no number"),
        (b"0" * 64 + b' {"number":0}\n', "no number"),
    ],
)
def test_what_is_no_line_of_a_log_is_said(line, fault):
    found = parse_line(line)
    assert fault in found.fault
    assert found.number == -1


def test_a_signature_is_over_everything_but_itself(signer, signatures):
    body = sign_body({"b": 1, "a": "x"}, signer)
    assert signed_part(body) == canonical({"a": "x", "b": 1, "key": signer.key})
    assert signatures(body["key"], signed_part(body), bytes.fromhex(body["signature"])) is True


def test_a_key_is_named_by_its_hash():
    assert key_id(b"k" * 32) == hashlib.sha256(b"k" * 32).hexdigest()
