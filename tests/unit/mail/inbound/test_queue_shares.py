from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from gatepost.mail.inbound.queue_shares import QueueShares, QueueSpace
from gatepost.mail.model.queue_share import QueueShare
from gatepost.policy.connectors.directory import Directory
from gatepost.store.interface import StoreBusy

MB = 1 << 20
ANN, STRANGER = "ann@contoso.example", "eve@elsewhere.example"
ONE = '[[organization.a.accepted_domain]]\nname = "a.example"\n'
TWO = ONE + '[[organization.b.accepted_domain]]\nname = "b.example"\n'


class Body:
    def __init__(self, organization: str, bytes_seen: int = 0) -> None:
        self.organization, self.bytes_seen, self.reason = organization, bytes_seen, ""

    def give_up(self, reason: str) -> None:
        self.reason = reason


class Queue:
    """What is counted, the room that is left above a mark of 100 MB, and the time."""

    def __init__(
        self, directory: Directory, *, mark: int = 100, size: int = 0, shared: int = 0, room: float = math.inf
    ) -> None:
        self.held: dict[str, int] = {}
        self.room, self.now, self.counted, self.takes = room, 0.0, 0, 0.0
        self.away = False
        space = QueueSpace(mark * MB, size * MB, shared * MB)
        self.shares = QueueShares(self._count, lambda: self.room * MB, space, lambda: self.now)
        self.shares.use(directory)

    def _count(self) -> dict[str, int]:
        self.counted += 1
        self.now += self.takes
        if self.away:
            raise StoreBusy("away")
        return {name: octets * MB for name, octets in self.held.items()}

    async def look(self, seconds: float = 1.0) -> None:
        """Once, and wait until it was counted."""
        self.now += seconds
        self.shares.look()
        await self.shares._counting.ended()

    def take(self, organization: str, size: int) -> str:
        body = Body(organization)
        reason = self.shares.take(body, size)
        self.shares.kept(body)
        return reason

    def full(self) -> set[str]:
        return {name for name in "abc" if self.shares.refusal(name)}


@pytest.fixture
def two(directory: Callable[[str], Directory]) -> Directory:
    return directory(TWO)


async def test_far_from_the_mark_nothing_is_counted(two: Directory) -> None:
    queue = Queue(two, room=300)
    queue.held = {"a": 5000}
    await queue.look()
    assert (queue.counted, queue.full(), queue.take("a", 900 * MB)) == (0, set(), "")


async def test_near_the_mark_whoever_has_three_times_what_is_free_gets_no_more(two: Directory) -> None:
    queue = Queue(two, room=299)
    queue.held = {"a": 5000, "b": 1}
    await queue.look()
    assert queue.full() == {"a"}
    said = "there are 4.9 GB of mail of a in the queue, which has too little room left: other organizations' mail comes"
    assert queue.shares.refusal("a").startswith(said)
    assert queue.take("a", 1) == queue.shares.refusal("a")
    assert queue.take("b", 200 * MB) == ""
    assert queue.take("b", 100 * MB), "it has most of the rest by now"
    assert queue.take("c", 50 * MB) == ""


async def test_an_organization_that_is_alone_may_have_all(directory: Callable[[str], Directory]) -> None:
    queue = Queue(directory(ONE), room=5)
    queue.held = {"a": 5000}
    await queue.look()
    assert (queue.full(), queue.take("a", 5 * MB), queue.counted) == (set(), "", 0)


async def test_what_was_taken_since_the_count_began_counts(two: Directory) -> None:
    queue = Queue(two, room=200)
    await queue.look()
    assert queue.take("a", 100 * MB) == ""
    queue.held, queue.room = {"a": 100}, 100
    await queue.look(0.5)
    assert queue.counted == 1, "not yet again"
    assert queue.take("a", 50 * MB) == ""
    assert queue.take("a", 2)
    queue.room = 50
    await queue.look(0.1)
    assert queue.full() == {"a"}
    queue.held, queue.room = {"a": 10}, 190
    await queue.look()
    assert (queue.counted, queue.full()) == (2, set())


async def test_what_scanners_refuse_counts_only_as_long_as_they_are_asked(two: Directory) -> None:
    queue = Queue(two, room=200)
    await queue.look()
    spam = [Body("a") for _ in range(3)]
    for body in spam:
        assert queue.shares.take(body, 50 * MB) == ""
    await queue.look(0.5)
    assert queue.take("a", 120 * MB), "it may all be taken"
    for body in spam:
        queue.shares.end(body)
        queue.shares.kept(body)
    await queue.look(0.1)
    assert (queue.full(), queue.take("a", 120 * MB)) == (set(), "")
    await queue.look()
    assert queue.counted == 2
    assert queue.shares._whole == {}


