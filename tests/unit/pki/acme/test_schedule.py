from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decoding import from_json
from gatepost.pki.acme.schedule import (
    SOONEST_SECONDS,
    Progress,
    Step,
    begun,
    done,
    failed,
    is_under_way,
    latest,
    plan,
    renewal_at,
    step,
    wanted,
    with_renewal_info,
)
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.settings.acme import Acme

DAY = 86400.0
NOW = 1_800_000_000.0
NAMES = ("mx.a.example",)
HOUR = 3600.0


def entry(number="aa", names=NAMES, begin=NOW, end=NOW + 90 * DAY, **fields):
    leaf = CertificateFacts("", "", "1", "", names, (), number * 32, "", "", begin, end, "EC-P-256")
    return Entry(number, leaf, **{"state": State.CURRENT, "origin": Origin.ACME, **fields})


WANTED = {
    # (names, policy hosts) -> the certificates that there shall be
    ((), ()): [("mx.a.example",)],
    (("mx.a.example", "mail.a.example", "mx.a.example"), ()): [("mx.a.example", "mail.a.example")],
    ((), ("mta-sts.b.example", "mta-sts.a.example")): [
        ("mx.a.example",),
        ("mta-sts.a.example",),
        ("mta-sts.b.example",),
    ],
    (("mta-sts.a.example",), ("mta-sts.a.example",)): [("mta-sts.a.example",)],
    (("*.a.example",), ("mta-sts.a.example", "mta-sts.b.a.example")): [("*.a.example",), ("mta-sts.b.a.example",)],
}


@pytest.mark.parametrize(("given_", "expected"), WANTED.items())
def test_what_is_wanted(given_, expected):
    names, hosts = given_
    assert wanted(Acme(names=names), "mx.a.example", hosts) == expected


OTHERS = [
    entry(origin=Origin.UPLOAD),
    entry(state=State.DEPRECATED),
    entry(state=State.RETIRED),
    entry(purpose=Purpose.CLIENT),
    entry(names=("mx.a.example", "b.example")),
    entry(names=("b.example",)),
]


def test_ours_is_the_one_that_ends_last_current_or_next():
    assert latest(NAMES, OTHERS) is None
    old, new = entry("aa", end=NOW + DAY), entry("bb", state=State.NEXT)
    assert latest(NAMES, [*OTHERS, old]) == old
    assert latest(NAMES, [new, *OTHERS, old]) == new
    two = entry(names=("b.example", "mx.a.example"))
    assert latest(("mx.a.example", "b.example"), [two]) == two


RENEWALS = {
    # (progress, renew_before) -> days after the certificate's begin; it is valid for 90
    (Progress(), 0.0): 60,
    (Progress(), 10 * DAY): 80,
    (Progress(), 365 * DAY): 45,
    (Progress(certificate="aa", renew_at=NOW + 7 * DAY), 10 * DAY): 7,
    (Progress(certificate="bb", renew_at=NOW + 7 * DAY), 10 * DAY): 80,
    (Progress(certificate="aa", renew_at=NOW + 999 * DAY), 0.0): 90,
    (Progress(certificate="aa"), 0.0): 60,
}


@pytest.mark.parametrize(("given_", "days"), RENEWALS.items())
def test_when_it_is_renewed(given_, days):
    progress, before = given_
    assert renewal_at(entry(), progress, before) == NOW + days * DAY


