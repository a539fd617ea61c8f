"""Convert a message's events into OpenTelemetry spans: the mapping is pure, `SpanReader` bounds it.

A reader of `events.stream`, made by `node.observation` if `[otel]` asks for it; `node.span_export` sends what is made
here. A message has one trace on all nodes of a site: its id is a hash of the session by which the message came in and
of its Message-ID, and the id of the span of that arrival a hash of the trace's, so that later spans can name it as
their parent without a store for it. Never in a span: content, Subject, credentials.
"""

from __future__ import annotations

import time
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.counts import DELIVERED
from gatepost.events.log_lines import AddressDetail, address_shown, clean, codes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


_FAILED: Final = frozenset({"DEFER", "HOLD", "FAIL", "EXPIRE"})
_LAST: Final = DELIVERED | {"FAIL", "EXPIRE"}
_OF_QUEUE: Final = frozenset(
    f"gatepost.{name}" for name in ("event", "session", "queue_id", "organization", "direction", "recipient_count")
)  # the rest is with the attempts
_REFUSALS: Final = 10  # spans of one second
_RECIPIENTS: Final = 20
_TEXT: Final = 500
_NAME: Final = 255

type Value = str | int | float | bool | tuple[str, ...]


class SpanKind(StrEnum):
    """On which side of a call the gateway was, as OpenTelemetry names it."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Span(msgspec.Struct, frozen=True):
    """One step on a message's way. trace_id: 128 bits. span_id: 64 bits, 0 for any. parent_id: 0 for none.

    start, end: nanoseconds since 1970. failure: why the step failed, "" if it did not.
    """

    name: str
    kind: SpanKind
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    end: int
    attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)
    failure: str = ""


class SpanReader:
    """sample: messages in a thousand. write: takes spans. clock: seconds, never going back, for the bound on refusals.

    A reader of `EventFeed`. left_out: spans of refusals beyond the bound, in all.
    """

    def __init__(
        self,
        sample: int,
        addresses: AddressDetail,
        write: Callable[[list[Span]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.left_out = 0
        self._sample = sample
        self._addresses = addresses
        self._write = write
        self._clock = clock
        self._second, self._refusals = -1, 0

    def __call__(self, groups: Sequence[Sequence[TraceEvent]]) -> None:
        """Make spans of what happened."""
        spans = [
            span
            for group in groups
            if group and is_sampled(trace_of(group[0]), self._sample)
            for span in spans_of(group, self._addresses)
            if group[0].event != "REFUSE" or self._has_room()
        ]
        if spans:
            self._write(spans)

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals > _REFUSALS:
            self.left_out += 1
            return False
        return True


def trace_of(event: TraceEvent) -> int:
    """The id of the trace to which an event belongs, the same on all nodes; 0 if it is about no mail."""
    if not (event.session or event.message):
        return 0
    about = [event.session, event.message_id] if event.session else ["", event.message]
    return int.from_bytes(sha256("\0".join(["gatepost", *about]).encode("utf-8", "replace")).digest()[:16])


def arrival_of(trace_id: int) -> int:
    """The id of the span by which a message came into the site."""
    return int.from_bytes(sha256(trace_id.to_bytes(16) + b"receive").digest()[:8])


def is_sampled(trace_id: int, sample: int) -> bool:
    """Whether a trace is among `sample` of a thousand: by its last 56 bits, which are as good as random."""
    return bool(trace_id) and (trace_id & ((1 << 56) - 1)) * 1000 >> 56 < sample


def spans_of(group: Sequence[TraceEvent], addresses: AddressDetail) -> Iterator[Span]:
    """The spans of what one message or one attempt brought about.

    An arrival is one, each refusal one, an attempt one for each sort of outcome; and the attempt after which recipients
    are done with makes one of all their time in the queue.
    """
    if not trace_of(group[0]) or group[0].event == "TLSFAIL":  # of which no mail came
        return
    if group[0].event == "RECEIVE":
        yield _received(group, addresses)
    elif group[0].event == "REFUSE":
        for trace_event in group:
            yield _refused(trace_event, addresses)
    else:
        for name in dict.fromkeys(
            trace_event.event for trace_event in group if trace_event.event in DELIVERED | _FAILED
        ):
            yield _attempted([trace_event for trace_event in group if trace_event.event == name], addresses)
        done = [trace_event for trace_event in group if trace_event.event in _LAST]
        if done and "delay" in done[0].detail:
            yield _queued(done, addresses)


def _received(group: Sequence[TraceEvent], addresses: AddressDetail) -> Span:
    """The arrival in the site is the first span; on the way from one node to another, a message arrives again."""
    first, trace_id = group[0], trace_of(group[0])
    at, again = _nanoseconds(first.at), "handover" in first.detail
    ids = (0, arrival_of(trace_id)) if again else (arrival_of(trace_id), 0)
    attributes = _about(group, addresses) | _client(first) | _hop(first, "client")
    return Span("smtp.receive", SpanKind.SERVER, trace_id, *ids, at, at, attributes)


def _refused(event: TraceEvent, addresses: AddressDetail) -> Span:
    at, failure = _nanoseconds(event.at), _reply(event, addresses)
    attributes = _about([event], addresses) | _client(event) | _hop(event, "client") | _error(event)
    return Span("smtp.refuse", SpanKind.SERVER, trace_of(event), 0, 0, at, at, attributes, failure)


def _attempted(group: Sequence[TraceEvent], addresses: AddressDetail) -> Span:
    first, trace_id = group[0], trace_of(group[0])
    failed, local = first.event in _FAILED, first.event == "DELIVER"
    attributes = _about(group, addresses)
    attributes |= {} if local else _server(first) | _hop(first, "server")
    attributes |= _error(first) if failed else {}
    return Span(
        "mailbox.deliver" if local else "smtp.send",
        SpanKind.INTERNAL if local else SpanKind.CLIENT,
        trace_id,
        0,
        arrival_of(trace_id),
        _nanoseconds(first.at - first.detail.get("seconds", 0.0)),
        _nanoseconds(first.at),
        attributes,
        _reply(first, addresses) if failed else "",
    )


def _queued(group: Sequence[TraceEvent], addresses: AddressDetail) -> Span:
    first, trace_id = group[0], trace_of(group[0])
    begin = _nanoseconds(first.at - first.detail["delay"])
    about = {name: value for name, value in _about(group, addresses).items() if name in _OF_QUEUE}
    return Span("queue", SpanKind.INTERNAL, trace_id, 0, arrival_of(trace_id), begin, _nanoseconds(first.at), about)


def _about(group: Sequence[TraceEvent], addresses: AddressDetail) -> dict[str, Value]:
    """Attributes of the mail, for a client and a server alike."""
    first = group[0]
    attributes: dict[str, Value] = {
        "gatepost.event": first.event.lower(),
        "gatepost.session": first.session,
        "gatepost.queue_id": first.message,
        "gatepost.organization": first.organization,
        "gatepost.direction": first.direction,
        "gatepost.connector": first.connector,
        "gatepost.requirement": clean(first.requirement, _TEXT),
        "gatepost.achieved": clean(first.achieved, _TEXT),
        "gatepost.result_type": first.result_type,
        "gatepost.reply": _reply(first, addresses),
        "gatepost.sender": address_shown(first.sender, addresses),
        "gatepost.recipients": tuple(
            shown for trace_event in group[:_RECIPIENTS] if (shown := address_shown(trace_event.recipient, addresses))
        ),
    }
    numbers: dict[str, Value] = {"gatepost.recipient_count": len(group)}
    numbers |= {"gatepost.size": first.size} if first.size else {}
    numbers |= {"gatepost.attempt": first.detail["attempt"]} if "attempt" in first.detail else {}
    return {name: value for name, value in attributes.items() if value} | numbers


def _client(event: TraceEvent) -> dict[str, Value]:
    """Attributes of the client, as OpenTelemetry's conventions for the server's side name them."""
    named = {"client.address": event.peer_address, "gatepost.hello": clean(event.peer_host, _NAME)}
    return {name: value for name, value in named.items() if value}


def _server(event: TraceEvent) -> dict[str, Value]:
    """The next hop."""
    return {"server.address": clean(event.peer_host, _NAME)} if event.peer_host else {}


def _peer(text: str) -> dict[str, Value]:
    """A peer's address: of a client alone, of a server "HOST:PORT" or "[v6]:PORT"."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and (":" not in host or host.startswith("["))):
        return {"network.peer.address": text}
    return {"network.peer.address": host.strip("[]"), "network.peer.port": int(port)}