async def test_what_was_counted_counts_where_room_comes_and_goes(two: Directory) -> None:
    queue = Queue(two, room=200)
    queue.held, queue.takes = {"a": 5000}, 3.0
    await queue.look()
    for queue.room in (301, 299):
        await queue.look()
    assert (queue.counted, queue.full()) == (1, {"a"}), "it is not counted again for a minute"
    queue.room = 301
    await queue.look(60.0)
    queue.held, queue.room, queue.away = {}, 299, True
    await queue.look()
    assert queue.full() == set(), "that was long ago"


async def test_a_long_count_is_made_rarely(two: Directory) -> None:
    queue = Queue(two, room=200)
    queue.takes = 3.0
    await queue.look()
    for _ in range(59):
        await queue.look()
    assert queue.counted == 1
    await queue.look()
    await queue.look()
    assert queue.counted == 2


async def test_what_others_take_while_it_is_counted_makes_the_next_count_early(two: Directory) -> None:
    queue = Queue(two, room=200)
    queue.takes, queue.held = 3.0, {"a": 100}
    queue.now += 1.0
    queue.shares.look()
    queue.room = 140
    queue.shares.look()  # the count still runs
    await queue.shares._counting.ended()
    await queue.look()
    assert queue.counted == 2


async def test_on_a_large_disk_who_is_refused_with_less_than_its_mark_is_told_of(two: Directory) -> None:
    """What organizations leave to each other grows with the disk; what is much mail does not."""
    queue = Queue(two, shared=20_000, room=900)
    queue.held = {"a": 4000}
    await queue.look()
    assert queue.full() == {"a"}
    assert [share.organization for share in queue.shares.refused()] == ["a"]


async def test_a_count_is_made_early_where_a_quarter_of_the_room_has_gone(two: Directory) -> None:
    """Other workers have taken it: of whom is not known before."""
    queue = Queue(two, room=200)
    queue.takes, queue.held = 3.0, {"a": 100}
    await queue.look()
    queue.held, queue.room = {"a": 500}, 151
    await queue.look()
    assert (queue.counted, queue.full()) == (1, set())
    queue.room = 149
    await queue.look()
    assert (queue.counted, queue.full()) == (2, {"a"})
    queue.room = 112
    await queue.look()
    queue.room = 0
    await queue.look()
    assert queue.counted == 2, "where nothing is left there is nothing to divide"


