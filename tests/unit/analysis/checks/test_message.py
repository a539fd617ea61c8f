from __future__ import annotations

import asyncio
from email import message_from_bytes
from typing import Any

from gatepost.analysis.checks.message import TestMessage, send
from gatepost.analysis.checks.tasks import Task, TaskStatus
from gatepost.policy.decisions.requirement import Encrypted, Source
from gatepost.policy.decisions.routes import NextHop


def test_its_lines_are_short_and_plain() -> None:
    recipients = tuple(f"recipient-{number}@b.example" for number in range(20))
    made = TestMessage("postmaster@contoso.example", recipients, "connector 'Zürich\r\nBcc: x' of contoso", "mx", 0.0)
    content = made.content()
    assert content.isascii()
    assert max(len(line) for line in content.split(b"\r\n")) < 120
    message = message_from_bytes(content)
    assert message["Bcc"] is None
    assert "Z?rich Bcc: x" in message["Subject"].replace("\r\n ", " ")
    assert message["To"].count("@") == 20
    assert content.count(b"\n") == content.count(b"\r\n")


def test_each_has_an_id_of_its_own() -> None:
    made = TestMessage("a@contoso.example", ("b@b.example",), "connector", "mx.contoso.example", 0.0)
    first, second = (message_from_bytes(made.content())["Message-ID"] for _ in range(2))
    assert first != second
    assert first.endswith("@mx.contoso.example>")


def test_addresses_beyond_ascii() -> None:
    made = TestMessage("bü@contoso.example", ("b@b.example",), "connector", "mx", 0.0)
    assert not made.is_ascii
    assert "bü@contoso.example".encode() in made.content()
    assert TestMessage("b@contoso.example", ("b@b.example",), "connector", "mx", 0.0).is_ascii


def test_a_connection_that_ended_meanwhile(probing: Any, kit: Any, world: Any) -> None:
    """The partner hangs up while slower hosts are still being tried."""
    made = TestMessage("a@contoso.example", ("b@b.example",), "connector", "mx", 0.0)

    async def run() -> Task:
        kept: list[Any] = []
        async with kit.Peer(tls=world.identity("mx.b.example")) as peer:
            hop = NextHop("mx.b.example", peer.port, Encrypted((Source("connector", "out"),)))
            await probing.prober().probe(hop, keep=lambda _, opened: kept.append(opened))
            peer.connections[0].stream.close()
            await asyncio.sleep(0.05)
            return await send(made, kept[0])

    task = asyncio.run(run())
    assert task.status is TaskStatus.FAILED
    assert "4.4.318" in task.detail
    assert "validate again" in task.advice
