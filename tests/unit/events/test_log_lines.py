from __future__ import annotations

import json
import logging
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.log_lines import LOGGER, AddressDetail, EventLines, Style, logfmt, wanted
from gatepost.mail.model.trace_event import TraceEvent

GIVEN = {
    "at": 1_800_000_000.25,
    "message": "0caeb7e93ac00000",
    "organization": "contoso",
    "direction": "incoming",
    "session": "4bf67757a2d8c74d",
    "sender": "a@b.example",
    "recipient": "ann@contoso.example",
    "subject": "the secret subject",
    "message_id": "<the-id@b.example>",
    "peer_host": "mail.b.example",
    "peer_address": "192.0.2.1",
    "size": 388,
}
HOP = {"requirement": "authenticated(*.b.example)", "achieved": "none/authenticated", "connector": "out"}
PROTECTED = {"tls_version": "TLSv1.3", "tls_group": "X25519MLKEM768"}


def event(name, **fields):
    return TraceEvent(event=name, **(GIVEN | fields))


SENT = event("SEND", **HOP, **PROTECTED, reply="250 2.0.0 ok", detail={"attempt": 1, "delay": 0.5, "seconds": 0.0342})
REFUSED = event(
    "REFUSE",
    message="",
    reply="550 5.1.1 no such <ann@contoso.example>",
    detail={"why": "ann@contoso.example is unknown"},
)


def lines(*groups, style=Style.JSON, addresses=AddressDetail.FULL, clock=lambda: 1.0):
    written = []
    EventLines(style, addresses, written.extend, clock)(groups)
    return written


def test_one_object_for_each_outcome():
    (line,) = lines([SENT])
    found = json.loads(line)
    assert found.pop("process") > 0
    assert found == {
        "at": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "logger": LOGGER,
        "message": "sent",
        "event": "send",
        "session": "4bf67757a2d8c74d",
        "id": "0caeb7e93ac00000",
        "organization": "contoso",
        "direction": "incoming",
        "from": "a@b.example",
        "to": "ann@contoso.example",
        "size": 388,
        "connector": "out",
        "host": "mail.b.example",
        "address": "192.0.2.1",
        "tls": "authenticated:authenticated",
        "version": "TLSv1.3",
        "group": "X25519MLKEM768",
        "reply": "250 2.0.0 ok",
        "attempt": 1,
        "delay": 0.5,
        "ms": 34,
    }


def test_a_message_for_many_is_one_line_and_each_outcome_another():
    received = event("RECEIVE", requirement="opportunistic", achieved="none")
    first, *rest = map(json.loads, lines([received] * 3, [SENT, event("FAIL")], []))
    assert (first["message"], first["recipients"], first["tls"]) == ("received", 3, "opportunistic:none")
    assert [one["message"] for one in rest] == ["sent", "failed"]
    assert "tls" not in rest[1], "no hop was made"


def test_what_is_held_at_once_is_told_with_what_was_received():
    received, held = event("RECEIVE"), event("QUARANTINE")
    first, *rest = map(json.loads, lines([received, received, held]))
    assert (first["message"], first["recipients"]) == ("received", 2)
    assert [(one["message"], one["to"]) for one in rest] == [("quarantined", "ann@contoso.example")]


TEXTS = [
    (
        [REFUSED],
        (
            "refused: session 4bf67757a2d8c74d 192.0.2.1 <a@b.example> -> <ann@contoso.example>: "
            "550 5.1.1 no such <ann@contoso.example> (ann@contoso.example is unknown)"
        ),
    ),
    (
        [event("REFUSE", message="", recipient="", sender="", reply="554 x")],
        "refused: session 4bf67757a2d8c74d 192.0.2.1 <>: 554 x",
    ),
    (
        [SENT],
        (
            "sent: message 0caeb7e93ac00000 session 4bf67757a2d8c74d <a@b.example> -> <ann@contoso.example>: "
            "250 2.0.0 ok (host=mail.b.example, tls=authenticated:authenticated, version=TLSv1.3, "
            "group=X25519MLKEM768, connector=out, delay=0.5, ms=34)"
        ),
    ),
    (
        [
            event(
                "TLSFAIL",
                message="",
                recipient="",
                sender="",
                peer_host="client\n.example",
                reply="unsupported protocol",
            )
        ],
        "TLS handshake failed: session 4bf67757a2d8c74d 192.0.2.1 (client?.example): unsupported protocol",
    ),
    (
        [event("DRILL", session="", peer_host="", sender="")],
        "drill: message 0caeb7e93ac00000 <> -> <ann@contoso.example>: ",
    ),
]


