from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.edit import HeaderEdits
from gatepost.protocols.scanners.finding import SYMBOLS, ScanAction, UnusableAnswer
from gatepost.protocols.scanners.rspamd import Described, read_answer, request_fields

FULL = Described(
    ip="192.0.2.1",
    hello="client.example",
    reverse_path="eve@elsewhere.example",
    recipients=("ann@contoso.example", "bücher@contoso.example"),
    queue_id="0caeb4",
    hostname="mx1.contoso.example",
    user="ann@contoso.example",
    tls_version="TLSv1.3",
    tls_cipher="TLS_AES_128_GCM_SHA256",
    tag="contoso",
    settings_id="strict",
)


def answer(**fields: Any) -> bytes:
    return json.dumps({"action": "no action", "score": 1.5, "required_score": 15} | fields).encode()


def test_a_request_says_everything_that_is_known() -> None:
    assert request_fields(FULL) == [
        ("IP", "192.0.2.1"),
        ("Helo", "client.example"),
        ("From", "<eve@elsewhere.example>"),
        ("Rcpt", "<ann@contoso.example>"),
        ("Rcpt", "<bücher@contoso.example>"),
        ("User", "ann@contoso.example"),
        ("Queue-Id", "0caeb4"),
        ("MTA-Name", "mx1.contoso.example"),
        ("MTA-Tag", "contoso"),
        ("TLS-Version", "TLSv1.3"),
        ("TLS-Cipher", "TLS_AES_128_GCM_SHA256"),
        ("Settings-ID", "strict"),
    ]


def test_what_is_not_known_is_left_out_and_a_peers_text_ends_no_line() -> None:
    said = request_fields(Described("192.0.2.1", "x\r\nPass: all", "", ("a@b.example",) * 5000, "", "mx"))
    assert said[:3] == [("IP", "192.0.2.1"), ("Helo", "x??Pass: all"), ("From", "<>")]
    assert {name for name, _ in said} == {"IP", "Helo", "From", "Rcpt", "MTA-Name"}
    assert len(said) == 1004


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("no action", ScanAction.NO_ACTION),
        ("greylist", ScanAction.GREYLIST),
        ("add header", ScanAction.ADD_HEADER),
        ("rewrite subject", ScanAction.REWRITE_SUBJECT),
        ("soft reject", ScanAction.SOFT_REJECT),
        ("reject", ScanAction.REJECT),
        ("discard", ScanAction.REJECT),
    ],
)
def test_actions(said: str, action: ScanAction) -> None:
    found = read_answer(answer(action=said))
    assert (found.action, found.score, found.required) == (action, 1.5, 15.0)


def test_symbols_are_those_that_weigh_most() -> None:
    symbols: dict[str, Any] = {f"S{number}": {"score": number / 10} for number in range(50)}
    symbols |= {"HAM": {"score": -9}, "ODD": 7, "NAN": {"score": float("nan")}, "TRUE": {"score": True}}
    found = read_answer(answer(symbols=symbols))
    assert len(found.symbols) == SYMBOLS
    assert found.symbols[:2] == ("HAM(-9)", "S49(4.9)")


def test_its_words_are_for_us() -> None:
    found = read_answer(answer(action="soft reject", messages={"smtp_message": "try\nlater"}, score="?"))
    assert (found.said, found.score) == ("try?later", None)


def test_fields_are_added_in_every_form_and_removed() -> None:
    add = {"X-Plain": "1", "X-One": {"value": "2", "order": 0}, "X-Many": [{"value": "3"}, "4"]}
    found = read_answer(answer(milter={"add_headers": add, "remove_headers": {"X-All": 0, "X-Two": [1, -1]}}))
    assert found.edits.add == (("X-Plain", "1"), ("X-One", "2"), ("X-Many", "3"), ("X-Many", "4"))
    assert found.edits.remove == (("X-All", 0), ("X-Two", 1), ("X-Two", -1))


@pytest.mark.parametrize("signature", ["v=1; a=x;\r\n\tb=y", ["v=1; a=x;\r\n\tb=y"]])
def test_a_dkim_signature_is_a_field_too(signature: object) -> None:
    assert read_answer(answer(**{"dkim-signature": signature})).edits.add == (("DKIM-Signature", "v=1; a=x;\r\n\tb=y"),)


