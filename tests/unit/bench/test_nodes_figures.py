"""What the benchmark of several nodes reckons, and that docs/scaling.md says the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench"))

from nodes_figures import (  # noqa: E402
    BUSY,
    DAY,
    MEASURED,
    PEAK,
    Cost,
    Run,
    Usage,
    capacity,
    fit,
    paired,
    percentile,
    span,
    table,
)

COST = Cost(node_ms=1.0, primary_ms=0.5, wal_kb=10.0, trace_kb=5.0)


def test_usage_is_counted_from_an_earlier_reading():
    assert Usage(3.0, 2.0, 50, 900, 7).since(Usage(1.0, 0.5, 20, 400, 3)) == Usage(2.0, 1.5, 30, 500, 4)


def test_a_run_says_what_a_message_cost():
    run = Run(messages=1000, seconds=4.0, used=Usage(0.5, 0.25, 0, 0, 0), latencies=[0.001, 0.002, 0.5])
    assert (run.rate, run.node_us, run.server_us) == (250.0, 500.0, 250.0)
    assert (run.latency_ms(0.5), run.latency_ms(0.99)) == (2.0, 500.0)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.505, 51), (0.99, 99), (0.995, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(share, value):
    assert percentile(list(range(100, 0, -1)), share) == value


def test_nothing_has_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_span_is_the_median_with_its_range():
    assert span([3.0, 1.0, 2.0]) == "2 (1-3)"
    assert span([1.04, 1.01], ".2f") == "1.02 (1.01-1.04)"
    assert span([5.2, 5.3]) == "5"


def test_ratios_are_of_the_same_round():
    assert paired([100, 200], [110, 190]) == [1.1, 0.95]
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])


def test_the_cost_of_a_further_node_is_the_median_step():
    assert fit({1: 100.0, 2: 104.0, 4: 120.0, 5: 121.0}) == 4.0
    with pytest.raises(ValueError, match="two"):
        fit({1: 100.0})


def test_a_core_of_the_primary_does_so_many_messages():
    assert COST.core_limit == 2000.0


def test_a_site_is_built_for_its_busiest_hour_with_a_node_to_spare():
    one = capacity(10_000_000, COST)
    assert one.peak == pytest.approx(10_000_000 / DAY * PEAK)
    assert one.node_cores * BUSY * 1000 >= one.peak * COST.node_ms > (one.node_cores - 1) * BUSY * 1000
    assert (one.nodes, one.primaries) == (2, 1)
    assert one.primary_cores * BUSY * 1000 >= one.peak * COST.primary_ms
    assert (one.wal_gb, one.disk_gb) == (100.0, 1500.0)


def test_a_small_site_has_two_nodes_all_the_same():
    one = capacity(1000, COST)
    assert (one.node_cores, one.nodes, one.primary_cores, one.primaries) == (1, 2, 2, 1)


def test_a_load_beyond_one_primary_is_divided_among_several():
    one = capacity(1_000_000_000, COST, primary_limit=32)
    assert (one.primaries, one.primary_cores) == (2, 20)
    assert one.nodes == 11


def test_the_page_has_the_table_as_it_is_reckoned():
    assert table(MEASURED) in (ROOT / "docs" / "scaling.md").read_text()


def test_the_table_says_how_many_primaries_there_are():
    rows = table({"1 KB": Cost(node_ms=1.0, primary_ms=10.0, wal_kb=1.0, trace_kb=1.0)}).splitlines()
    assert rows[2] == "| 1 M | 1 KB | 46 | 2 | 1 | 2 cores | 1 GB | 30 GB |"
    assert "| 3 of 26 cores |" in rows[4]