@pytest.mark.parametrize(("group", "said"), TEXTS)
def test_for_people(group, said):
    (line,) = lines(group, style=Style.TEXT)
    head, _, rest = line.partition(f" {LOGGER}: ")
    assert re.fullmatch(r"2027-01-15T08:00:00\.250Z info \d+", head)
    assert rest == said


def test_pairs_read_back():
    (line,) = lines([event("SEND", **HOP, reply='250 "quoted" = \\ text', peer_host="")], style=Style.LOGFMT)
    found = dict(pair.split("=", 1) for pair in shlex.split(line))
    assert (found["event"], found["reply"], found["from"]) == ("send", '250 "quoted" = \\ text', "a@b.example")
    assert "host" not in found
    assert logfmt({"a": "", "b": "ü", "c": 1}) == 'a="" b="\\u00fc" c=1'


@pytest.mark.parametrize("addresses", AddressDetail)
def test_a_handshake_that_failed_names_no_mail(addresses):
    (line,) = lines([event("TLSFAIL", message="", recipient="", sender="", reply="unknown ca")], addresses=addresses)
    found = json.loads(line)
    assert (found["event"], found["address"], found["reply"]) == ("tlsfail", "192.0.2.1", "unknown ca")
    assert found.keys().isdisjoint({"from", "to"})


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize(("addresses", "there"), [("domain", ["@contoso.example", "@b.example"]), ("none", [])])
def test_addresses_can_be_kept_out(style, addresses, there):
    written = lines(
        [SENT],
        [REFUSED],
        [event("FAIL", sender="", reply="550 <ann@contoso.example>")],
        style=style,
        addresses=AddressDetail(addresses),
    )
    text = "\n".join(written)
    assert "ann@" not in text
    assert "a@b" not in text
    for one in there:
        assert one in text
    assert ("b.example>" in text or '"@b.example"' in text or "from=@b.example" in text) == bool(there)
    assert "5.1.1" in text, "codes stay"
    assert "no such" not in text


@pytest.mark.parametrize("style", Style)
def test_content_is_never_in_a_line(style):
    text = "\n".join(lines([SENT], [REFUSED], [event("RECEIVE")], style=style))
    assert "secret subject" not in text
    assert "the-id@" not in text


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "x\r\n2027 info forged: line",
            "\u202egnp",
            "\x1b[2J",
            "\ud800",
            "x" * 1_000_000,
            '"}\n{"',
            "\x00\x7f\x85\u2028",
        ]
    ),
)


@given(st.sampled_from(Style), HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_text_of_peers_neither_ends_a_line_nor_fills_the_log(style, sender, recipient, host, reply):
    group = [event("REFUSE", sender=sender, recipient=recipient, peer_host=host, reply=reply, detail={"why": reply})]
    (line,) = lines(group, style=style)
    assert line.isprintable()
    assert len(line) < 20_000
    if style is Style.JSON:
        assert json.loads(line)["event"] == "refuse"
        assert line.isascii()


def test_a_flood_of_refusals_is_counted():
    now, written = [5.2], []
    reader = EventLines(Style.TEXT, AddressDetail.FULL, written.extend, lambda: now[0])
    reader([[REFUSED]] * 25)
    assert (len(written), reader.left_out) == (10, 15)
    now[0] = 6.0
    reader([[REFUSED]])
    assert "left out 15 more lines; gatepost trace search --event REFUSE" in written[10]
    assert len(written) == 12
    reader([[SENT]] * 30)
    assert len(written) == 42, "only refusals cost a peer nothing"


def test_the_note_is_as_the_lines_are():
    now, written = [5.2], []
    reader = EventLines(Style.JSON, AddressDetail.FULL, written.extend, lambda: now[0])
    reader([[REFUSED]] * 11)
    now[0] = 7.0
    reader([[REFUSED]])
    assert json.loads(written[10])["message"].startswith("left out 1 more line;")


def test_whether_anybody_wants_them(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    assert wanted()
    caplog.set_level(logging.WARNING, LOGGER)
    assert not wanted()
