from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.cli import trace

AT = 1_795_528_800.0  # 2026-11-24T14:00:00Z
ROWS = [
    {
        "message_id": "<1@elsewhere.example>",
        "subject": "hello\x1b[31m",
        "peer_host": "client.example",
        "peer_address": "203.0.113.9",
        "requirement": "opportunistic",
        "achieved": "encrypted",
        "tls_version": "TLSv1.3",
        "tls_group": "X25519MLKEM768",
        "tls": {"version": "TLSv1.3", "certificate": {"subject": "CN=c.example", "names": ["c.example"]}},
        "reply": "250 2.0.0 Queued as 000000000000001a",
        "detail": {"reasons": ["no on-premises connector knows the session", "second\nreason"]},
    },
    {
        "at": AT + 1,
        "event": "DEFER",
        "direction": "originating",
        "organization": "fabrikam",
        "recipient": "bob@partner.example",
        "connector": "out",
        "result_type": "starttls-not-supported",
        "reply": "450 4.4.317 later",
        "detail": {"attempt": 1},
    },
    {
        "at": AT + 2,
        "event": "REFUSE",
        "message": "",
        "organization": "",
        "session": "5e55100000000002",
        "sender": "",
        "recipient": "bob@partner.example",
        "reply": "550 5.7.64 Relay access denied",
    },
    {"at": AT + 86400, "event": "SEND", "message": "000000000000002b", "session": "", "sender": "ann@contoso.example"},
]


@pytest.fixture
def traced(home):
    home.events(*ROWS)
    return home


# words of the command line -> the rows that are found, newest first
SEARCHES = [
    ((), [3, 2, 1, 0]),
    (("--since", "2026-11-25"), [3]),
    (("--since", "2026-11-24T14:00:01", "--until", "2026-11-24T14:00:02Z"), [2, 1]),
    (("--until", "2026-11-24T14:00"), [0]),
    (("--message", "000000000000001A"), [1, 0]),
    (("--message-id", "<1@elsewhere.example>"), [0]),
    (("--session", "5e55100000000002"), [2]),
    (("--organization", "contoso"), [3, 0]),
    (("--sender", "EVE@elsewhere.example"), [1, 0]),
    (("--sender", "@contoso.example"), [3]),
    (("--recipient", "@partner.example"), [2, 1]),
    (("--recipient", "bob@partner.example", "--event", "refuse"), [2]),
    (("--connector", "out"), [1]),
    (("--event", "SEND"), [3]),
    (("--limit", "2"), [3, 2]),
]


@pytest.mark.parametrize(("words", "found"), SEARCHES, ids=[" ".join(words) for words, _ in SEARCHES])
def test_what_is_asked_for_is_found_newest_first(traced, words, found):
    events = [(row.get("at", AT), row.get("event", "RECEIVE")) for row in (ROWS[place] for place in found)]
    rows = traced.json("trace", "search", *words)
    assert [(row["at"], row["event"]) for row in rows] == events
    assert [row["event"] for row in traced.table("trace", "search", *words)] == [event for _, event in events]


def test_a_row_of_the_table(traced):
    rows = traced.table("trace", "search", "--event", "receive")
    assert rows == [
        {
            "time": "2026-11-24 14:00:00Z",
            "event": "RECEIVE",
            "message": "000000000000001a",
            "sender": "<eve@elsewhere.example>",
            "recipient": "<ann@contoso.example>",
            "connector": "",
            "requirement": "opportunistic",
            "achieved": "encrypted",
            "tls": "TLSv1.3 X25519MLKEM768",
            "reply": "250 2.0.0 Queued as 000000000000001a",
        }
    ]


def test_a_row_for_machines_is_the_whole_event(traced):
    (row,) = traced.json("trace", "search", "--event", "receive")
    usual = {
        "at": AT,
        "event": "RECEIVE",
        "message": "000000000000001a",
        "organization": "contoso",
        "direction": "incoming",
        "session": "5e55100000000001",
        "sender": "eve@elsewhere.example",
        "recipient": "ann@contoso.example",
    }
    assert TraceEvent(**row) == TraceEvent(**{**usual, **ROWS[0]})


