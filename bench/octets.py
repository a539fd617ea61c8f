"""Measure what the octets of a large message cost between network and disk: TLS, and reading and writing content.

    .venv/bin/python bench/octets.py [--megabytes N] [--rounds N]

In memory, as one worker does it: each read of a size is decrypted, unstuffed and checked, and what came out is
forgotten half a megabyte later. On the way out each piece of that size is stuffed and encrypted. CPU time of this
thread in milliseconds for a message of 10 MB, the least of all rounds; sizes take turns.
"""

from __future__ import annotations

import argparse
import base64
import random
import time

from tls_resumption import DEFAULT, identity

from gatepost.net.engine import Engine, client_context, server_context
from gatepost.protocols.smtp.client.sending import DotStuffer
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.server.events import ChunkEvent
from gatepost.protocols.smtp.server.server import Server

SIZES = (16384, 65536, 131072, 262144)
PARTS = ("decrypting", "reading", "stuffing", "encrypting")
KEPT = 512 * 1024


def texts(octets: int) -> dict[str, bytes]:
    """Bodies: an attachment in base64, and prose with a dot at the end of each paragraph."""
    chosen = random.Random(7)  # noqa: S311 - no secret
    attachment = base64.encodebytes(chosen.randbytes(octets * 3 // 4)).replace(b"\n", b"\r\n")
    words = [b"mail", b"waits", b"in", b"the", b"queue", b"while", b"a", b"gateway", b"reads"]
    lines = (b" ".join(chosen.choices(words, k=12)) + b".\r\n" for _ in range(octets // 60))
    return {"attachment": attachment[:octets], "prose": b"".join(lines)[:octets]}


def session() -> tuple[Engine, Engine]:
    """A client and a server that have shaken hands."""
    ours = server_context([identity("ECDSA P-256")], DEFAULT, ask_client_certificate=False).engine()
    theirs = client_context(DEFAULT).engine()
    theirs.start()
    while ours.facts is None or theirs.facts is None:
        ours.feed(theirs.take_output())
        theirs.feed(ours.take_output())
    return theirs, ours


def receiving() -> Server:
    """A server that waits for content."""
    limits = SmtpLimits(message_bytes=1 << 30)
    server = Server("mx.example", Extensions.within(limits, starttls=False), limits, lambda: "")
    server.greet()
    server.receive(b"EHLO c.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
    while server.next_event() is not None:
        server.accept()
    return server


def measure(body: bytes, size: int) -> tuple[float, ...]:
    """Seconds of each part."""
    theirs, ours = session()
    server, stuffer = receiving(), DotStuffer()
    tls = smtp = stuffing = encrypting = 0.0
    flights: list[bytes] = []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        begun = time.thread_time()
        piece = stuffer.encode(piece)
        between = time.thread_time()
        flights.append(theirs.send(piece))
        encrypting += time.thread_time() - between
        stuffing += between - begun
    wire = memoryview(b"".join(flights))
    kept: list[bytes] = []
    for at in range(0, len(wire), size):
        begun = time.thread_time()
        plaintext = ours.feed(wire[at : at + size])
        between = time.thread_time()
        server.receive(plaintext)
        while (event := server.next_event()) is not None:
            assert isinstance(event, ChunkEvent)  # noqa: S101 - the session is in the midst of content
            kept.append(event.data)
        smtp += time.thread_time() - between
        tls += between - begun
        if len(kept) * size > KEPT:
            kept.clear()
    return tls, smtp, stuffing, encrypting


def main() -> None:
    """Print a row for each body and size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    bodies = texts(arguments.megabytes << 20)
    least: dict[tuple[str, int], tuple[float, ...]] = {}
    for _ in range(arguments.rounds):
        for name, body in bodies.items():
            for size in SIZES:
                took = measure(body, size)
                least[name, size] = tuple(map(min, least.get((name, size), took), took))
    for (name, size), parts in least.items():
        scale = 10_000 / arguments.megabytes
        figures = "  ".join(f"{part} {took * scale:6.2f}" for part, took in zip(PARTS, parts, strict=True))
        print(f"{name:12} read by {size:7}: {figures}")


if __name__ == "__main__":
    main()
