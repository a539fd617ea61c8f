from __future__ import annotations

import pytest

from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits

ALL = Extensions(size=1000, starttls=True, requiretls=True, rcptmax=50, mailmax=7)


def test_everything_before_tls():
    assert ALL.keywords(tls_active=False) == (
        "PIPELINING",
        "SIZE 1000",
        "STARTTLS",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "CHUNKING",
        "BINARYMIME",
        "LIMITS RCPTMAX=50 MAILMAX=7",
        "HELP",
    )


def test_tls_takes_starttls_away_and_brings_requiretls():
    before, after = set(ALL.keywords(tls_active=False)), set(ALL.keywords(tls_active=True))
    assert before - after == {"STARTTLS"}
    assert after - before == {"REQUIRETLS"}


def test_xgatepost_is_between_nodes_and_under_tls():
    offered = Extensions.within(SmtpLimits(), starttls=False, origin=True)
    assert "XGATEPOST" in offered.keywords(tls_active=True)
    assert "XGATEPOST" not in offered.keywords(tls_active=False)
    assert "XGATEPOST" not in Extensions.within(SmtpLimits(), starttls=False).keywords(tls_active=True)


def test_what_is_always_there():
    bare = Extensions(
        size=0, starttls=False, smtputf8=False, chunking=False, binarymime=False, dsn=False, requiretls=False
    )
    assert bare.keywords(tls_active=False) == ("PIPELINING", "SIZE 0", "8BITMIME", "ENHANCEDSTATUSCODES", "HELP")


@pytest.mark.parametrize(
    ("rcptmax", "mailmax", "keyword"), [(5, 0, "LIMITS RCPTMAX=5"), (0, 5, "LIMITS MAILMAX=5"), (0, 0, None)]
)
def test_limits(rcptmax, mailmax, keyword):
    keywords = Extensions(size=1, starttls=False, rcptmax=rcptmax, mailmax=mailmax).keywords(tls_active=False)
    assert [word for word in keywords if word.startswith("LIMITS")] == ([keyword] if keyword else [])


def test_within_announces_the_limits_of_the_session():
    extensions = Extensions.within(SmtpLimits(message_bytes=9, recipients=8, transactions=7), starttls=True)
    assert (extensions.size, extensions.rcptmax, extensions.mailmax, extensions.starttls) == (9, 8, 7, True)
    assert extensions.requiretls
    assert Extensions.within(SmtpLimits(recipients=10**7), starttls=False).rcptmax == 999_999


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"chunking": False}, "BINARYMIME needs CHUNKING"),
        ({"size": -1}, "size is -1"),
        ({"rcptmax": -1}, "rcptmax is -1"),
        ({"mailmax": -1}, "mailmax is -1"),
        ({"rcptmax": 1_000_000}, "six digits"),
        ({"mailmax": 1_000_000}, "six digits"),
    ],
)
def test_contradictions_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Extensions(**{"size": 1, "starttls": False} | wrong)


def test_xclient_is_announced_with_what_it_may_say_and_never_with_a_log_in():
    keywords = Extensions(size=1, starttls=False, xclient=True).keywords(tls_active=False)
    assert "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT" in keywords
    assert not [word for word in Extensions(size=1, starttls=False).keywords(tls_active=True) if "XCLIENT" in word]