@pytest.mark.parametrize("words", [("--sender", "nobody@contoso.example"), ("--since", "2030-01-01")])
def test_nothing_found_is_a_clear_no(traced, words):
    assert traced.table("trace", "search", *words, code=1) == []
    assert traced.json("trace", "search", *words, code=1) == []


def test_before_the_first_message_there_is_nothing(home):
    assert home.json("trace", "search", code=1) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--event", "EXPLODE"), "'EXPLODE' is not"),
        (("--since", "yesterday"), "'yesterday' is neither an age"),
        (("--limit", "0"), "0 is not in the range"),
        (("--since", "99999999w"), "is beyond the years 1 to 9999"),
    ],
)
def test_wrong_use(traced, words, said):
    result = traced.call("trace", "search", *words, code=2)
    assert result.stdout == ""
    assert said in result.stderr


SHOWN = """\
Nobody has to act yet: the mail system of partner.example could not take this message yet, and the gateway tries again.

2026-11-24 14:00:00Z  RECEIVE  <eve@elsewhere.example> -> <ann@contoso.example>
    message       000000000000001a
    session       5e55100000000001
    organization  contoso
    Message-ID    <1@elsewhere.example>
    subject       hello?[31m
    peer          client.example 203.0.113.9
    requirement   opportunistic
    achieved      encrypted
    reply         250 2.0.0 Queued as 000000000000001a
    tls           version: TLSv1.3
    certificate   subject: CN=c.example
    certificate   names: c.example
    why           no on-premises connector knows the session
    why           second?reason
2026-11-24 14:00:01Z  DEFER  <eve@elsewhere.example> -> <bob@partner.example>
    message       000000000000001a
    session       5e55100000000001
    organization  fabrikam
    connector     out
    reply         450 4.4.317 later
    result type   starttls-not-supported
    attempt       1
"""


def test_a_message_is_told_from_its_beginning(traced):
    assert traced.call("trace", "show", "000000000000001a").stdout == SHOWN


# an id -> the rows that tell of it, oldest first
IDENTITIES = [
    ("000000000000001a", [0, 1]),
    ("000000000000001A", [0, 1]),
    ("<1@elsewhere.example>", [0]),
    ("5e55100000000001", [0, 1]),
    ("5e55100000000002", [2]),
]


@pytest.mark.parametrize(("identity", "found"), IDENTITIES)
def test_a_message_or_a_session_by_any_of_its_ids(traced, identity, found):
    rows = traced.json("trace", "show", identity)
    assert [row["at"] for row in rows] == [ROWS[place].get("at", AT) for place in found]


@pytest.mark.parametrize("identity", ["000000000000009f", "<nothing@x.example>", "\x1b[31m"])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_an_id_that_nothing_has(traced, identity, words):
    result = traced.call("trace", "show", identity, *words, code=1)
    assert result.stdout == ""
    assert result.stderr == f"the message trace has no message or session {identity.replace('\x1b', '?')}\n"


