"""Transactions as dialogues: dialogues.toml has them, here they are played and cut in every way."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.client_events import (
    BodyWanted,
    Closed,
    Greeting,
    HelloDone,
    ResetDone,
    TransactionDone,
)
from gatepost.protocols.smtp.client.reply_parser import ProtocolError
from gatepost.protocols.smtp.client.sending import DotStuffer
from gatepost.protocols.smtp.client.transaction import MailTransaction, TransactionResult
from gatepost.protocols.smtp.replies import Reply


@dataclass(frozen=True)
class Dialogue:
    """One transaction, see the head of dialogues.toml."""

    offers: list[str]
    script: str
    outcome: list[str]
    after: str = "usable"
    recipients: Sequence[str] = ("b@b.example",)
    first: str | bool = "Hi"
    last: bool = True
    lmtp: bool = False
    body_type: str = "7BIT"
    mail: int = 250
    data: int = 0


with Path(__file__).with_name("dialogues.toml").open("rb") as source:
    DIALOGUES = {name: Dialogue(**fields) for name, fields in tomllib.load(source).items()}


def connected(offers: Sequence[str], *, lmtp: bool = False) -> Client:
    client = Client("mx.a.example", lmtp=lmtp)
    assert client.receive(b"220 ready\r\n") == [Greeting(Reply(220, "", ("ready",)))]
    client.hello()
    client.take_output()
    lines = ["250-mx.b.example", *(f"250-{offer}" for offer in offers), "250 HELP", ""]
    assert isinstance(client.receive("\r\n".join(lines).encode())[0], HelloDone)
    return client


class Player:
    """Plays a script against a client; `cut` says how the peer's bytes are split."""

    def __init__(self, dialogue: Dialogue, client: Client, cut: list[int]) -> None:
        self.dialogue = dialogue
        self.client = client
        self.cut = cut
        self.events: list[object] = []

    def play(self) -> None:
        dialogue, client = self.dialogue, self.client
        sent = MailTransaction(
            "a@a.example", [(to, "", "") for to in dialogue.recipients], body_type=dialogue.body_type
        )
        client.begin(
            sent, self.content(dialogue.first) if isinstance(dialogue.first, str) else None, last=dialogue.last
        )
        steps = [line.strip().partition(":") for line in dialogue.script.strip().splitlines()]
        for word, group in itertools.groupby(steps, key=lambda step: step[0]):
            if word == "S":
                assert client.take_output() == b"", "more than the script says"
            self.step(word, [text.removeprefix(" ") for _, _, text in group])
        assert client.take_output() == b""

    def step(self, word: str, texts: list[str]) -> None:
        if word == "C":
            assert self.client.take_output().decode() == "".join(text + "\r\n" for text in texts)
        elif word == "S":
            self.hear("".join(text + "\r\n" for text in texts).encode())
        elif word == "wanted":
            assert self.events.pop() == BodyWanted()
            assert self.client.wants_body
        else:
            for text in texts:
                self.client.chunk(self.content(text) if text else b"", last=word == "last")

    def hear(self, data: bytes) -> None:
        edges = sorted({0, len(data), *(cut for cut in self.cut if cut < len(data))})
        for begin, end in itertools.pairwise(edges):
            try:
                self.events += self.client.receive(data[begin:end])
            except ProtocolError:
                assert self.client.failure is not None

    @staticmethod
    def content(text: str) -> bytes:
        return text.encode() + b"\r\n"


def described(outcome: TransactionResult) -> list[str]:
    return ["local " * each.local + each.reply.text for each in outcome.recipients]


def check(dialogue: Dialogue, player: Player) -> None:
    done = player.events[0]
    assert isinstance(done, TransactionDone)
    assert described(done.outcome) == dialogue.outcome
    assert [each.address for each in done.outcome.recipients] == list(dialogue.recipients)
    assert (done.outcome.mail_reply.code if done.outcome.mail_reply else 0) == dialogue.mail
    assert (done.outcome.data_reply.code if done.outcome.data_reply else 0) == dialogue.data
    closed = [event for event in player.events[1:] if isinstance(event, Closed)]
    assert len(closed) == len(player.events) - 1 == (dialogue.after == "closed")


