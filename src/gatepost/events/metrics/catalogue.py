"""The catalogue of metrics: name, kind, meaning and labels of each. Pure.

Who counts takes names from here; `node.exposition` serves what is listed, and docs/monitoring.md is made from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class MetricKind(StrEnum):
    """Types of metrics, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Metric(msgspec.Struct, frozen=True):
    """One metric. name: as it is served. buckets: upper bounds of a histogram."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_WAITS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

# counted by workers, from the events that become rows of the message trace

MESSAGES_RECEIVED: Final = Metric(
    "gatepost_messages_received_total", MetricKind.COUNTER, "Messages accepted and queued.", ("direction",)
)
RECIPIENTS: Final = Metric(
    "gatepost_recipients_total",
    MetricKind.COUNTER,
    "Recipients by what happened to them: one for each row of the message trace.",
    ("event", "direction"),
)
CONNECTOR_RECIPIENTS: Final = Metric(
    "gatepost_connector_recipients_total",
    MetricKind.COUNTER,
    "The same by connector (organization/name); of a hundred connectors, the rest is other.",
    ("connector", "event"),
)
REFUSALS: Final = Metric(
    "gatepost_refusals_total",
    MetricKind.COUNTER,
    "Refused commands and messages by our enhanced status code.",
    ("code",),
)
VERDICTS: Final = Metric(
    "gatepost_tls_verdicts_total",
    MetricKind.COUNTER,
    "Accepted and delivered recipients by the TLS level that was wanted and the one that was achieved.",
    ("side", "wanted", "got"),
)
DELIVERY_FAILURES: Final = Metric(
    "gatepost_tls_delivery_failures_total",
    MetricKind.COUNTER,
    "Recipients deferred, held, failed or expired for TLS, by result type (RFC 8460 section 4.3).",
    ("result_type",),
)
PROTECTION_DROPS: Final = Metric(
    "gatepost_protection_drops_total",
    MetricKind.COUNTER,
    "Attempts over a connection that protects less than its destination was seen to do.",
    ("cleartext",),
)
DELAY: Final = Metric(
    "gatepost_delivery_delay_seconds",
    MetricKind.HISTOGRAM,
    "From acceptance to delivery, of each recipient delivered.",
    ("event",),
    _WAITS,
)
ATTEMPT: Final = Metric(
    "gatepost_attempt_seconds",
    MetricKind.HISTOGRAM,
    "Duration of one attempt to deliver, look-ups included.",
    (),
    _WAITS,
)
JOURNAL_COPIES: Final = Metric(
    "gatepost_journal_copies_total",
    MetricKind.COUNTER,
    "Journal copies by form and by what happened to them: one for each attempt.",
    ("form", "event"),
)
NOTICES_WITHHELD: Final = Metric(
    "gatepost_notices_withheld_total",
    MetricKind.COUNTER,
    "Notices to senders of mail from unknown servers that were not sent, by notices_to_strangers.",
    ("choice",),
)
LINES_LEFT_OUT: Final = Metric(
    "gatepost_log_lines_left_out_total", MetricKind.COUNTER, "Lines about refusals that were too many for the log."
)
SPANS_DROPPED: Final = Metric(
    "gatepost_spans_dropped_total",
    MetricKind.COUNTER,
    "Spans for OpenTelemetry that were lost, as their receiver was down or they were too many.",
)

# counted by workers, elsewhere

CONNECTIONS_MADE: Final = Metric(
    "gatepost_connections_accepted_total", MetricKind.COUNTER, "Inbound connections by role of the listener.", ("role",)
)
LIMITED: Final = Metric(
    "gatepost_limited_total",
    MetricKind.COUNTER,
    "Refusals of unknown clients by the limits of [rates], for their source or for all of them.",
    ("limit", "scope"),
)
REFUSALS_LEFT_OUT: Final = Metric(
    "gatepost_refusals_left_out_total",
    MetricKind.COUNTER,
    "Refusals of clients that exceeded [rates] refusals, of which message trace and evidence have no row.",
)
RECIPIENT_QUESTIONS: Final = Metric(
    "gatepost_recipient_questions_total",
    MetricKind.COUNTER,
    "Questions to sources of recipients of relayed domains; remembered answers needed none.",
    ("source", "answer"),
)
TLS_SESSIONS: Final = Metric(
    "gatepost_tls_sessions_total",
    MetricKind.COUNTER,
    "Completed TLS handshakes.",
    ("side", "version", "group", "suite", "resumed"),
)
TLS_FAILURES: Final = Metric(
    "gatepost_tls_failures_total",
    MetricKind.COUNTER,
    "Connections on which TLS failed or fell short: outbound by result type (RFC 8460), inbound handshakes.",
    ("side", "result_type"),
)
CLASSICAL_ONLY: Final = Metric(
    "gatepost_tls_classical_only_total",
    MetricKind.COUNTER,
    "Outbound TLS without an offer of post-quantum key exchange: the host left one unanswered just now, or earlier.",
    ("reason",),
)
DNS_LOOKUPS: Final = Metric(
    "gatepost_dns_lookups_total",
    MetricKind.COUNTER,
    "DNS questions by type and outcome; cached ones needed no query, bogus ones failed DNSSEC.",
    ("type", "outcome"),
)
DNS_SECONDS: Final = Metric(
    "gatepost_dns_lookup_seconds", MetricKind.HISTOGRAM, "Time to an answer of a nameserver.", (), (*_SHORT, 5.0, 10.0)
)
COMMIT_SECONDS: Final = Metric(
    "gatepost_commit_seconds", MetricKind.HISTOGRAM, "Duration of one commit of the queue, sync included.", (), _SHORT
)
COMMIT_BATCH: Final = Metric(
    "gatepost_commit_batch",
    MetricKind.HISTOGRAM,
    "Messages accepted, settled and leased in one commit.",
    (),
    (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
)
TRACE_DROPPED: Final = Metric(
    "gatepost_trace_rows_dropped_total", MetricKind.COUNTER, "Rows that the message trace lost as the disk was behind."
)
SERIES_LEFT_OUT: Final = Metric(
    "gatepost_series_left_out_total", MetricKind.COUNTER, "Counts for which there was no room; more than 0 is a fault."
)

# what workers are doing now

CONNECTIONS: Final = Metric(
    "gatepost_connections",
    MetricKind.GAUGE,
    "Connections open: inbound, outbound in use, outbound kept idle.",
    ("state",),
)
BACKING_OFF: Final = Metric(
    "gatepost_destinations_backing_off",
    MetricKind.GAUGE,
    "Next hops left alone for a while, as no host answered, and destinations for reasons of their own.",
)
LOAD: Final = Metric(
    "gatepost_load_level",
    MetricKind.GAUGE,
    "Load of a worker: 0 normal, 1 busy, 2 overloaded. Above 0 limits of unknown clients are tighter.",
    ("worker",),
)
SLOWED: Final = Metric(
    "gatepost_next_hops_slowed",
    MetricKind.GAUGE,
    "Next hops that are sent less, as they said that they get too much; each worker counts its own.",
)
IN_MEMORY: Final = Metric("gatepost_deliveries_in_memory", MetricKind.GAUGE, "Deliveries that wait in workers' memory.")
VERSION: Final = Metric(
    "gatepost_configuration_version", MetricKind.GAUGE, "Version of the resources that a worker works by.", ("worker",)
)
SEEN: Final = Metric(
    "gatepost_worker_seen_timestamp_seconds", MetricKind.GAUGE, "When a worker last wrote its numbers.", ("worker",)
)
STARTED: Final = Metric(
    "gatepost_worker_start_timestamp_seconds", MetricKind.GAUGE, "When a worker began.", ("worker",)
)

# found out when read

QUEUE: Final = Metric("gatepost_queue_deliveries", MetricKind.GAUGE, "Deliveries in the queue.", ("state",))
QUEUE_AGE: Final = Metric(
    "gatepost_queue_oldest_seconds",
    MetricKind.GAUGE,
    "Age of the oldest message that is queued and not held; 0 for none.",
)
QUARANTINE: Final = Metric(
    "gatepost_quarantine_recipients",
    MetricKind.GAUGE,
    "Recipients of messages in quarantine, for the hundred organizations that have most.",
    ("organization",),
)
QUARANTINE_SIZE: Final = Metric(
    "gatepost_quarantine_bytes",
    MetricKind.GAUGE,
    "Size of the messages in quarantine, for the same organizations.",
    ("organization",),
)
CERTIFICATES: Final = Metric(
    "gatepost_certificate_expiry_timestamp_seconds",
    MetricKind.GAUGE,
    "When a current or next certificate of ours expires; a hundred of them.",
    ("certificate", "name", "state"),
)
ALARMS: Final = Metric("gatepost_alarms", MetricKind.GAUGE, "Alarms that stand.", ("kind", "severity"))
FREE: Final = Metric("gatepost_store_free_bytes", MetricKind.GAUGE, "Room left on the disk of the data directory.")
POLICIES: Final = Metric(
    "gatepost_mta_sts_policies_cached", MetricKind.GAUGE, "MTA-STS policies of other domains kept."
)
BUILD: Final = Metric("gatepost_build_info", MetricKind.INFO, "What runs.", ("version", "python", "openssl"))

CATALOGUE: Final = tuple(metric for metric in list(globals().values()) if isinstance(metric, Metric))
"""All of them, in the order of this file."""