async def test_a_count_that_fails_is_made_again_and_nobody_is_refused_for_it(
    two: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(two, room=200)
    queue.held, queue.away = {"a": 5000}, True
    await queue.look()
    assert queue.full() == set()
    assert queue.take("b", 150 * MB) == ""
    assert "whose mail is in the queue" in caplog.text
    queue.away = False
    queue.room = 50
    await queue.look(9.0)
    assert (queue.counted, queue.full()) == (1, {"b"}), "what was taken is known without it"
    queue.held = {"a": 5000, "b": 15}
    await queue.look()
    assert queue.full() == {"a"}


async def test_a_queue_with_a_size_is_divided_whatever_the_disk_says(two: Directory) -> None:
    """That of a database: nobody here sees its disk."""
    queue = Queue(two, size=1000)
    queue.held = {"a": 700, "b": 20}
    await queue.look()
    assert queue.full() == set()
    queue.held = {"a": 720, "b": 40}
    await queue.look()
    assert queue.full() == {"a"}
    assert queue.take("b", 20 * MB) == ""
    queue.held = {"a": 990, "b": 20}
    await queue.look()
    assert queue.full() == {"a", "b"}
    assert queue.take("c", 1), "nothing is left"


async def test_the_size_holds_for_one_that_is_alone(directory: Callable[[str], Directory]) -> None:
    queue = Queue(directory(ONE), size=100)
    queue.held = {"a": 90}
    await queue.look()
    assert queue.take("a", 10 * MB) == ""
    assert queue.take("a", 1)


async def test_who_is_refused_is_told_of_for_ten_minutes(two: Directory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    queue = Queue(two, room=200)
    queue.held = {"a": 900, "b": 100, "": 3000}
    await queue.look()
    assert queue.shares.refused() == (QueueShare("a", 900 * MB, 0.225),), "nobody refuses the gateway's own mail"
    assert caplog.text.count("mail is refused: there are 900 MB of mail of a in") == 1
    queue.room = 999
    await queue.look()
    assert (queue.full(), len(queue.shares.refused())) == (set(), 1)
    await queue.look(600.0)
    assert queue.shares.refused() == ()
    assert "mail of a is no longer refused" in caplog.text


async def test_who_has_little_is_not_told_of_where_others_took_the_room(two: Directory) -> None:
    queue = Queue(two, room=0)
    queue.held = {"a": 24, "b": 600}
    await queue.look()
    assert queue.full() == {"a", "b"}
    assert [share.organization for share in queue.shares.refused()] == ["b"]
    assert queue.take("a", 1)
    assert [share.organization for share in queue.shares.refused()] == ["b"]


async def test_bodies_that_arrive_count_and_are_given_up_where_their_organization_has_too_much(two: Directory) -> None:
    queue = Queue(two, room=200)
    quiet, small, *loud = Body("b", 30 * MB), Body("a", MB // 2), Body("a", 40 * MB), Body("a", 50 * MB)
    for body in (quiet, small, *loud):
        queue.shares.begin(body)
    await queue.look()
    assert (queue.full(), loud[0].reason) == (set(), "")
    queue.room = 20
    await queue.look()
    assert [body.reason != "" for body in (quiet, small, *loud)] == [False, False, True, True]
    assert "there are 90.5 MB of mail of a in the queue" in loud[0].reason
    for body in loud:
        queue.shares.end(body)
        queue.shares.end(body)
    queue.room = 110
    await queue.look()
    assert queue.full() == set(), "what was given up counts no more"
    assert queue.shares.take(quiet, 31 * MB) == "", "its own octets are not counted twice"
    assert queue.take("a", 40 * MB) == ""
    queue.room = 999
    await queue.look()
    queue.shares.end(small)
    assert queue.shares._arriving == {}


def test_the_count_is_made_on_a_thread(two: Directory) -> None:
    async def main() -> None:
        queue = Queue(two, room=200)
        queue.shares.look()
        assert queue.counted == 0
        await queue.shares._counting.ended()
        assert queue.counted == 1

    asyncio.run(main())


async def test_a_recipient_of_a_full_organization_is_refused_and_its_trace_says_why(gate: Any) -> None:
    async with gate.open():
        queue = Queue(gate.directory(), room=200)
        queue.held = {"contoso": 5000}
        await queue.look()
        gate.service.shares = queue.shares
        client = await gate.greeted()
        await client.say(f"MAIL FROM:<{STRANGER}>")
        assert await client.say(f"RCPT TO:<{ANN}>") == "452 4.3.1 Insufficient system storage"
    (row,) = gate.trace_rows()
    assert (row.event, row.organization) == ("REFUSE", "contoso")
    assert "4.9 GB of mail of contoso in the queue" in row.detail["reasons"][-1]


async def test_a_message_that_is_too_large_for_what_is_left_is_refused_at_its_end(gate: Any) -> None:
    async with gate.open():
        queue = Queue(gate.directory(), room=2)
        await queue.look()
        gate.service.shares = queue.shares
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        big = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 25_000 + b".\r\n"
        assert await client.say(big) == "452 4.3.1 Insufficient system storage"
        while gate.left_behind():  # noqa: ASYNC110 - a thread removes it
            await asyncio.sleep(0.01)
        await client.envelope(STRANGER, ANN)
        assert (await client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n")).startswith("250")
        assert set(queue.shares._since) == {"contoso"}
        assert queue.shares._whole == {}
    refused, received = gate.trace_rows()
    assert (refused.event, received.event) == ("REFUSE", "RECEIVE")
    assert "of mail of contoso in the queue" in refused.detail["reasons"][-1]


async def test_a_body_that_arrives_is_given_up_and_frees_the_disk_at_once(gate: Any) -> None:
    async with gate.open():
        queue = Queue(gate.directory(), room=200)
        gate.service.shares = queue.shares
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        client.send(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 25_000)
        while not gate.left_behind():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)
        queue.held = {"contoso": 5000}
        while gate.left_behind():  # once more than a megabyte has come
            await queue.look()
            await asyncio.sleep(0.01)
        assert await client.say((b"x" * 70 + b"\r\n") * 25_000 + b".\r\n") == "452 4.3.1 Insufficient system storage"
        queue.held = {}
        await queue.look()
        await client.envelope(STRANGER, ANN)
        assert (await client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n")).startswith("250")
    refused, _ = gate.trace_rows()
    assert "of mail of contoso in the queue" in refused.detail["reasons"][-1]
