from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.log_lines import AddressDetail
from gatepost.events.spans import SpanKind, SpanReader, arrival_of, is_sampled, spans_of, trace_of
from gatepost.mail.model.trace_event import TraceEvent

AT = 1_800_000_000.25
NANO = 1_800_000_000_250_000_000
GIVEN = {
    "at": AT,
    "message": "0caeb7e93ac00000",
    "organization": "contoso",
    "direction": "originating",
    "session": "4bf67757a2d8c74d",
    "sender": "a@b.example",
    "recipient": "ann@contoso.example",
    "subject": "the secret subject",
    "message_id": "<the-id@b.example>",
    "peer_host": "mail.b.example",
    "peer_address": "192.0.2.1",
    "size": 388,
}
TLS = {
    "tls_version": "TLSv1.3",
    "tls_group": "X25519MLKEM768",
    "tls": {
        "suite": "TLS_AES_256_GCM_SHA384",
        "server_name": "mail.b.example",
        "resumed": True,
        "certificate": {"sha256": "ab" * 32},
    },
}
HOP = {"requirement": "authenticated(*.b.example)", "achieved": "none/authenticated", "connector": "out"}
TIMES = {"attempt": 2, "delay": 60.5, "seconds": 0.25}


def event(name, **fields):
    return TraceEvent(event=name, **(GIVEN | fields))


RECEIVED = event("RECEIVE", reply="250 2.0.0 ok", **TLS)
SENT = event("SEND", reply="250 2.0.0 ok", detail=TIMES, **HOP, **TLS)
DEFERRED = event("DEFER", reply="450 4.7.5 no TLS for ann@contoso.example", result_type="starttls-not-supported", **HOP)
REFUSED = event("REFUSE", message="", message_id="", reply="550 5.1.1 no such <ann@contoso.example>")


def spans(*group, addresses=AddressDetail.FULL):
    return list(spans_of(group, addresses))


def test_an_arrival_begins_the_trace():
    (span,) = spans(RECEIVED, event("RECEIVE", recipient="joe@contoso.example"))
    trace = trace_of(RECEIVED)
    assert (span.name, span.kind, span.failure) == ("smtp.receive", SpanKind.SERVER, "")
    assert (span.trace_id, span.span_id, span.parent_id) == (trace, arrival_of(trace), 0)
    assert span.start == span.end == NANO
    assert span.attributes == {
        "gatepost.event": "receive",
        "gatepost.session": "4bf67757a2d8c74d",
        "gatepost.queue_id": "0caeb7e93ac00000",
        "gatepost.organization": "contoso",
        "gatepost.direction": "originating",
        "gatepost.reply": "250 2.0.0 ok",
        "gatepost.sender": "a@b.example",
        "gatepost.recipients": ("ann@contoso.example", "joe@contoso.example"),
        "gatepost.recipient_count": 2,
        "gatepost.size": 388,
        "client.address": "192.0.2.1",
        "gatepost.hello": "mail.b.example",
        "network.protocol.name": "smtp",
        "network.peer.address": "192.0.2.1",
        "tls.established": True,
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
        "tls.cipher": "TLS_AES_256_GCM_SHA384",
        "tls.curve": "X25519MLKEM768",
        "tls.client.server_name": "mail.b.example",
        "tls.client.hash.sha256": "AB" * 32,
        "tls.resumed": True,
    }


def test_an_arrival_from_another_node_is_a_step_of_the_same_trace():
    there = event("RECEIVE", message="0caeb7e93ac00001", detail={"handover": {"node": "mx1.contoso.example"}})
    (span,) = spans(there)
    assert span.trace_id == trace_of(RECEIVED)
    assert (span.span_id, span.parent_id) == (0, arrival_of(span.trace_id))


def test_an_attempt_and_the_time_in_the_queue():
    sent, queued = spans(SENT)
    assert (sent.name, sent.kind, sent.failure) == ("smtp.send", SpanKind.CLIENT, "")
    assert (sent.trace_id, sent.span_id, sent.parent_id) == (trace_of(SENT), 0, arrival_of(trace_of(RECEIVED)))
    assert (sent.start, sent.end) == (NANO - 250_000_000, NANO)
    assert sent.attributes["server.address"] == "mail.b.example"
    assert sent.attributes["tls.server.hash.sha256"] == "AB" * 32
    assert sent.attributes["gatepost.requirement"] == "authenticated(*.b.example)"
    assert sent.attributes["gatepost.achieved"] == "none/authenticated"
    assert sent.attributes["gatepost.connector"] == "out"
    assert sent.attributes["gatepost.attempt"] == 2
    assert not {"error.type", "client.address"} & set(sent.attributes)
    assert (queued.name, queued.kind, queued.parent_id) == ("queue", SpanKind.INTERNAL, sent.parent_id)
    assert (queued.start, queued.end) == (NANO - 60_500_000_000, NANO)
    assert queued.attributes == {
        "gatepost.event": "send",
        "gatepost.session": "4bf67757a2d8c74d",
        "gatepost.queue_id": "0caeb7e93ac00000",
        "gatepost.organization": "contoso",
        "gatepost.direction": "originating",
        "gatepost.recipient_count": 1,
    }


def test_each_sort_of_outcome_is_a_span():
    group = [SENT, DEFERRED, SENT, event("FAIL", reply="550 5.1.1 no", detail=TIMES)]
    found = spans(*group)
    assert [(one.name, one.attributes["gatepost.event"]) for one in found] == [
        ("smtp.send", "send"),
        ("smtp.send", "defer"),
        ("smtp.send", "fail"),
        ("queue", "send"),
    ]
    assert found[0].attributes["gatepost.recipient_count"] == 2
    assert found[3].attributes["gatepost.recipient_count"] == 3


