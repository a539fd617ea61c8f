"""Proves that a next hop which breaks the protocol harms nothing: its mail waits, everybody else's goes on.

Endless and malformed replies, replies that nobody asked for, plaintext slipped in behind STARTTLS, answers at the wrong
place, silence: each ends in one clear row of the trace, in bounded memory, and never in a message counted as delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message, outcomes, send
from support.script import Script
from support.siege import MEGABYTE

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Behaviour, Sink
from gatepost.values import replace

HELLO = b"250-script.example\r\n"
STARTTLS = HELLO + b"250 STARTTLS\r\n"


@dataclass(frozen=True, slots=True)
class Partner:
    """said, cuts: as `Script` takes them. event, code: how the message ends. last: the last command it was sent."""

    said: Mapping[str, bytes | Iterable[bytes]]
    event: str
    code: str
    last: str
    cuts: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


BROKEN = "450 4.5.0"
PARTNERS = {
    "greeting without end": Partner({"": [b"220 " + b"x" * MEGABYTE] * 20}, "DEFER", BROKEN, ""),
    "greeting of endless lines": Partner({"": [b"220-again\r\n" * 100_000] * 20}, "DEFER", BROKEN, ""),
    "greeting of garbage": Partner({"": bytes(range(256)) * 10 + b"\r\n"}, "DEFER", BROKEN, ""),
    "greeting with two codes": Partner({"": b"220-script.example\r\n250 Ready\r\n"}, "DEFER", BROKEN, ""),
    "greeting 999": Partner({"": b"999 Ready\r\n"}, "DEFER", BROKEN, ""),
    "greeting with a bare LF": Partner({"": b"220 script.example\n"}, "DEFER", "450 4.", ""),
    "greeting 354": Partner({"": b"354 Go ahead\r\n"}, "DEFER", BROKEN, ""),
    "no greeting, closed": Partner({"": b""}, "DEFER", "450 4.4.318", "", ("",)),
    "two greetings": Partner({"": b"220 script.example\r\n250 Ok\r\n"}, "DEFER", BROKEN, ""),
    "EHLO answered without end": Partner({"EHLO": [b"250-KEYWORD\r\n" * 100_000] * 20}, "DEFER", BROKEN, "EHLO"),
    "EHLO answered with controls": Partner(
        {"EHLO": HELLO + b"250-\x07\x1b[31mX\r\n250 8BITMIME\r\n"}, "SEND", "250", ""
    ),
    "EHLO answered with a size too small": Partner({"EHLO": HELLO + b"250 SIZE 10\r\n"}, "FAIL", "552 5.3.4", ""),
    "EHLO answered with a size that is none": Partner(
        {"EHLO": HELLO + b"250 SIZE 99999999999999999999999\r\n"}, "SEND", "250", ""
    ),
    "plaintext behind STARTTLS": Partner(
        {"EHLO": STARTTLS, "STARTTLS": b"220 2.0.0 Go\r\n250-injected\r\n250 8BITMIME\r\n"},
        "DEFER", "450 4.4.317", "STARTTLS",
    ),
    "STARTTLS answered 250": Partner({"EHLO": STARTTLS, "STARTTLS": b"250 Ok\r\n"}, "DEFER", "450 4.4.317", ""),
    "STARTTLS answered 502": Partner({"EHLO": STARTTLS, "STARTTLS": b"502 No\r\n"}, "DEFER", "450 4.4.317", ""),
    "MAIL answered 354": Partner({"MAIL": b"354 Go ahead\r\n"}, "DEFER", BROKEN, ""),
    "RCPT answered 354": Partner({"RCPT": b"354 Go ahead\r\n"}, "DEFER", BROKEN, ""),
    "RCPT answered twice": Partner({"RCPT": b"250 Ok\r\n250 Ok\r\n"}, "DEFER", BROKEN, ""),
    "DATA answered 250": Partner({"DATA": b"250 Ok\r\n"}, "DEFER", BROKEN, ""),
    "the end answered 354": Partner({".": b"354 More\r\n"}, "DEFER", BROKEN, ""),
    "the end answered and cut": Partner({".": b"250 Stored\r\n"}, "SEND", "250", "", (".",)),
    "half an answer to the end": Partner({".": b"250-Sto"}, "DEFER", "450 4.4.318", "", (".",)),
    "a refusal of ten thousand lines": Partner(
        {"RCPT": b"550-5.1.1 No\r\n" * 10_000 + b"550 5.1.1 No\r\n"}, "DEFER", BROKEN, ""
    ),
    "a refusal with controls": Partner(
        {"RCPT": b"550 5.1.1 \x1b[31mNo\x00\xff\xc3\xbc\r\n"}, "FAIL", "550 5.1.1", ""
    ),
    "a refusal of 1,000 octets": Partner({"RCPT": b"550 5.1.1 " + b"n" * 1000 + b"\r\n"}, "FAIL", "550 5.1.1 nnn", ""),
}  # fmt: skip

# Where a partner falls silent, each wait of that gateway's settings being a second. The others have time to answer.
SILENT = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."]
WAITS = ("connect", "greeting", "hello", "handshake", "envelope", "data", "block", "end")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, Script]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Script(one.said, cuts=one.cuts)) for name, one in PARTNERS.items()}


@pytest.fixture(scope="module")
def besieged(scripts: dict[str, Script]) -> Iterator[Gateway]:
    """A gateway with a connector for each partner of the first table."""
    connectors = [connector(_domain(name), script.address) for name, script in scripts.items()]
    with Gateway(contoso(outbound=connectors), settings=_waits("15s")) as running:
        yield running


def _waits(seconds: str) -> dict[str, Any]:
    return {"outbound": {f"{name}_timeout": seconds for name in WAITS}}


@pytest.fixture(scope="module")
def events(besieged: Gateway) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    send(besieged.port, "ann@contoso.example")
    before = besieged.resident()
    wanted = {_recipient(name): one.event for name, one in PARTNERS.items()}
    for recipient in wanted:
        send(besieged.port, recipient)
    found = outcomes(besieged, wanted)
    assert besieged.resident() - before < 64 * MEGABYTE
    return found


@pytest.mark.parametrize("name", PARTNERS)
def test_a_partner_that_breaks_the_protocol(
    besieged: Gateway, scripts: dict[str, Script], events: dict[str, dict[str, Any]], name: str
) -> None:
    case = PARTNERS[name]
    event = events[_recipient(name)]
    assert event["reply"].startswith(case.code), event
    assert event["reply"].isascii()
    assert event["reply"].isprintable()
    assert len(event["reply"]) < 4096
    if case.last:
        assert scripts[name].verbs[-1] == case.last
    if case.event == "DEFER":
        (entry,) = besieged.cli("queue", "list", "--recipient", _recipient(name), json=True).data
        assert entry["last_error"].isprintable()
    if case.code == "450 4.4.317":
        assert event["result_type"] == "validation-failure"
        assert "MAIL" not in scripts[name].verbs


@pytest.fixture(scope="module")
def given_up() -> Iterator[dict[str, dict[str, Any]]]:
    """The row of the trace that tells what became of a message to a partner that falls silent, by where it does."""
    with ExitStack() as stack:
        connectors = []
        for point in SILENT:
            behaviour = Behaviour(holds=frozenset({point}), extensions=("PIPELINING",))
            sink = stack.enter_context(Sink(behaviour=behaviour))
            connectors.append(connector(_domain(f"silent {point}"), sink.address))
        impatient = stack.enter_context(Gateway(contoso(outbound=connectors), settings=_waits("1s")))
        for point in SILENT:
            send(impatient.port, _recipient(f"silent {point}"))
        rows = outcomes(impatient, {_recipient(f"silent {point}"): "DEFER" for point in SILENT})
        yield {point: rows[_recipient(f"silent {point}")] for point in SILENT}


@pytest.mark.parametrize("point", SILENT)
def test_a_partner_that_falls_silent(given_up: dict[str, dict[str, Any]], point: str) -> None:
    assert given_up[point]["reply"].startswith("450 4.4.315 Connection timed out")


def test_others_are_served_meanwhile(besieged: Gateway, events: dict[str, dict[str, Any]]) -> None:
    send(besieged.port, "ann@contoso.example", content=message("after the siege"))
    assert "after the siege" in [mail.field("Subject") for mail in besieged.wait_maildir("ann@contoso.example", 2)]
    failed = [one for one in PARTNERS.values() if one.event == "FAIL"]
    mails = besieged.wait_maildir(ALICE, len(failed))  # each a moment after the row that says why
    notices = [mail for mail in mails if mail.field("Return-Path") == "<>"]
    assert len(notices) == len(failed)
    for notice in notices:
        assert b"\x1b" not in notice.raw
        assert b"\0" not in notice.raw


def _domain(name: str) -> str:
    words = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return f"{words.strip('-')}.example"


def _recipient(name: str) -> str:
    return f"bob@{_domain(name)}"


def test_mail_for_a_server_with_hundreds_of_certificates_waits(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, tmp_path: Path
) -> None:
    """Each takes 2 KB of the gateway's memory for as long as the connection lasts."""
    leaf, long = pki.leaf("mx.partner.example"), tmp_path / "long.pem"
    long.write_bytes(leaf.chain.read_bytes() + pki.root.read_bytes() * 31)
    partner = sink(certificate=replace(leaf, chain=long))
    server = gateway(contoso(outbound=[connector("b.example", partner.address)]))
    send(server.port, "bob@b.example")
    (event,) = server.wait_trace(recipient="bob@b.example", event="DEFER")
    assert "the peer sent 33 certificates, at most 32 are taken" in event["reply"]