KNOWN = Progress(certificate="aa", ask_at=NOW + 365 * DAY)
STEPS = [
    # certificate, progress, days after its begin -> step, why
    (None, Progress(), 0, (Step.ISSUE, "there is none yet")),
    (None, Progress(not_before=NOW + 1), 0, None),
    (None, Progress(not_before=NOW), 0, (Step.ISSUE, "there is none yet")),
    (entry(), Progress(), 0, (Step.ASK, "")),
    (entry(), Progress(certificate="bb", ask_at=NOW + DAY), 0, (Step.ASK, "")),
    (entry(), KNOWN, 0, None),
    (entry(), Progress(certificate="aa", ask_at=NOW + DAY), 1, (Step.ASK, "")),
    (entry(), KNOWN, 59.9, None),
    (entry(), KNOWN, 60, (Step.ISSUE, "it ends soon")),
    (entry(), msgspec.structs.replace(KNOWN, not_before=NOW + 61 * DAY), 60, None),
    (
        entry(),
        msgspec.structs.replace(KNOWN, renew_at=NOW + DAY),
        1,
        (Step.ISSUE, "the authority suggests renewing it"),
    ),
    (entry(), msgspec.structs.replace(KNOWN, renew_at=NOW + 88 * DAY), 80, None),
]


@pytest.mark.parametrize(("one", "progress", "days", "expected"), STEPS)
def test_what_is_due(one, progress, days, expected):
    due = step(NAMES, one, progress, 0.0, NOW + days * DAY)
    assert (due and (due.step, due.why)) == expected


def test_what_has_no_certificate_comes_before_questions():
    due = plan([NAMES, ("b.example",)], [entry()], {}, 0.0, NOW)
    assert [(one.names, one.step) for one in due] == [(("b.example",), Step.ISSUE), (NAMES, Step.ASK)]
    assert plan([NAMES], [entry()], {NAMES: KNOWN}, 0.0, NOW) == []


def attempt(progress, now, retry_after=0.0, ends=0.0):
    return failed(begun(progress, ends, now), "why", retry_after, ends, now)


def test_failures_wait_an_hour_then_twice_as_long_up_to_a_day():
    progress, waits = Progress(certificate="aa", renew_at=5.0), []
    for _ in range(8):
        progress = attempt(progress, NOW)
        waits.append((progress.not_before - NOW) / HOUR)
    assert waits == [1, 2, 4, 8, 16, 24, 24, 24]
    assert (progress.failures, progress.error, progress.tried) == (8, "why", NOW)
    assert (progress.certificate, progress.renew_at) == ("aa", 5.0)  # still known
    assert done(progress, "bb", 90 * DAY, NOW) == Progress(tried=NOW, succeeded=NOW, certificate="bb")


# days from the certificate's end, less than 0 after it -> hours until the first, the fourth and a late further try
NEAR = {
    60: (1, 8, 24),
    24: (1, 8, 24),
    12: (1, 8, 12),
    3: (1, 3, 3),
    1: (1, 1, 1),
    0.5: (0.5, 0.5, 0.5),
    0.1: (0.25, 0.25, 0.25),
    0: (0.25, 0.25, 0.25),
    -0.1: (0.25, 0.25, 0.25),
    -2: (1, 2, 2),
    -60: (1, 8, 24),
}


@pytest.mark.parametrize(("days", "hours"), NEAR.items())
def test_near_the_end_it_is_tried_more_often(days, hours):
    waits = []
    for failures in (0, 3, 10):
        progress = attempt(Progress(failures=failures), NOW, ends=NOW + days * DAY)
        waits.append((progress.not_before - NOW) / HOUR)
    assert tuple(waits) == hours


@given(st.floats(-1, 1), st.integers(0, 4000))
def test_no_name_is_tried_more_than_four_times_in_an_hour(days, failures):
    """Let's Encrypt takes five failed validations of a name in an hour."""
    assert attempt(Progress(failures=failures), NOW, ends=NOW + days * DAY).not_before - NOW >= SOONEST_SECONDS


def test_the_authority_may_want_a_longer_wait_near_the_end_too():
    assert attempt(Progress(), NOW, 5 * HOUR, ends=NOW + HOUR).not_before == NOW + 5 * HOUR


def test_who_is_ended_in_the_middle_near_the_end_does_not_wait_a_day():
    assert begun(Progress(failures=10), NOW + HOUR, NOW).not_before == NOW + SOONEST_SECONDS