def check_after(dialogue: Dialogue, client: Client) -> None:
    assert client.closed is (dialogue.after == "closed")
    assert (client.failure is not None) is (dialogue.after == "broken")
    assert client.usable is (dialogue.after in {"usable", "reset"})
    if client.usable:
        client.begin(MailTransaction("", [("x@b.example", "", "")]), b"", last=True)
        assert client.take_output().startswith(b"RSET\r\n" if dialogue.after == "reset" else b"MAIL")
    else:
        with pytest.raises(ProtocolError):
            client.begin(MailTransaction("", [("x@b.example", "", "")]), b"", last=True)


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    dialogue = DIALOGUES[name]
    player = Player(dialogue, connected(dialogue.offers, lmtp=dialogue.lmtp), [])
    player.play()
    check(dialogue, player)
    check_after(dialogue, player.client)


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue_octet_by_octet(name: str) -> None:
    dialogue = DIALOGUES[name]
    player = Player(dialogue, connected(dialogue.offers, lmtp=dialogue.lmtp), list(range(1000)))
    player.play()
    check(dialogue, player)


@given(st.sampled_from(sorted(DIALOGUES)), st.lists(st.integers(1, 160), max_size=8))
def test_any_split_gives_the_same_events(name: str, cut: list[int]) -> None:
    dialogue = DIALOGUES[name]
    player = Player(dialogue, connected(dialogue.offers, lmtp=dialogue.lmtp), cut)
    player.play()
    check(dialogue, player)


@pytest.mark.parametrize("name", [name for name in DIALOGUES if DIALOGUES[name].after == "usable"])
def test_one_connection_takes_many_transactions(name: str) -> None:
    dialogue = DIALOGUES[name]
    client = connected(dialogue.offers, lmtp=dialogue.lmtp)
    for _ in range(3):
        player = Player(dialogue, client, [])
        player.play()
        check(dialogue, player)


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_connection_lost_at_any_reply_ends_the_transaction_once(name: str) -> None:
    dialogue = DIALOGUES[name]
    replies = dialogue.script.count("S:")
    for heard in range(replies):
        client = connected(dialogue.offers, lmtp=dialogue.lmtp)
        lines = dialogue.script.strip().splitlines()
        last = [at for at, line in enumerate(lines) if line.strip().startswith("S:")][heard]
        cut_short = Dialogue(**{**vars(dialogue), "script": "\n".join(lines[:last])})
        player = Player(cut_short, client, [])
        player.play()
        events = [*player.events, *client.lost()]
        outcomes = [event.outcome for event in events if isinstance(event, TransactionDone)]
        assert len(outcomes) == 1
        assert len(outcomes[0].recipients) == len(dialogue.recipients)
        assert client.lost() == []


def after_reset(offers: Sequence[str]) -> Client:
    """A client whose peer has a transaction open that is over for us."""
    client = connected(offers)
    name = "DATA refused" if offers else "lock step, no recipient"
    player = Player(DIALOGUES[name], client, [])
    player.play()
    return client


def test_what_is_open_at_the_peer_is_reset_in_the_same_flight() -> None:
    client = after_reset(["PIPELINING"])
    client.begin(MailTransaction("", [("x@b.example", "", "")]), b"", last=True)
    assert client.take_output() == b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<x@b.example>\r\nDATA\r\n"
    assert client.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n") == []
    assert client.take_output() == b".\r\n"
    (done,) = client.receive(b"250 2.0.0 Queued\r\n")
    assert isinstance(done, TransactionDone)
    assert described(done.outcome) == ["250 2.0.0 Queued"]


def test_what_is_open_at_the_peer_is_reset_in_lock_step() -> None:
    client = after_reset([])
    client.begin(MailTransaction("", [("x@b.example", "", "")]), b"", last=True)
    assert client.take_output() == b"RSET\r\n"
    assert client.receive(b"250 ok\r\n") == []
    assert client.take_output() == b"MAIL FROM:<>\r\n"


