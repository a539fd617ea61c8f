from __future__ import annotations

import pytest

from gatepost.events.metrics.counts import MOST_SERIES, Counts, Few, Histogram


def test_what_is_counted():
    counts = Counts()
    counts.add(("a", "x"))
    counts.add(("a", "x"), 2)
    counts.add(("a", "y"))
    assert counts.numbers == {("a", "x"): 3, ("a", "y"): 1}


@pytest.mark.parametrize(("value", "place"), [(0.5, 0), (1.0, 0), (1.5, 1), (2.0, 1), (2.1, 2)])
def test_a_value_is_in_the_first_bucket_that_is_not_below_it(value, place):
    counts = Counts()
    counts.observe(("h",), (1.0, 2.0), value)
    counts.observe(("h",), (1.0, 2.0), value)
    histogram = counts.histograms[("h",)]
    assert [number for number, count in enumerate(histogram.counts) if count] == [place]
    assert (histogram.counts[place], histogram.sum) == (2, 2 * value)


def test_two_histograms_are_one():
    merged = Histogram((1.0,), [1, 2], 3.0).merged(Histogram((1.0,), [10, 20], 30.0))
    assert (merged.bounds, merged.counts, merged.sum) == ((1.0,), [11, 22], 33.0)


def test_series_have_an_end_and_what_is_known_still_counts():
    counts = Counts()
    for number in range(MOST_SERIES + 5):
        counts.add(("a", str(number)))
        counts.observe(("h", str(number)), (1.0,), 0.5)
    assert (len(counts.numbers), len(counts.histograms), counts.left_out) == (MOST_SERIES, MOST_SERIES, 10)
    counts.add(("a", "0"))
    counts.observe(("h", "0"), (1.0,), 0.5)
    assert (counts.numbers["a", "0"], counts.histograms["h", "0"].counts[0]) == (2, 2)


def test_of_values_that_nobody_listed_there_are_few():
    few = Few(2)
    assert [few(value) for value in ("a", "b", "c", "a", "", "c")] == ["a", "b", "other", "a", "none", "other"]