def test_an_attempt_is_under_way_until_it_ends_or_counts_as_killed():
    one = begun(Progress(), 0.0, NOW)
    assert [is_under_way(one, NOW + later) for later in (0, 299, 300)] == [True, True, False]
    assert not is_under_way(failed(one, "why", 0.0, 0.0, NOW), NOW)
    assert not is_under_way(done(one, "bb", DAY, NOW), NOW)


RETRIES = {0.0: 1, 60.0: 1, 5 * HOUR: 5, 1e9: 7 * 24}


@pytest.mark.parametrize(("retry_after", "hours"), RETRIES.items())
def test_the_authority_may_want_a_longer_wait(retry_after, hours):
    assert attempt(Progress(), NOW, retry_after).not_before == NOW + hours * HOUR


def test_who_is_ended_in_the_middle_waits_too_and_longer_each_time():
    one = begun(Progress(), 0.0, NOW)
    assert (one.not_before - NOW, one.error) == (
        300,
        "the gateway ended while it requested the certificate",
    )
    assert begun(one, 0.0, NOW).not_before - NOW == 600


@given(st.lists(st.booleans(), max_size=2000))
def test_never_more_than_a_day_never_at_once(outcomes):
    progress = Progress()
    for ended in outcomes:
        progress = begun(progress, 0.0, NOW) if ended else attempt(progress, NOW)
        assert 300 <= progress.not_before - NOW <= DAY


def test_what_the_authority_wants_renewed_without_end_is_not_renewed_without_end():
    """Its renewal information may be broken, or our clock: an order every hour would end at its limits.

    Let's Encrypt issues five certificates for the same names in a week.
    """
    progress, orders = Progress(), []
    for now in range(0, 10 * 86400, 60):
        one = with_renewal_info(progress, "aa", NOW - DAY, NOW + now, NOW + now)
        if step(NAMES, entry(), one, 0.0, NOW + now):
            orders.append(now)
            progress = done(one, "aa", 90 * DAY, NOW + now)
    waits = [round((later - now) / HOUR, 1) for now, later in pairwise(orders)]
    assert waits == [0, 1, 2, 4, 8, 16, *[24] * (len(waits) - 6)]
    soon = done(Progress(succeeded=NOW - 60 * DAY, not_before=NOW - 1, error="away"), "bb", 90 * DAY, NOW)
    assert not soon.not_before, "the one before came long ago"
    short = done(Progress(succeeded=NOW - 60), "bb", 600.0, NOW)
    assert short.not_before == NOW + 150  # of a private authority


ASKS = {
    # ask_at as the authority said, after now -> when it is asked again
    0.0: 12 * HOUR,
    1.0: 60,
    HOUR: HOUR,
    -5.0: 60,
    99 * DAY: 12 * HOUR,
}


@pytest.mark.parametrize(("said", "expected"), ASKS.items())
def test_when_it_is_asked_again(said, expected):
    found = with_renewal_info(Progress(failures=2), "aa", 7.0, NOW + said if said else 0.0, NOW)
    assert found == Progress(failures=2, certificate="aa", renew_at=7.0, ask_at=NOW + expected)


def test_what_is_remembered_can_be_read_again():
    kept = msgspec.json.encode(attempt(Progress(), NOW))
    assert from_json(kept, Progress) == attempt(Progress(), NOW)
    assert from_json(b"{}", Progress) == Progress()


def test_a_pause_that_began_by_a_clock_that_was_ahead_ends() -> None:
    """Or the certificate would expire meanwhile."""
    ahead = failed(begun(Progress(), 0.0, NOW + 365 * DAY), "why", 8 * DAY, 0.0, NOW + 365 * DAY)
    assert step(NAMES, None, ahead, 0.0, NOW) is not None
    longest = failed(begun(Progress(), 0.0, NOW), "why", 8 * DAY, 0.0, NOW)
    assert step(NAMES, None, longest, 0.0, NOW) is None
    assert step(NAMES, None, longest, 0.0, NOW + 7 * DAY) is not None
