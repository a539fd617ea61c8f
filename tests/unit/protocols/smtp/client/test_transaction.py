from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.client.transaction import MailTransaction, Peer, RecipientReply, TransactionResult, compose
from gatepost.protocols.smtp.replies import Reply

ALL = Peer(
    pipelining=True,
    chunking=True,
    binarymime=True,
    eight_bit=True,
    smtputf8=True,
    dsn=True,
    requiretls=True,
    size=True,
)
NONE = Peer()


def transaction(*recipients: str, **fields: Any) -> MailTransaction:
    fields.setdefault("reverse_path", "a@a.example")
    return MailTransaction(recipients=[(address, "", "") for address in recipients or ("b@b.example",)], **fields)


def full() -> MailTransaction:
    return MailTransaction(
        reverse_path="a@a.example",
        recipients=[("b@b.example", "SUCCESS,FAILURE", "rfc822;b+2Bx@b.example"), ("c@b.example", "", "")],
        size=4096,
        body_type="8BITMIME",
        smtputf8=True,
        ret="HDRS",
        envid="QQ314159",
    )


# name: (transaction, peer, the lines that go out)
LINES: dict[str, tuple[MailTransaction, Peer, list[str]]] = {
    "nothing offered": (full(), NONE, ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>", "RCPT TO:<c@b.example>"]),
    "all offered": (
        full(),
        ALL,
        [
            "MAIL FROM:<a@a.example> SIZE=4096 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159",
            "RCPT TO:<b@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@b.example",
            "RCPT TO:<c@b.example>",
        ],
    ),
    "nothing wanted": (transaction(), ALL, ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>"]),
    "null reverse-path": (transaction(reverse_path=""), ALL, ["MAIL FROM:<>", "RCPT TO:<b@b.example>"]),
    "SIZE without a limit": (
        transaction(size=10**12),
        Peer(size=True),
        ["MAIL FROM:<a@a.example> SIZE=1000000000000", "RCPT TO:<b@b.example>"],
    ),
    "SIZE just within the limit": (
        transaction(size=100),
        Peer(size=True, size_limit=100),
        ["MAIL FROM:<a@a.example> SIZE=100", "RCPT TO:<b@b.example>"],
    ),
    "8-bit body to a 7-bit peer": (
        transaction(body_type="8BITMIME"),
        NONE,
        ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>"],
    ),
    "binary body": (
        transaction(body_type="BINARYMIME"),
        ALL,
        ["MAIL FROM:<a@a.example> BODY=BINARYMIME", "RCPT TO:<b@b.example>"],
    ),
    "REQUIRETLS": (transaction(require_tls=True), ALL, ["MAIL FROM:<a@a.example> REQUIRETLS", "RCPT TO:<b@b.example>"]),
    "UTF-8 addresses": (
        transaction("δ@b.example", reverse_path="ж@a.example", smtputf8=True),
        ALL,
        ["MAIL FROM:<ж@a.example> SMTPUTF8", "RCPT TO:<δ@b.example>"],
    ),
    "UTF-8 address of our own": (
        transaction("δ@b.example"),
        ALL,
        ["MAIL FROM:<a@a.example> SMTPUTF8", "RCPT TO:<δ@b.example>"],
    ),
    "came with SMTPUTF8 but is US-ASCII": (
        transaction(smtputf8=True),
        NONE,
        ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>"],
    ),
    "raw 8-bit header": (transaction(header_8bit=True), NONE, ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>"]),
    "only the domains are UTF-8": (
        transaction("b@bücher.example", reverse_path="a@ελ.example", smtputf8=True),
        NONE,
        ["MAIL FROM:<a@xn--qxam.example>", "RCPT TO:<b@xn--bcher-kva.example>"],
    ),
    "one recipient of two can go": (
        transaction("δ@b.example", "c@b.example", smtputf8=True),
        NONE,
        ["MAIL FROM:<a@a.example>", "RCPT TO:<c@b.example>"],
    ),
    "UTF-8 ORCPT with SMTPUTF8": (
        MailTransaction("", [("b@b.example", "", "utf-8;δ@b.example")], smtputf8=True),
        ALL,
        ["MAIL FROM:<> SMTPUTF8", "RCPT TO:<b@b.example> ORCPT=utf-8;δ@b.example"],
    ),
    "UTF-8 ORCPT without SMTPUTF8": (
        MailTransaction("", [("b@b.example", "NEVER", "utf-8;δ@b.example")]),
        Peer(dsn=True),
        ["MAIL FROM:<>", "RCPT TO:<b@b.example> NOTIFY=NEVER"],
    ),
}

BOTH = {0: "5.6.7", 1: "5.6.7"}

# name: (transaction, peer, status by index of the recipients that are refused here)
LOCAL: dict[str, tuple[MailTransaction, Peer, dict[int, str]]] = {
    "too big": (transaction(size=101), Peer(size=True, size_limit=100), {0: "5.3.4"}),
    "binary, no BINARYMIME": (transaction(body_type="BINARYMIME"), Peer(chunking=True), {0: "5.6.3"}),
    "REQUIRETLS not offered": (transaction(require_tls=True), NONE, {0: "5.7.30"}),
    "UTF-8 header": (transaction("b@b.example", "c@b.example", smtputf8=True, header_8bit=True), NONE, BOTH),
    "UTF-8 reverse-path": (transaction(reverse_path="ж@a.example", smtputf8=True), NONE, {0: "5.6.7"}),
    "UTF-8 recipient": (transaction("δ@b.example", "c@b.example"), NONE, {0: "5.6.7"}),
    "only UTF-8 recipients": (transaction("δ@b.example", "ε@b.example"), NONE, BOTH),
    "a domain without an A-label": (transaction("b@b\u00fc..example"), NONE, {0: "5.6.7"}),
}


@pytest.mark.parametrize("name", LINES)
def test_parameters_go_only_where_they_are_offered(name: str) -> None:
    sent, peer, lines = LINES[name]
    assert [line.decode() for line in compose(sent, peer).lines] == [line + "\r\n" for line in lines]


@pytest.mark.parametrize("name", LOCAL)
def test_what_cannot_be_sent_is_refused_here(name: str) -> None:
    sent, peer, statuses = LOCAL[name]
    commands = compose(sent, peer)
    assert {index: reply.enhanced for index, reply in commands.local.items()} == statuses
    assert all(reply.permanent for reply in commands.local.values())
    assert sorted([*commands.order, *commands.local]) == list(range(len(sent.recipients)))
    assert len(commands.lines) == (1 + len(commands.order) if commands.order else 0)


@pytest.mark.parametrize(
    "sent",
    [
        MailTransaction("a@a.example", []),
        transaction(reverse_path="a@a.example>\r\nRSET\r\nMAIL FROM:<x"),
        transaction("b@b.example\nRSET"),
        transaction("b@b.example\rRSET"),
        transaction("b\0@b.example"),
        transaction(envid="x\r\nQUIT"),
        transaction(ret="HDRS\n"),
        transaction(envid="\u00e9"),
        transaction("\ud800@b.example"),
        MailTransaction("", [("b@b.example", "NEVER\r\n", "")]),
        MailTransaction("", [("b@b.example", "", "rfc822;\r\nx")]),
    ],
)
def test_a_value_that_would_break_the_line_never_goes_out(sent: MailTransaction) -> None:
    with pytest.raises(ValueError, match=r"without recipients|control character|can't encode"):
        compose(sent, Peer(dsn=True, smtputf8="\ud800" in sent.recipients[0][0] if sent.recipients else False))


@pytest.mark.parametrize(
    "sent",
    [
        transaction("b@b.example> NOTIFY=NEVER"),
        transaction("Bob <b@b.example>"),
        transaction(reverse_path="a@a.example> SIZE=1"),
        transaction(envid="x REQUIRETLS"),
        transaction(body_type="7BIT SMTPUTF8"),
        MailTransaction("", [("b@b.example", "NEVER ORCPT=x", "")]),
        MailTransaction("", [("b@b.example", "", "rfc822;x NOTIFY=NEVER")]),
    ],
)
def test_a_value_that_would_be_more_than_one_word_never_goes_out(sent: MailTransaction) -> None:
    with pytest.raises(
        ValueError, match=r"a space in a parameter|the local-part is neither|letters, digits or hyphens"
    ):
        compose(sent, ALL)


def test_a_quoted_local_part_may_have_any_printable_character() -> None:
    assert compose(transaction('"b> c"@b.example'), NONE).lines[1] == b'RCPT TO:<"b> c"@b.example>\r\n'


TEXT = st.text(max_size=12)


@given(TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans())
def test_hostile_text_gives_one_line_each_or_no_line(
    reverse_path: str, address: str, notify: str, orcpt: str, envid: str, offers_all: bool
) -> None:
    sent = MailTransaction(reverse_path, [(address, notify, orcpt)], envid=envid, smtputf8=True)
    try:
        lines = compose(sent, ALL if offers_all else NONE).lines
    except ValueError:
        return
    assert all(
        line.endswith(b"\r\n") and line.count(b"\r") == line.count(b"\n") == 1 and b"\0" not in line for line in lines
    )
    assert [line[:5] for line in lines] in ([], [b"MAIL ", b"RCPT "])


# EHLO parameters: what they mean
PEERS: dict[str, tuple[dict[str, str], Peer]] = {
    "nothing": ({}, NONE),
    "everything": (
        dict.fromkeys(
            ["PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS", "SIZE"], ""
        ),
        ALL,
    ),
    "BINARYMIME alone is of no use": ({"BINARYMIME": ""}, NONE),
    "a size": ({"SIZE": "35882577"}, Peer(size=True, size_limit=35882577)),
    "no limit": ({"SIZE": "0"}, Peer(size=True)),
    "a size that is none": ({"SIZE": "big"}, Peer(size=True)),
    "a size beyond sense": ({"SIZE": "9" * 2000}, Peer(size=True)),
    "digits of another script": ({"SIZE": "\u0663"}, Peer(size=True)),
    "limits": ({"LIMITS": "MAILMAX=20 rcptmax=100 X"}, Peer(recipients_max=100, transactions_max=20)),
    "limits that are none": ({"LIMITS": "RCPTMAX MAILMAX=-1 RCPTDOMAINMAX=0"}, NONE),
    "a limit of domains": ({"LIMITS": "RCPTDOMAINMAX=3"}, Peer(transactions_max=3, counts_domains=True)),
    "more domains than transactions": (
        {"LIMITS": "MAILMAX=2 RCPTDOMAINMAX=3"},
        Peer(transactions_max=2, counts_domains=True),
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_what_a_peer_offers(name: str) -> None:
    extensions, peer = PEERS[name]
    assert Peer.read(extensions) == peer


def test_outcomes_are_sorted_by_reply() -> None:
    good = RecipientReply("b@b.example", Reply(250, "2.0.0", ("Ok",)))
    later = RecipientReply("c@b.example", Reply(452, "4.5.3", ("Later",)))
    never = RecipientReply("d@b.example", Reply(550, "5.1.1", ("Unknown",)), local=True)
    outcome = TransactionResult([later, good, never])
    assert outcome.accepted == [good]
    assert outcome.refused == [later, never]


def test_where_mail_came_from_is_told_to_a_node_and_to_nobody_else() -> None:
    sent = transaction("a@b.example", origin="eyJ9")
    node = Peer.read({"XGATEPOST": ""})
    assert compose(sent, node).lines[0].endswith(b"> XGATEPOST=eyJ9\r\n")
    refused = compose(sent, Peer.read({}))
    assert refused.lines == []
    assert refused.local[0].text.startswith("450 4.3.5 The next hop is not a node of this site")
