"""What does a message cost in counts, log lines and spans?

    .venv/bin/python bench/observation.py [--messages N] [--rounds N]

Each message is one accepted and one sent over TLS, as `events.trace` makes the events. Measured is processor time:
`loop` is what the event loop pays for handing them over, the others are what the thread of `events.stream` pays. Lines
go to /dev/null, as bytes. Spans are three a message; the library makes and encodes them on a thread more, and gzip and
the post come on top. For comparison: an increment of prometheus_client with a bound child, in memory, and in its
mode for several processes, where each is a write to a mapped file. Rounds alternate, and the least of each counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from gatepost.events.counts import EventMeter, count_session
from gatepost.events.delivery_problems import DeliveryProblems
from gatepost.events.log_lines import AddressDetail, EventLines, Style
from gatepost.events.metrics.counts import Counts
from gatepost.events.spans import Span, SpanReader
from gatepost.events.stream import EventFeed
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.node.span_export import SpanMaker
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.settings.model import Settings

TLS: dict[str, Any] = {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "group": "X25519MLKEM768"}
COMMON: dict[str, Any] = {
    "message": "0caeb7e93ac00000",
    "organization": "contoso",
    "session": "4bf67757a2d8c74d",
    "sender": "alice.anderson@contoso.example",
    "recipient": "bob.brown@partner.example",
    "message_id": "<20261126.4711@contoso.example>",
    "size": 12345,
    "tls_version": "TLSv1.3",
    "tls_group": "X25519MLKEM768",
    "tls": TLS,
}
RECEIVED = TraceEvent(
    at=1.8e9,
    event="RECEIVE",
    direction="incoming",
    peer_host="mail.example",
    peer_address="192.0.2.1",
    requirement="opportunistic",
    achieved="encrypted",
    reply="250 2.0.0 Queued as 0caeb7e93ac00000",
    **COMMON,
)
SENT = TraceEvent(
    at=1.8e9,
    event="SEND",
    direction="incoming",
    peer_host="mx.partner.example",
    peer_address="192.0.2.2:25",
    connector="partner-out",
    requirement="authenticated(*.partner.example)",
    achieved="none/authenticated",
    reply="250 2.0.0 OK 1795720385 a1-20020a05",
    detail={"attempt": 1, "delay": 0.123, "seconds": 0.034},
    **COMMON,
)
FACTS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ed25519", resumed=False, server_name="mx")

_LIBRARY = """
import sys, time
from prometheus_client import Counter, CollectorRegistry
child = Counter("m", "m", ["a", "b"]).labels("x", "y")
n = int(sys.argv[1])
begun = time.process_time()
for _ in range(n): child.inc()
print((time.process_time() - begun) / n * 1e6)
"""


def library(messages: int, directory: str | None) -> float:
    """One increment, microseconds."""
    environment = dict(os.environ) | ({"PROMETHEUS_MULTIPROC_DIR": directory} if directory else {})
    command = [sys.executable, "-c", _LIBRARY, str(messages)]
    return float(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)


def readers() -> dict[str, Callable[[list[Any]], None]]:
    """What reads events on the thread, by name."""
    null = os.open(os.devnull, os.O_WRONLY)

    def write(lines: list[str]) -> None:
        os.write(null, "".join(f"{line}\n" for line in lines).encode())

    maker = SpanMaker(Settings(server={"hostname": "mx1.contoso.example"}), 0)

    def encode(spans: list[Span]) -> None:
        encode_spans(maker.made(spans)).SerializePartialToString()

    return {
        "counts": EventMeter(Counts()),
        "alarms": DeliveryProblems(),
        "spans": SpanReader(1000, AddressDetail.FULL, lambda _: None),
        "spans, made and encoded by the library too": SpanReader(1000, AddressDetail.FULL, encode),
        **{f"lines {style}": EventLines(style, AddressDetail.FULL, write) for style in Style},
    }


def hand_over(messages: int) -> float:
    """What the loop pays: two calls, and the count of a handshake."""
    feed, counts = EventFeed([], interval=3600), Counts()
    along = feed.along(lambda _: None)
    received, sent = [RECEIVED], [SENT]
    begun = time.thread_time()
    for _ in range(messages):
        along(received)
        along(sent)
        count_session(counts, "outbound", FACTS)
    spent = time.thread_time() - begun
    feed.close()
    return spent / messages * 1e6


def main() -> None:
    """Print microseconds a message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=9000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    found: dict[str, list[float]] = defaultdict(list)
    groups = [[RECEIVED], [SENT]] * 500
    for _ in range(options.rounds):
        found["loop"].append(hand_over(options.messages))
        for name, reader in readers().items():
            begun = time.thread_time()
            for _ in range(options.messages // 500):
                reader(groups)
            found[name].append((time.thread_time() - begun) / (options.messages // 500 * 500) * 1e6)
        found["prometheus_client, one increment"].append(library(options.messages, None))
        with tempfile.TemporaryDirectory() as directory:
            found["prometheus_client, several processes, one increment"].append(library(options.messages, directory))
    for name, values in found.items():
        print(f"{min(values):8.2f} us  {name}")


if __name__ == "__main__":
    main()
