from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.queue.due_destinations import DueDestinations


def test_longest_due_first_and_once():
    agenda = DueDestinations()
    assert agenda.earliest() is None
    assert agenda.take(1e9) is None
    assert agenda.note("a", 20.0)
    assert agenda.note("b", 10.0)
    assert not agenda.note("c", 30.0)
    assert agenda.earliest() == 10.0
    assert agenda.take(9.9) is None
    assert [agenda.take(25.0), agenda.take(25.0), agenda.take(25.0)] == ["b", "a", None]
    assert "c" in agenda
    assert "a" not in agenda
    assert len(agenda) == 1


def test_only_an_earlier_time_counts():
    agenda = DueDestinations()
    agenda.note("a", 20.0)
    assert not agenda.note("a", 30.0)
    assert agenda.note("a", 10.0)
    assert agenda.take(10.0) == "a"
    assert agenda.take(1e9) is None
    assert agenda.note("a", 30.0)


def test_it_does_not_grow_with_what_is_no_longer_true():
    agenda = DueDestinations()
    for at in range(100_000, 0, -1):
        agenda.note("a", float(at))
    assert len(agenda._heap) < 100


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 20), st.booleans())))
def test_as_a_plain_table_would(steps):
    agenda, table = DueDestinations(), {}
    for name, at, take in steps:
        if take:
            first = min(table.values(), default=1e9)
            got = agenda.take(float(at))
            assert (got is None) == (first > at)
            assert got is None or table.pop(got) == first
        else:
            agenda.note(name, float(at))
            table[name] = min(at, table.get(name, 1e9))
        assert agenda.earliest() == (min(table.values()) if table else None)
        assert len(agenda) == len(table)
