from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.model.queue_id import SHARDS, IdSource, format_id, last_id, made_at, parse_id, shard_of


@given(st.integers(0, 2**63 - 1))
def test_printed_and_read_again(number):
    text = format_id(number)
    assert len(text) == 16
    assert parse_id(text) == parse_id(text.upper()) == number


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_text_sorts_as_numbers_do(one, other):
    assert (format_id(one) < format_id(other)) == (one < other)


@pytest.mark.parametrize(
    "text", ["", "0", "0" * 15, "0" * 17, "x" * 16, "8" + "0" * 15, "-" + "1" * 15, "1_" + "1" * 14, " " + "1" * 15]
)
def test_what_is_no_queue_id(text):
    with pytest.raises(ValueError, match="is not a queue id"):
        parse_id(text)


def test_ids_grow_whatever_the_clock_does():
    now = [1_764_000_000.0]
    source = IdSource(7, clock=lambda: now[0])
    ids = []
    for step in (0.0, 0.0005, -10.0, 0.0, 86_400.0, -86_400.0):
        now[0] += step
        ids += [source() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(0 <= number < 2**63 for number in ids)


def test_shards_do_not_share_ids():
    def clock():
        return 1_764_000_000.0

    ids = {IdSource(shard, clock=clock)() for shard in range(SHARDS)}
    assert len(ids) == SHARDS


def test_the_first_id_is_above_the_highest_in_use():
    def clock():
        return 1_764_000_000.0

    highest = IdSource(3, clock=lambda: clock() + 3600)()
    assert IdSource(0, after=highest, clock=clock)() > highest


def test_ids_that_turn_out_to_be_in_use_are_skipped():
    source = IdSource(0, clock=lambda: 1_764_000_000.0)
    earlier = source()
    source.skip(earlier - (1 << 22))
    assert source() == earlier + 1
    later = IdSource(0, clock=lambda: 1_764_000_500.0)()
    for used in (later, later + 7):
        source.skip(used)
        assert source() > used


def test_time_shows_in_ids():
    early = IdSource(1023, clock=lambda: 1_764_000_000.0)()
    late = IdSource(0, clock=lambda: 1_764_000_000.002)()
    assert early < late


@pytest.mark.parametrize("shard", [-1, SHARDS])
def test_a_shard_out_of_range(shard):
    with pytest.raises(ValueError, match="not between"):
        IdSource(shard, clock=lambda: 0.0)


def test_an_id_says_when_it_was_made():
    assert abs(made_at(IdSource(3, clock=lambda: 1_800_000_000.25)()) - 1_800_000_000.25) < 0.002


def test_no_id_made_until_a_time_is_above_the_last_of_it():
    moment = 1_764_000_000.5
    source = IdSource(1023, clock=lambda: moment)
    ids = [source() for _ in range(4096)]
    assert ids[-1] <= last_id(moment) < IdSource(0, clock=lambda: moment + 0.0025)()
    assert IdSource(0, after=last_id(moment), clock=lambda: 0.0)() > ids[-1]
    assert last_id(0.0) == 0


def test_an_id_says_which_shard_made_it():
    assert [shard_of(IdSource(shard, clock=lambda: 1_800_000_000.0)()) for shard in (0, 7, 1023)] == [0, 7, 1023]


@pytest.mark.parametrize("moment", [3.8e9, 253402300799.0, 1e15])
def test_no_time_is_beyond_the_last_id(moment: float) -> None:
    """Times that people may write, such as 9999-12-31, and no database has a number for."""
    assert last_id(moment) == 2**63 - 1
