from __future__ import annotations

import pytest

from gatepost.protocols.scanners.clamd import ANSWER_OCTETS, BEGIN, END, piece, read_answer
from gatepost.protocols.scanners.finding import ScanAction, UnusableAnswer


def test_a_message_is_sent_in_pieces_with_their_length_before() -> None:
    """As clamd(8) has it, and as a real clamd takes it in tests/system."""
    assert BEGIN + piece(b"hello") + b"hello" + END == b"zINSTREAM\0\0\0\0\5hello\0\0\0\0"
    assert piece(b"x" * 300) == b"\0\0\1\x2c"
    assert ANSWER_OCTETS >= 1024


def test_nothing_was_found() -> None:
    assert read_answer(b"stream: OK").action is ScanAction.NO_ACTION


@pytest.mark.parametrize(
    ("answer", "signature"),
    [
        (b"stream: Eicar-Signature FOUND", "Eicar-Signature"),
        (b"stream: Eicar-Signature.UNOFFICIAL FOUND\n", "Eicar-Signature.UNOFFICIAL"),
        (b"stream: a\x1bb FOUND", "a?b"),
        (b"stream:  FOUND", "unnamed"),
    ],
)
def test_what_was_found_has_a_name(answer: bytes, signature: str) -> None:
    found = read_answer(answer)
    assert (found.action, found.signature) == (ScanAction.REJECT, signature)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"INSTREAM size limit exceeded. ERROR", "StreamMaxLength"),
        (b"stream: Can't allocate memory ERROR", 'clamd answered "stream: Can\'t allocate memory ERROR"'),
        (b"", "clamd answered ''"),
        (b"FOUND", "clamd answered"),
        (b"OK", "clamd answered"),
        (b"stream: \xff FOUND", "not UTF-8"),
    ],
)
def test_anything_else_is_no_answer(answer: bytes, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=r"\S") as refused:
        read_answer(answer)
    assert why in str(refused.value)
