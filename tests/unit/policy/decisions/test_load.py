from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.load import (
    CALM_SECONDS,
    LEAST_SHARE,
    LoadMarks,
    LoadState,
    Measurements,
    RateLimit,
    connections_at,
    handshake_seconds,
    identifies,
    next_state,
    rate_at,
    refused_for_rate,
)
from gatepost.protocols.smtp.replies import Reply

MARKS = LoadMarks(memory=0.9, disk=100e6, commit=1.0, delay=0.25)
CALM = Measurements(memory=0.1, disk=10e9, commit=0.01, delay=0.0)


@pytest.mark.parametrize(
    ("measured", "share", "reason"),
    [
        (Measurements(), 1.0, ""),
        (CALM, 1.0, ""),
        (Measurements(memory=0.89), 1.0, ""),
        (Measurements(memory=0.9), 0.75, "90% of memory is in use"),
        (Measurements(memory=0.951), 0.5, "95% of memory is in use"),
        (Measurements(disk=401e6), 1.0, ""),
        (Measurements(disk=400e6), 0.75, "381 MB of disk left"),
        (Measurements(disk=200e6), 0.5, "191 MB of disk left"),
        (Measurements(disk=0.0), 0.5, "0 B of disk left"),
        (Measurements(commit=0.99), 1.0, ""),
        (Measurements(commit=1.0), 0.75, "messages wait 1 s to be stored"),
        (Measurements(commit=4.0), 0.5, "messages wait 4 s to be stored"),
        (Measurements(delay=0.25), 0.75, "the worker is 0.25 s behind"),
        (Measurements(delay=1.0), 0.5, "the worker is 1 s behind"),
        (Measurements(behind=True), 0.5, "the disk is behind with message bodies"),
        (Measurements(memory=0.9, commit=4.0), 0.5, "messages wait 4 s to be stored"),
    ],
)
def test_limits_become_tighter_at_a_mark_and_faster_far_above_it(measured, share, reason):
    state = next_state(LoadState(), measured, MARKS)
    assert (state.share, state.reason) == (share, reason)


@pytest.mark.parametrize("name", ["memory", "disk", "commit", "delay"])
def test_a_mark_of_0_is_never_reached(name):
    worst = Measurements(memory=1.0, disk=0.0, commit=1e9, delay=1e9)
    nothing = LoadMarks(**dict.fromkeys(("memory", "disk", "commit", "delay"), 0.0))
    assert next_state(LoadState(), worst, nothing) == LoadState()
    assert next_state(LoadState(), Measurements(**{name: getattr(worst, name)}), MARKS).share == 0.5


@pytest.mark.parametrize(
    ("measured", "wider"),
    [
        (Measurements(memory=0.895), False),
        (Measurements(memory=0.88), True),
        (Measurements(disk=450e6), False),
        (Measurements(disk=510e6), True),
        (Measurements(commit=0.9), False),
        (Measurements(commit=0.7), True),
        (Measurements(delay=0.21), False),
        (Measurements(), True),
    ],
)
def test_limits_become_wider_when_all_is_clearly_below_its_mark(measured, wider):
    state = LoadState(0.5, "why", calm=60.0)
    after = next_state(state, measured, MARKS)
    assert after.share == pytest.approx(0.55) if wider else after == LoadState(0.5, "why", 0.0)


def test_limits_become_wider_after_a_while_and_slowly():
    state, seconds = LoadState(LEAST_SHARE, "why"), 0
    while state.share == LEAST_SHARE:
        state, seconds = next_state(state, CALM, MARKS), seconds + 1
    assert seconds == CALM_SECONDS
    while state.share < 1.0:
        assert state.reason == "why"
        state, seconds = next_state(state, CALM, MARKS), seconds + 1
    assert (state.reason, seconds) == ("", 46)


def test_limits_settle_where_what_strangers_do_just_fits():
    """A flood that needs 0.3 of the limits to fit keeps the share near that, without long swings."""
    state, shares = LoadState(), []
    for _ in range(300):
        shares.append(state.share)
        state = next_state(state, Measurements(delay=0.25 * state.share / 0.3), MARKS)
    assert all(0.2 < share < 0.34 for share in shares[10:])
    changes = sum(one != other for one, other in pairwise(shares[10:]))
    assert changes < 150


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 5.0)), max_size=100))
def test_the_share_has_its_bounds_and_is_given_back_only_in_calm(rounds):
    state = LoadState()
    for memory, delay in rounds:
        before, state = state, next_state(state, Measurements(memory=memory, delay=delay), MARKS)
        assert LEAST_SHARE <= state.share <= 1.0
        assert (state.share == 1.0) is (not state.reason)
        assert state.share <= before.share * 1.1000001
        if state.share > before.share:
            assert memory < 0.9
            assert delay < 0.25


@pytest.mark.parametrize(
    ("share", "level"), [(1.0, "normal"), (0.99, "busy"), (0.26, "busy"), (0.25, "overloaded"), (0.02, "overloaded")]
)
def test_levels(share, level):
    assert LoadState(share).level.label == level


@pytest.mark.parametrize(("limit", "rates"), [(0, (0, 0, 0)), (600, (600, 150, 12)), (10, (10, 2, 1)), (1, (1, 1, 1))])
def test_rates_of_strangers(limit, rates):
    assert tuple(rate_at(limit, share) for share in (1.0, 0.25, 0.02)) == rates


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 60.0), (0.5, 30.0), (0.1, 10.0), (0.02, 10.0)])
def test_the_time_for_a_handshake_of_strangers(share, seconds):
    assert handshake_seconds(share) == seconds


@pytest.mark.parametrize(
    ("connections", "left"),
    [((5000, 100), [(4500, 100), (1125, 25)]), ((0, 0), [(0, 0)] * 2), ((3, 2), [(3, 2), (1, 1)])],
)
def test_connections_of_strangers_leave_some_for_known_clients(connections, left):
    assert [connections_at(*connections, share) for share in (1.0, 0.25)] == left


@pytest.mark.parametrize(
    ("basis", "known"),
    [("", False), ("none", False), ("sender", False), ("address", True), ("certificate", True), ("login", True),
     ("node", True), ("certificate-and-recipient", True)],
)  # fmt: skip
def test_what_identifies_a_client(basis, known):
    assert identifies(basis) is known


def test_the_words_of_limits():
    assert [limit.noun for limit in RateLimit] == [
        "connections", "TLS handshakes", "messages", "recipients", "errors", "failed log-ins", "refusals",
    ]  # fmt: skip


def test_the_trace_says_which_limit():
    reply = Reply(421, "4.7.0", ("Too many",))
    verdict = refused_for_rate(Directory(parse({}), 7), reply, RateLimit.HANDSHAKES)
    assert (verdict.accepted, verdict.reply, verdict.direction, verdict.configuration) == (False, reply, "none", 7)
    assert verdict.reasons == ("too many TLS handshakes in a minute ([rates] handshakes)",)
