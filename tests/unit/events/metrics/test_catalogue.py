from __future__ import annotations

import re

from gatepost.events.metrics.catalogue import CATALOGUE, MetricKind


def test_names_are_as_prometheus_wants_them():
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE) > 25
    families = {one.name.removesuffix("_total").removesuffix("_info") for one in CATALOGUE}
    assert len(families) == len(CATALOGUE), "OpenMetrics names families without these"
    for one in CATALOGUE:
        assert re.fullmatch(r"gatepost_[a-z][a-z_]*", one.name)
        assert one.name.endswith("_total") == (one.kind is MetricKind.COUNTER)
        assert one.name.endswith("_info") == (one.kind is MetricKind.INFO)
        assert all(
            re.fullmatch(r"[a-z][a-z_]*", label) and label not in {"le", "job", "instance"} for label in one.labels
        )
        assert bool(one.buckets) == (one.kind is MetricKind.HISTOGRAM)
        assert list(one.buckets) == sorted(set(one.buckets))
        assert one.help.endswith(".")
