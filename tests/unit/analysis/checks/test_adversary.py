"""The far end of a drill writes down what it is given, no more and no less: the drill is as true as this."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.analysis.checks.adversary import Adversary, Publisher, StartTls
from gatepost.net import dial
from gatepost.net.engine import client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.protocols.tls.profile import PROFILES

MARKER = b"5eab0a7d"


class Talker:
    """A client that sends what it is told to, and never minds."""

    def __init__(self):
        self.heard = b""
        self.facts = None
        self.gone = asyncio.Event()

    def received(self, data):
        self.heard += data

    def secured(self, facts):
        self.facts = facts

    def lost(self, _loss):
        self.gone.set()


@pytest.fixture(scope="module")
def tls():
    identity = ServerIdentity(*Authority("Root").issue(["mx.b.example"]))
    return server_context([identity], PROFILES["legacy"], ask_client_certificate=True)


async def calm(adversary, talker):
    """Return when neither side has heard anything in ten turns of the loop."""
    quiet, before = 0, None
    while quiet < 10:
        await asyncio.sleep(0.005)
        seen = adversary._seen
        now = (talker.heard, talker.facts, talker.gone.is_set(), seen.clear.octets, seen.tls.octets, seen.transcript[:])
        quiet, before = quiet + 1 if now == before else 0, now


def talk(starttls, tls, *flights, quit_at_end=True):
    """Send flights one after the other ("TLS" begins the handshake); what the far end saw, and what it said."""

    async def run():
        async with Adversary(starttls, tls, marker=MARKER) as adversary:
            stream = await dial.connect("127.0.0.1", adversary.port, timeout=5)
            talker = Talker()
            stream.attach(talker)
            for flight in flights:
                if flight == "TLS":
                    stream.start_tls(client_context(PROFILES["default"]), server_name="mx.b.example")
                else:
                    stream.write(flight)
                await calm(adversary, talker)
            if quit_at_end:
                stream.write(b"QUIT\r\n")
                await calm(adversary, talker)
            stream.close()
            seen = await adversary.take()
            return seen, talker

    return asyncio.run(run())


LEAKS = [
    # flights, (mail, rcpt, data, content octets, marker)
    ([b"EHLO gate.example\r\n"], (0, 0, 0, 0, False)),
    ([b"MAIL FROM:<>\r\n"], (1, 0, 0, 0, False)),
    ([b"mail from:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nrcpt to:<e@d.example>\r\n"], (1, 2, 0, 0, False)),
    ([b"MAIL FROM:<", b"drill-5eab", b"0a7d@b.example>\r\n"], (1, 0, 0, 0, True)),
    ([b"DATA\r\n", b"Subject: x\r\n\r\n..\r\n.\r\n"], (0, 0, 1, 18, False)),
    ([b"DATA\r\n.\r\n"], (0, 0, 1, 0, False)),
    ([b"DATA\r\nabc"], (0, 0, 1, 3, False)),
    ([b"BDAT 5\r\nabcde", b"BDAT 3 LAST\r\nf\r\n"], (0, 0, 2, 8, False)),
    ([b"BDAT 0 LAST\r\n"], (0, 0, 1, 0, False)),
    ([b"BDAT 100 LAST\r\nno more"], (0, 0, 1, 7, False)),
    ([b"x 5eab0a7d\r\n"], (0, 0, 0, 0, True)),
    ([b"5eab0a7d without an end"], (0, 0, 0, 0, True)),
]


@pytest.mark.parametrize(("flights", "counted"), LEAKS)
def test_what_is_given_in_clear_is_counted(flights, counted):
    seen, _ = talk(StartTls.STRIPPED, None, *flights, quit_at_end=False)
    clear = seen.clear
    assert (clear.mail, clear.rcpt, clear.data, clear.content_octets, clear.marker_found) == counted
    assert clear.octets == sum(map(len, flights))
    assert seen.leaked == any(counted)
    assert (seen.mail, seen.octets) == (counted[0], counted[3])
    assert not seen.tls.leaked


def test_what_is_given_under_tls_is_counted_apart(tls):
    seen, talker = talk(
        StartTls.GIVEN,
        tls,
        b"EHLO gate.example\r\n",
        b"STARTTLS\r\n",
        "TLS",
        b"EHLO gate.example\r\nMAIL FROM:<a@b.example>\r\nDATA\r\nhello 5eab0a7d\r\n.\r\n",
    )
    assert talker.facts.version == "TLSv1.3"
    assert not seen.clear.leaked
    assert (seen.tls.mail, seen.tls.data, seen.tls.content_octets, seen.tls.marker_found) == (1, 1, 16, True)
    assert bytes(seen.content) == b"hello 5eab0a7d\r\n"
    assert seen.verbs == ["EHLO", "STARTTLS", "handshake", "EHLO", "MAIL", "DATA", "QUIT"]
    assert seen.versions == ["TLSv1.3"]
    assert b"STARTTLS" in talker.heard.split(b"220 2.0.0")[0]
    assert b"STARTTLS" not in talker.heard.split(b"220 2.0.0")[1]


def test_the_transcript_holds_commands_and_never_content(tls):
    seen, _ = talk(StartTls.GIVEN, tls, b"MAIL FROM:<a@b.example>\r\nDATA\r\nsecret\r\n.\r\n\x1b[31m\xff\r\n")
    text = "\n".join(seen.transcript)
    assert text.startswith("< 220 adversary.invalid ESMTP\n> MAIL FROM:<a@b.example>\n< 250 2.1.0 go on\n> DATA\n< 354")
    assert "secret" not in text
    assert "> (8 octets of content so far)" in text
    assert "\\xff" in text


BEHAVIOURS = [
    (StartTls.STRIPPED, b"502 5.5.1", "STARTTLS"),
    (StartTls.REFUSED, b"454 4.7.0", "STARTTLS"),
    (StartTls.BROKEN, b"220 2.0.0 go ahead\r\n500 this is no handshake", "handshake broken"),
    (StartTls.INJECTED, b"220 2.0.0 go ahead\r\n250-adversary.invalid\r\n250 AUTH PLAIN LOGIN\r\n", "STARTTLS"),
    (StartTls.INJECTED_PART, b"220 2.0.0 go ahead\r\n250-adversary.invalid\r\n250-AUTH PLAIN", "STARTTLS"),
]


@pytest.mark.parametrize(("starttls", "answer", "last"), BEHAVIOURS)
def test_what_becomes_of_starttls(tls, starttls, answer, last):
    seen, talker = talk(starttls, tls, b"EHLO gate.example\r\n", b"STARTTLS\r\n", quit_at_end=False)
    assert answer in talker.heard
    assert (b"250 STARTTLS" in talker.heard) == (starttls is not StartTls.STRIPPED)
    assert [verb for verb in seen.verbs if "failed" not in verb][-1] == last
    assert not seen.leaked


def test_a_client_that_goes_on_in_clear_behind_a_broken_handshake_is_caught(tls):
    hello = b"\x16\x03\x01\x00\x05hello"
    seen, _ = talk(StartTls.BROKEN, tls, b"STARTTLS\r\n", hello + b"MAIL FROM:<a@b.example>\r\nDATA\r\nx\r\n.\r\n")
    assert (seen.clear.mail, seen.clear.content_octets) == (1, 3)


def test_a_handshake_that_fails_is_told(tls):
    seen, _ = talk(StartTls.GIVEN, tls, b"STARTTLS\r\n", b"no handshake\r\n", quit_at_end=False)
    assert seen.verbs == ["STARTTLS", "handshake failed"]
    assert any(line.startswith("= the handshake failed: ") for line in seen.transcript)


def test_each_taking_begins_anew_and_connections_that_stay_are_cut():
    async def run():
        async with Adversary(StartTls.STRIPPED, None, marker=MARKER) as adversary:
            stream = await dial.connect("127.0.0.1", adversary.port, timeout=5)
            talker = Talker()
            stream.attach(talker)
            stream.write(b"MAIL FROM:<a@b.example>\r\n")
            first = await adversary.take()  # which waits for the end, in vain
            async with asyncio.timeout(20):
                await talker.gone.wait()
            return first, await adversary.take()

    first, second = asyncio.run(run())
    assert (first.connections, first.mail) == (1, 1)
    assert (second.connections, second.mail, second.transcript) == (0, 0, [])


def test_what_is_kept_of_one_connection_is_bounded():
    seen, _ = talk(StartTls.STRIPPED, None, b"DATA\r\n", b"x" * (1 << 20), b"y" * 100, quit_at_end=False)
    assert (1 << 20) < seen.clear.octets < (1 << 21)
    assert len(seen.transcript) <= 200


def test_the_record_has_numbers_words_and_lines_only():
    seen, _ = talk(StartTls.STRIPPED, None, b"EHLO gate.example\r\nMAIL FROM:<>\r\n")
    record = seen.record()
    assert record["in_clear"] == {
        "octets": 39,
        "auth": 0,
        "mail": 1,
        "rcpt": 0,
        "data": 0,
        "content_octets": 0,
        "marker_found": False,
    }
    assert record["verbs"] == ["EHLO", "MAIL", "QUIT"]
    assert record["transcript"][-1] == "= the connection ended: closed"


def test_a_secret_counts_as_leaked():
    seen, _ = talk(StartTls.STRIPPED, None, b"EHLO gate.example\r\nAUTH PLAIN AHUAcA==\r\n")
    assert (seen.clear.auth, seen.leaked) == (1, True)


def test_lists_are_published_on_loopback():
    async def ask(port, request):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def run():
        async with Publisher() as publisher:
            publisher.files["/root.crl"] = b"DER"
            assert publisher.url("/root.crl") == f"http://127.0.0.1:{publisher.port}/root.crl"
            found = await ask(publisher.port, b"GET /root.crl HTTP/1.1\r\nHost: x\r\n\r\n")
            missing = await ask(publisher.port, b"GET /other HTTP/1.1\r\n\r\n")
            nonsense = await ask(publisher.port, b"\r\n\r\n")
            return found, missing, nonsense, publisher.requested

    found, missing, nonsense, asked = asyncio.run(run())
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(b"\r\n\r\nDER")
    assert missing.startswith(b"HTTP/1.1 404 ")
    assert nonsense.startswith(b"HTTP/1.1 404 ")
    assert asked == ["/root.crl", "/other", ""]
