from __future__ import annotations

import asyncio
from typing import Any

from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.outbound.content import ContentNotReady, ContentSteps
from gatepost.policy.decisions.routes import MailboxRoute
from gatepost.protocols.smtp.replies import Reply


class Stamp:
    """A step that puts a field before the message, or raises what it was given."""

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        self.name = name
        self.failure = failure
        self.seen: list[Any] = []

    async def apply(self, outgoing: Any, body: Any) -> tuple[Any, dict[str, Any]]:
        self.seen.append(outgoing)
        if self.failure is not None:
            raise self.failure
        return body.prepended(f"{self.name}: 1\r\n".encode()), {self.name.lower(): "done"}


def deliver(world: Any, peer: Any, given: Any, *steps: Stamp) -> Any:
    async def run() -> Any:
        async with peer:
            world.settings["content"] = ContentSteps(*steps)
            try:
                return await world.build(mx_port=peer.port).deliver(given)
            finally:
                world.pool.close()

    return asyncio.run(run())


def test_steps_are_taken_in_order_and_told_of(world: Any, kit: Any) -> None:
    peer = kit.Peer()
    world.bodies.bodies[7] = kit.BODY
    for body in (kit.BODY, None):
        first = Stamp("X-First")
        outcome = deliver(world, peer, kit.delivery(body=body, size=len(kit.BODY)), first, Stamp("X-Second"))
        (result,) = outcome.results
        assert result.disposition is Disposition.DELIVERED
        assert (result.detail["x-first"], result.detail["x-second"]) == ("done", "done")
        received = peer.messages.pop()
        assert received.content == b"X-Second: 1\r\nX-First: 1\r\n" + kit.BODY
        assert f"SIZE={len(received.content)}" in received.mail
        (outgoing,) = first.seen
        assert (outgoing.organization, outgoing.leaves, outgoing.connector) == ("contoso", True, None)


def test_mail_whose_content_is_not_ready_waits_and_nobody_is_called(world: Any, kit: Any) -> None:
    peer = kit.Peer()
    waits = ContentNotReady(Reply(451, "4.7.5", ("A key is missing",)), "the key of contoso cannot be opened")
    outcome = deliver(world, peer, kit.delivery("bob@b.example", "eve@b.example"), Stamp("X-A", waits))
    assert [result.disposition for result in outcome.results] == [Disposition.DEFERRED, Disposition.DEFERRED]
    assert {result.detail["detail"] for result in outcome.results} == {"the key of contoso cannot be opened"}
    assert not outcome.destination_failed
    assert peer.said("EHLO") == 0


def test_a_step_knows_mailboxes_from_hosts_and_which_connector_it_is(world: Any, kit: Any) -> None:
    world.resources["accepted_domain"] = [{"name": "contoso.example"}]
    world.resources["mailbox"] = [{"address": "ann@contoso.example"}]
    peer, seen = kit.Peer(), Stamp("X-A")

    async def run() -> None:
        async with peer:
            world.connector(peer.port)
            world.settings["content"] = ContentSteps(seen)
            deliverer = world.build()
            await deliverer.deliver(kit.delivery("ann@contoso.example"))
            await deliverer.deliver(kit.delivery("bob@b.example"))
            world.pool.close()

    asyncio.run(run())
    inside, away = seen.seen
    assert isinstance(inside.route, MailboxRoute)
    assert (inside.leaves, inside.connector) == (False, None)
    assert (away.leaves, away.connector.name) == (True, "out")
    (file,) = (world.root / "mail").rglob("new/*")
    assert b"\nX-A: 1\n" in file.read_bytes()
