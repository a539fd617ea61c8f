from __future__ import annotations

from gatepost.mail.inbound.login import BUSY, INVALID, MALFORMED, THROTTLED, LoginOutcome


def test_codes_keep_their_class() -> None:
    for reply in (BUSY, INVALID, MALFORMED, THROTTLED):
        assert str(reply.code)[0] == reply.enhanced[0]
        assert not reply.positive


def test_without_an_error_nothing_comes_before_the_reply() -> None:
    assert LoginOutcome("", INVALID, "why").error == b""
