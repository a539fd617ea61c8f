from __future__ import annotations

import logging
import ssl
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind as Kind

from gatepost.events.spans import Span, SpanKind
from gatepost.node import span_export
from gatepost.node.span_export import SpanExport, receiver_secret
from gatepost.pki.certificates.vault import VaultError
from gatepost.settings.sections import Otel
from gatepost.testing.process import free_port

TRACE, ARRIVAL = 7 << 100, 9
RECEIVED = Span("smtp.receive", SpanKind.SERVER, TRACE, ARRIVAL, 0, 1_000_000, 1_000_000, {"gatepost.size": 3})
FAILED = Span("smtp.send", SpanKind.CLIENT, TRACE, 0, ARRIVAL, 1_000_000, 2_000_000, {"error.type": "4.4.1"}, "450 x")


@pytest.fixture
def settings(home):
    def make(endpoint="", **sections):
        return home.settings(otel={"endpoint": endpoint or f"http://127.0.0.1:{free_port()}/v1/traces"}, **sections)

    return make


def test_spans_become_those_of_the_library(settings):
    first, second = span_export.SpanMaker(settings(), 3).made([RECEIVED, FAILED])
    assert (first.name, first.kind, first.parent) == ("smtp.receive", Kind.SERVER, None)
    assert (first.context.trace_id, first.context.span_id) == (TRACE, ARRIVAL)
    assert (first.start_time, first.end_time, first.status.is_unset) == (1_000_000, 1_000_000, True)
    assert dict(first.attributes) == {"gatepost.size": 3}
    assert (second.context.trace_id, second.parent.span_id, second.kind) == (TRACE, ARRIVAL, Kind.CLIENT)
    assert second.context.span_id not in {0, ARRIVAL}
    assert (second.end_time, second.status.is_ok, second.status.description) == (2_000_000, False, "450 x")
    resource = second.resource.attributes
    assert resource["service.name"] == "gatepost"
    assert resource["service.instance.id"].endswith("/3")


def test_a_receiver_that_is_down_costs_spans_and_is_named_once(settings, caplog):
    wanted = settings()
    export = SpanExport(wanted, 0)
    for _ in range(2):
        assert not export._sent([RECEIVED])
    export.put([RECEIVED, FAILED])
    export.close()
    assert export.dropped == 2
    (line,) = [one for one in caplog.messages if "traces cannot be sent" in one]
    assert "no connection; mail is not concerned" in line
    assert not [one for one in caplog.records if one.name.startswith("opentelemetry")]


def test_what_waits_is_bounded_and_it_is_said_when_it_goes_on(settings, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    answers, goes_on = [SpanExportResult.FAILURE], threading.Event()
    monkeypatch.setattr(span_export, "_INTERVAL", 0.01)
    export = SpanExport(settings(), 0)

    def answer(spans):
        if answers:
            return answers.pop()
        goes_on.set()
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(export._exporter, "export", answer)
    export.put([RECEIVED] * (span_export._MOST + 5))
    assert goes_on.wait(20)
    export.close()
    assert export.dropped == 5 + span_export._BATCH
    assert f"again; lost {span_export._BATCH} spans" in caplog.text


def test_the_end_is_not_kept_waiting_and_what_is_under_way_counts_as_lost(settings, monkeypatch):
    for name in ("_INTERVAL", "_PATIENCE", "_GIVING_UP"):
        monkeypatch.setattr(span_export, name, 0.01)
    export = SpanExport(settings(), 0)
    under_way, hung = threading.Event(), threading.Event()

    def hang(_):
        under_way.set()
        hung.wait(20)
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(export._exporter, "export", hang)
    export.put([RECEIVED] * 3)
    assert under_way.wait(20)
    export.put([FAILED] * 4)
    export.close()
    assert export.dropped == 7
    hung.set()
    export._thread.join(20)


def test_a_fault_of_ours_ends_nothing(settings, caplog, monkeypatch):
    export = SpanExport(settings(), 0)
    monkeypatch.setattr(export._exporter, "export", lambda _: 1 / 0)
    assert not export._sent([RECEIVED])
    assert "spans cannot be made" in caplog.text
    export.close()


def test_https_is_checked_by_our_anchors(settings, home, caplog):
    assert span_export._context(settings("http://127.0.0.1:1/v1/traces")) is None
    missing = settings("https://127.0.0.1:1/v1/traces", tls={"trust_anchors": str(home.path / "missing.pem")})
    context = span_export._context(missing)
    assert (context.verify_mode, context.cert_store_stats()["x509"]) == (ssl.CERT_REQUIRED, 0)
    assert "traces cannot be sent: tls.trust_anchors: " in caplog.text


def test_a_secret_is_one_line(tmp_path):
    file = tmp_path / "secret"
    file.touch(0o600)
    otel = Otel(endpoint="http://127.0.0.1:4318/v1/traces", secret=f"file:{file}")
    file.write_text("Bearer x\n")
    assert receiver_secret(otel) == "Bearer x"
    for wrong in ("", "a\r\nX-Other: b", "ü"):
        file.write_text(wrong)
        with pytest.raises(VaultError, match=r"one line of ASCII"):
            receiver_secret(otel)


def test_nothing_of_the_libraries_is_loaded_while_traces_are_off():
    script = (
        "import sys, gatepost.manage.cli.serve, gatepost.node.worker; "
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'requests', 'google')])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