# outcome -> the class of its error and its text
FAILURES = [
    (DEFERRED, "starttls-not-supported", "450 4.7.5 no TLS for ann@contoso.example"),
    (event("FAIL", reply="550 5.1.1 no such user"), "5.1.1", "550 5.1.1 no such user"),
    (event("EXPIRE", reply="554"), "554", "554"),
    (event("HOLD", reply=""), "_OTHER", ""),
    (REFUSED, "5.1.1", "550 5.1.1 no such <ann@contoso.example>"),
]


@pytest.mark.parametrize(("failed", "name", "text"), FAILURES)
def test_what_failed_has_an_error(failed, name, text):
    (span,) = spans(failed)
    assert (span.attributes["error.type"], span.failure) == (name, text)


def test_a_mailbox_is_no_server():
    delivered, _ = spans(event("DELIVER", reply="250 2.0.0 ok", peer_host="", peer_address="", detail=TIMES))
    assert (delivered.name, delivered.kind) == ("mailbox.deliver", SpanKind.INTERNAL)
    assert not any(key.startswith(("server.", "network.", "tls.", "client.")) for key in delivered.attributes)


def test_a_hop_in_clear_says_so():
    span = spans(event("SEND", detail=TIMES))[0]
    assert span.attributes["tls.established"] is False
    assert "tls.cipher" not in span.attributes


def test_where_no_host_was_reached_nothing_is_said_of_tls():
    (span,) = spans(event("DEFER", peer_host="", peer_address="", reply="450 4.4.1 x"))
    assert not {"server.address", "network.peer.address", "tls.established"} & set(span.attributes)


# a peer as the trace has it -> its address and port
PEERS = [
    ("192.0.2.1", "192.0.2.1", None),
    ("192.0.2.1:25", "192.0.2.1", 25),
    ("[2001:db8::1]:2525", "2001:db8::1", 2525),
    ("2001:db8::25", "2001:db8::25", None),
]


@pytest.mark.parametrize(("peer", "address", "port"), PEERS)
def test_a_port_is_no_part_of_an_address(peer, address, port):
    found = spans(event("SEND", peer_address=peer))[0].attributes
    assert (found["network.peer.address"], found.get("network.peer.port")) == (address, port)


@pytest.mark.parametrize("group", [RECEIVED, SENT, DEFERRED, REFUSED])
@pytest.mark.parametrize("addresses", AddressDetail)
def test_addresses_are_told_as_in_the_log(group, addresses):
    said = repr(spans(group, addresses=addresses))
    assert ("ann@contoso.example" in said) is (addresses is AddressDetail.FULL)
    assert ("@contoso.example" in said) is (addresses is not AddressDetail.NONE)
    assert "secret" not in said


@pytest.mark.parametrize("name", ["RELEASE", "DROP", "DRILL", "TLSFAIL"])
def test_what_is_no_step_of_a_message_is_no_span(name):
    assert spans(event(name)) == []
    assert spans(event("SEND", session="", message="")) == []


def test_what_peers_chose_is_bounded_and_harmless():
    many = [event("RECEIVE", peer_host="\x1b" * 300, recipient="x" * 1000 + "@\r.example")] * 50
    (span,) = spans(*many)
    assert span.attributes["gatepost.hello"] == "?" * 255 + "..."
    assert len(span.attributes["gatepost.recipients"]) == 20
    assert len(span.attributes["gatepost.recipients"][0]) < 350
    assert span.attributes["gatepost.recipient_count"] == 50


def test_a_trace_is_a_message():
    assert trace_of(SENT) == trace_of(RECEIVED)
    assert trace_of(event("SEND", message="0caeb7e93ac00009", organization="other")) == trace_of(SENT)
    others = [
        event("SEND", message_id="<other@b.example>"),
        event("SEND", session="0000000000000000"),
        event("SEND", session=""),
        event("SEND", session="", message="0caeb7e93ac00009"),
        event("SEND", message_id="\udcff"),
    ]
    assert len({trace_of(one) for one in (SENT, *others)}) == 6


@given(st.integers(1, 2**128 - 1))
def test_all_or_none(trace):
    assert is_sampled(trace, 1000)
    assert not is_sampled(trace, 0)
    if is_sampled(trace, 10):
        assert is_sampled(trace, 11)


def test_a_share_of_messages():
    traces = [trace_of(event("SEND", session=str(number))) for number in range(4000)]
    assert 800 < sum(is_sampled(one, 250) for one in traces) < 1200
    assert not is_sampled(0, 1000)


def test_a_reader_makes_spans_of_all_that_is_sampled():
    written = []
    reader = SpanReader(1000, AddressDetail.FULL, written.append)
    reader([[RECEIVED], [], [SENT], [event("DROP")]])
    reader([[event("DROP")]])
    assert [[one.name for one in batch] for batch in written] == [["smtp.receive", "smtp.send", "queue"]]
    SpanReader(0, AddressDetail.FULL, written.append)([[RECEIVED]])
    assert len(written) == 1


def test_refusals_are_bounded_and_mail_is_not():
    now, written = [1.0], []
    reader = SpanReader(1000, AddressDetail.FULL, written.extend, lambda: now[0])
    reader([[REFUSED] * 4, [REFUSED] * 10, [RECEIVED] * 2])
    assert [one.name for one in written] == ["smtp.refuse"] * 10 + ["smtp.receive"]
    assert reader.left_out == 4
    now[0] = 2.0
    reader([[REFUSED]])
    assert (len(written), reader.left_out) == (12, 4)