def test_a_day_that_cannot_be_read_does_not_hide_the_others(traced, caplog):
    (traced.data / "trace" / "2026-11-24.0.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    assert [row["event"] for row in traced.json("trace", "search")] == ["SEND"]
    assert "2026-11-24.0.db cannot be read" in caplog.text


def test_a_decision_is_printed_in_sentences(capsys):
    event = TraceEvent(
        at=0.0,
        event="RECEIVE",
        message="1",
        organization="contoso",
        direction="incoming",
        session="s",
        sender="x@any.test",
        recipient="ann@contoso.example",
        tls={
            "chain": "untrusted-root",
            "chains": {"/etc/private.pem": {"status": "trusted", "detail": ""}, "/b.pem": {"status": "expired"}},
        },
        detail={
            "configuration": 17,
            "passed_over": [{"connector": "connector 'x' of contoso", "why": "is less specific"}],
            "would_refuse": "550 5.7.51 no",
            "would_refuse_connector": "trial",
            "rehearsal": {
                "requirement": "encrypted",
                "sources": ["connector:x", "rule:y"],
                "passed": False,
                "detail": "",
            },
            "tries": [{"host": "mx.b.example", "reply": "450 4.4.317 x"}],
        },
    )
    trace._print_event(event)
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[-9:]] == [
        "tls           chain: untrusted-root",
        "tls           by /etc/private.pem: trusted",
        "tls           by /b.pem: expired",
        "configuration 17",
        "passed over   connector 'x' of contoso is less specific",
        "would refuse  550 5.7.51 no",
        "in rehearsal  trial",
        "rehearsal     requirement: encrypted; sources: connector:x, rule:y; passed: no",
        "tries         host: mx.b.example; reply: 450 4.4.317 x",
    ]


def test_where_no_recipient_was_said_none_is_shown(home):
    """ "<>" would be the null path: refused at MAIL, nobody was named yet; the null sender was."""
    home.events(
        {"event": "REFUSE", "message": "", "session": "5e", "sender": "", "recipient": "", "reply": "530 5.7.0"}
    )
    (row,) = home.table("trace", "search")
    assert (row["sender"], row["recipient"]) == ("<>", "")
    assert home.call("trace", "show", "5e").stdout.splitlines()[2].endswith("  REFUSE  <>")


def test_times_and_lists_are_printed_for_people(home):
    home.events(
        {
            "tls": {
                "server_name": "",
                "resumed": False,
                "certificate": {"subject": "", "names": ["a.example", "b.example"], "not_after": AT},
            },
            "detail": {"next_attempt": AT + 60, "configuration": 17, "rehearsal": {"requirement": "encrypted"}},
        }
    )
    shown = home.call("trace", "show", "000000000000001a").stdout.splitlines()
    assert [line.strip() for line in shown[-6:]] == [
        "tls           resumed: no",
        "certificate   names: a.example, b.example",
        "certificate   not_after: 2026-11-24 14:00:00Z",
        "next attempt  2026-11-24 14:01:00Z",
        "configuration 17",
        "rehearsal     requirement: encrypted",
    ]


PARTS = [
    (("--words", "EVE@ hello"), [0]),
    (("--words", "bob@"), [2, 1]),
    (("--subject", "hel*"), [0]),
    (("--recipient", "bob@*", "--sender", "*@elsewhere.example"), [1]),
]


@pytest.mark.parametrize(("words", "found"), PARTS, ids=[" ".join(words) for words, _ in PARTS])
def test_parts_of_names_and_subjects(traced, words, found):
    rows = traced.json("trace", "search", *words)
    assert [row["at"] for row in rows] == [ROWS[place].get("at", AT) for place in found]


def test_one_line_for_each_message(traced):
    rows = traced.table("trace", "search", "--by-message", "--words", "elsewhere")
    assert [(row["event"], row["message"], row["recipients"]) for row in rows] == [
        ("DEFER", "000000000000001a", "<bob@partner.example> and 1 more")
    ]
    (message,) = traced.json("trace", "search", "--by-message", "--words", "elsewhere")
    assert (message["rows"], [event["event"] for event in message["events"]]) == (2, ["DEFER", "RECEIVE"])


@pytest.mark.parametrize("more", [(), ("--by-message",)])
def test_nothing_found_says_what_was_searched_and_how_to_search_more(traced, more):
    done = traced.call("trace", "search", "--words", "nobody", "--since", "1h", *more, code=1)
    assert done.stderr == (
        "no rows found by: gatepost trace search --since 1h --words nobody\n"
        "for all that the trace keeps: gatepost trace search --words nobody\n"
    )