def test_a_reset_between_transactions_is_enough() -> None:
    client = after_reset(["PIPELINING"])
    client.reset()
    assert client.take_output() == b"RSET\r\n"
    assert client.receive(b"250 ok\r\n") == [ResetDone(Reply(250, "", ("ok",)))]
    client.begin(MailTransaction("", [("x@b.example", "", "")]), b"", last=True)
    assert client.take_output().startswith(b"MAIL FROM:<>\r\n")


def test_in_lock_step_a_chunk_waits_for_the_reply_to_the_one_before() -> None:
    client = connected(["CHUNKING", "8BITMIME", "BINARYMIME"])
    client.begin(MailTransaction("", [("x@b.example", "", "")], body_type="BINARYMIME"))
    client.receive(b"250 a\r\n")
    client.receive(b"250 b\r\n")
    client.take_output()
    client.chunk(b"x", last=False)
    client.chunk(b"y", last=False)
    assert client.is_behind
    assert client.take_output() == b"BDAT 1\r\nx"
    client.receive(b"250 x\r\n")
    assert not client.is_behind
    assert client.take_output() == b"BDAT 1\r\ny"


def stuffed(*chunks: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([stuffer.encode(chunk) for chunk in chunks]) + stuffer.finish()


def reference(message: bytes) -> bytes:
    """Line by line, as RFC 5321 section 4.5.2 tells it."""
    if message and not message.endswith(b"\r\n"):
        message += b"\r\n"
    lines = message.split(b"\r\n")[:-1]
    return b"".join(b"." + line + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines) + b".\r\n"


def received(wire: bytes) -> bytes:
    """What a server keeps of the wire form: everything before the first CRLF.CRLF, the doubled dots made single."""
    content, end, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert (end, rest) == (b"\r\n.\r\n", b"")
    return (content + b"\r\n")[2:].replace(b"\r\n.", b"\r\n").removeprefix(b".")


CASES: dict[str, tuple[bytes, bytes]] = {
    "empty": (b"", b".\r\n"),
    "a line": (b"a\r\n", b"a\r\n.\r\n"),
    "no CRLF at the end": (b"a", b"a\r\n.\r\n"),
    "a dot at the beginning": (b".a\r\n", b"..a\r\n.\r\n"),
    "a dot at a line's beginning": (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
    "a lone dot": (b"a\r\n.\r\n", b"a\r\n..\r\n.\r\n"),
    "two dots": (b"..\r\n", b"...\r\n.\r\n"),
    "lines of dots": (b".\r\n.\r\n.", b"..\r\n..\r\n..\r\n.\r\n"),
    "a dot within a line": (b"a.b\r\nc.\r\n", b"a.b\r\nc.\r\n.\r\n"),
    "a dot after a bare LF": (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),
    "a dot after a bare CR": (b"a\r.b\r\n", b"a\r.b\r\n.\r\n"),
    "a bare CR at the end": (b"a\r", b"a\r\r\n.\r\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_wire_form(name: str) -> None:
    message, wire = CASES[name]
    assert stuffed(message) == wire


@pytest.mark.parametrize("name", CASES)
def test_every_way_to_cut_it_gives_the_same(name: str) -> None:
    message, wire = CASES[name]
    for count in range(3):
        for cuts in itertools.combinations(range(len(message) + 1), count):
            edges = [0, *cuts, len(message)]
            assert stuffed(*(message[a:b] for a, b in itertools.pairwise(edges))) == wire
    assert stuffed(*(message[at : at + 1] for at in range(len(message)))) == wire


def test_a_chunk_without_dots_is_not_copied() -> None:
    chunk = b"Subject: x\r\n\r\nhello\r\n" * 100
    assert DotStuffer().encode(chunk) is chunk


ALPHABET = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\r\n."]), max_size=24).map(b"".join)


@given(st.lists(ALPHABET, max_size=6))
def test_chunks_agree_with_the_reference(chunks: list[bytes]) -> None:
    assert stuffed(*chunks) == reference(b"".join(chunks))


@given(ALPHABET)
def test_round_trip(message: bytes) -> None:
    kept = received(stuffed(message))
    assert kept == (message if not message or message.endswith(b"\r\n") else message + b"\r\n")