def _hop(event: TraceEvent, peer: str) -> dict[str, Value]:
    """Network and TLS. peer: "client" or "server", whose certificate was presented."""
    attributes: dict[str, Value] = {"network.protocol.name": "smtp"}
    if event.peer_address:
        attributes |= _peer(event.peer_address) | {"tls.established": bool(event.tls_version)}
    if not event.tls_version:
        return attributes
    name, _, version = event.tls_version.partition("v")
    facts = {
        "tls.protocol.name": name.lower(),
        "tls.protocol.version": version,
        "tls.cipher": event.tls.get("suite", ""),
        "tls.curve": event.tls_group,
        "tls.client.server_name": clean(event.tls.get("server_name", ""), _NAME),
        f"tls.{peer}.hash.sha256": event.tls.get("certificate", {}).get("sha256", "").upper(),
    }
    attributes |= {key: value for key, value in facts.items() if value}
    return attributes | {"tls.resumed": bool(event.tls.get("resumed"))}


def _error(event: TraceEvent) -> dict[str, Value]:
    """The class of an error: the result type if TLS failed (RFC 8460), else the enhanced status code or the code."""
    named = event.result_type or codes_of(event.reply).rpartition(" ")[2]
    return {"error.type": clean(named, _NAME) or "_OTHER"}


def _reply(event: TraceEvent, addresses: AddressDetail) -> str:
    """A reply for a span: only its codes unless all addresses may be shown, as its text may hold some."""
    return clean(event.reply if addresses is AddressDetail.FULL else codes_of(event.reply), _TEXT)


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000) * 1_000_000)
