from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from gatepost.events.metrics.catalogue import ATTEMPT, CATALOGUE, RECIPIENTS
from gatepost.node.exposition import FRESH, MetricSources, exposed
from gatepost.store.figures import WorkerFigures
from gatepost.store.quarantine import QuarantineUsage
from gatepost.store.sqlite.administration import Depth

NOW = 1000.0
SERIES = [RECIPIENTS.name, "send", "incoming"]
COUNTS = [1] + [0] * (len(ATTEMPT.buckets) - 1) + [2]


def worker(number, at=NOW, **fields):
    given = {
        "numbers": [(SERIES, 2)],
        "histograms": [([ATTEMPT.name], COUNTS, 5.0)],
        "gauges": [(["gatepost_connections", "inbound"], 3.0)],
        **fields,
    }
    return WorkerFigures(number, 1, at, 1.0, 7, **given)


def samples(known, accept=""):
    body, kind = exposed(known, accept)
    read = open_metrics if "openmetrics" in kind else classic
    return {
        (one.name, *(one.labels[key] for key in sorted(one.labels))): one.value
        for family in read(body.decode())
        for one in family.samples
    }


def test_sums_over_workers_and_what_those_that_live_do_now():
    gone = worker(2, at=NOW - FRESH)
    found = samples(MetricSources(NOW, [worker(0), worker(1), gone], Depth(1, 2, 3, NOW - 60, "o/d")))
    assert found["gatepost_recipients_total", "incoming", "send"] == 6
    assert found["gatepost_connections", "inbound"] == 6
    assert (found["gatepost_attempt_seconds_count",], found["gatepost_attempt_seconds_sum",]) == (9, 15)
    assert found["gatepost_attempt_seconds_bucket", "86400.0"] == 3
    assert found["gatepost_attempt_seconds_bucket", "+Inf"] == 9
    assert found["gatepost_queue_deliveries", "held"] == 3
    assert found["gatepost_queue_oldest_seconds",] == 60
    assert found["gatepost_configuration_version", "1"] == 7
    assert ("gatepost_configuration_version", "2") not in found
    assert found["gatepost_worker_seen_timestamp_seconds", "2"] == NOW - FRESH


def test_the_fullest_quarantines_are_told():
    usages = {f"o{number:03}": QuarantineUsage(number, 10 * number) for number in range(150)}
    found = samples(MetricSources(NOW, quarantines=usages))
    assert found["gatepost_quarantine_recipients", "o149"] == 149
    assert found["gatepost_quarantine_bytes", "o149"] == 1490
    assert ("gatepost_quarantine_bytes", "o049") not in found
    assert len([key for key in found if key[0] == "gatepost_quarantine_recipients"]) == 100


def test_every_metric_is_there_from_the_first_moment():
    body, kind = exposed(MetricSources(NOW), "")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    for one in CATALOGUE:
        assert f"# HELP {one.name} {one.help}\n# TYPE {one.name} " in body.decode()
    assert samples(MetricSources(NOW))["gatepost_trace_rows_dropped_total",] == 0


def test_openmetrics_for_who_asks_for_it():
    known = MetricSources(NOW, [worker(0)], build=("1", "3", "4"))
    body, kind = exposed(known, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert samples(known, "application/openmetrics-text")["gatepost_build_info", "4", "3", "1"] == 1


def test_series_of_another_version_are_left_out_and_no_label_breaks_the_format():
    odd = worker(
        0,
        numbers=[(["gatepost_unheard_of_total"], 1), ([RECIPIENTS.name, "x"], 1), ([RECIPIENTS.name, 'a\n"', "\\"], 1)],
        histograms=[([ATTEMPT.name], [1, 2], 1.0), ([ATTEMPT.name, "x"], COUNTS, 1.0)],
        gauges=[(["gatepost_connections"], 1.0)],
    )
    found = samples(MetricSources(NOW, [odd]))
    assert [key for key in found if key[0] == RECIPIENTS.name] == [(RECIPIENTS.name, "\\", 'a\n"')]
    assert not any(key[0] == "gatepost_connections" for key in found)