def test_spam_is_marked_by_the_field_that_is_named_unless_the_answer_brings_it() -> None:
    assert read_answer(answer(action="add header")).marks == HeaderEdits((("X-Spam", "Yes"),), (("X-Spam", 0),))
    named = read_answer(answer(action="add header", milter={"spam_header": "X-Junk"}))
    assert named.marks.add == (("X-Junk", "Yes"),)
    assert not read_answer(answer(action="add header", milter={"add_headers": {"x-spam": "Yes"}})).marks


def test_no_action_instead_of_one_is_told_by_a_field() -> None:
    found = read_answer(answer(action="reject", milter={"no_action": True}))
    assert (found.action, found.edits.add) == (ScanAction.NO_ACTION, (("X-Rspamd-Action", "reject"),))


def test_a_subject_is_taken_over() -> None:
    assert read_answer(answer(action="rewrite subject", subject="*** SPAM *** x")).subject == "*** SPAM *** x"


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "html": (b"<html>", "not JSON"),
    "not UTF-8": (b'{"action": "\xff"}', "not JSON in UTF-8"),
    "too deep": (b"[" * 200_000, "not JSON"),
    "no object": (b"[]", "not a JSON object"),
    "an error": (b'{"error": "Cannot\\nallocate"}', "rspamd says 'Cannot?allocate'"),
    "no action": (b"{}", "its action is 'None'"),
    "an action of its own": (answer(action="quarantine" * 10), "which the gateway does not support"),
    "an action that is none": (answer(action=["reject"]), "which the gateway does not support"),
    "symbols": (answer(symbols=[]), "another type"),
    "messages": (answer(messages="x"), "another type"),
    "subject": (answer(subject=1), "another type"),
    "milter": (answer(milter=[]), "milter is not an object"),
    "add_headers": (answer(milter={"add_headers": []}), "add_headers is not an object"),
    "no text": (answer(milter={"add_headers": {"X-A": {"order": 1}}}), "has no text"),
    "remove_headers": (answer(milter={"remove_headers": ["X-A"]}), "remove_headers is not an object"),
    "many to remove": (answer(milter={"remove_headers": {f"X-{n}": 1 for n in range(51)}}), "at most 50"),
    "which to remove": (answer(milter={"remove_headers": {"X-A": "1"}}), "which field"),
    "all to remove": (answer(milter={"remove_headers": {"X-A": True}}), "which field"),
    "many to add": (answer(milter={"add_headers": {"X-A": ["v"] * 51}}), "more than 50 fields"),
    "much to add": (answer(milter={"add_headers": {"X-A": "v " * 40_000}}), "65536 octets"),
    "a line of its own": (answer(milter={"add_headers": {"X-A": "b\r\nX-B: c"}}), "does not belong"),
    "a second message": (answer(milter={"add_headers": {"X-A": "b\r\n\r\nbody"}}), "does not belong"),
    "a name": (answer(milter={"add_headers": {"X A": "b"}}), "not a name of a field"),
    "a mark": (answer(milter={"spam_header": "X:Y"}), "not a name of a field"),
    "Received": (answer(milter={"add_headers": {"Received": "b"}}), "cannot be added"),
    "subject with a line": (answer(subject="a\nBcc: b"), "does not belong"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used(case: str) -> None:
    body, why = UNUSABLE[case]
    with pytest.raises(UnusableAnswer) as refused:
        read_answer(body)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 400


_KEYS = ("score", "symbols", "messages", "subject", "milter", "dkim-signature", "error")
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["reject", "no action", "add header"])},
        optional=dict.fromkeys(_KEYS, _values),
    )
)
def test_any_answer_is_a_finding_or_unusable(said: dict[str, Any]) -> None:
    try:
        found = read_answer(json.dumps(said).encode())
    except UnusableAnswer:
        return
    assert found.edits.checked() is found.edits


def test_a_number_that_is_too_large_is_none() -> None:
    huge = 10**400
    read = read_answer(answer(score=huge, required_score=-huge, symbols={"HUGE": {"score": huge}}))
    assert (read.score, read.required, read.symbols) == (None, None, ("HUGE(0)",))
