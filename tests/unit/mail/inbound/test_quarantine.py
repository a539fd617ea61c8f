from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from gatepost.mail.inbound.quarantine import (
    QuarantineFindings,
    QuarantineLimits,
    QuarantineRoom,
    SharedRoom,
    count_by_holder,
)
from gatepost.mail.model.message import QuarantineHold
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.decisions.forwarding import Target
from gatepost.policy.decisions.quarantine import Quarantined
from gatepost.protocols.smtp.grammar import Path
from gatepost.store.interface import StoreBusy
from gatepost.store.quarantine import QuarantineUsage

RULE = """
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.mail_flow_rule]]
name = "offers"
header_name = "Subject"
header_contains = ["offer"]
quarantine = true
"""
A_FULL = "the message is to be held in quarantine, and that of a is full: the client must try again later"


class Usage:
    def __init__(self, **known: QuarantineUsage) -> None:
        self.known = known
        self.asked = 0
        self.now = 0.0

    def __call__(self) -> dict[str, QuarantineUsage]:
        self.asked += 1
        if self.known.get("away"):
            raise StoreBusy("away")
        return self.known


def test_what_is_put_there_counts_until_it_is_counted_anew() -> None:
    usage = Usage(a=QuarantineUsage(1, 10))
    room = QuarantineRoom(usage, QuarantineLimits(3, 100), lambda: usage.now)

    async def main() -> None:
        assert await room.take({"a": 1}, 10) == ""
        assert await room.take({"b": 1, "a": 2}, 1) == A_FULL
        assert await room.take({"a": 1}, 81) == A_FULL  # too large
        assert await room.take({"a": 1}, 80) == ""
        assert await room.take({"a": 1}, 0) == A_FULL
        assert usage.asked == 1
        usage.now = 5.0
        assert await room.take({"a": 1}, 0) == ""
        assert usage.asked == 2
        usage.now, usage.known = 10.0, {"away": QuarantineUsage(1, 1)}
        with pytest.raises(StoreBusy):
            await room.take({"a": 1}, 0)

    asyncio.run(main())


def test_all_quarantines_together_leave_room_for_mail(
    directory: Callable[[str], Directory], path: Callable[[str], Path]
) -> None:
    usage, left, kept = (
        Usage(a=QuarantineUsage(1, 10), b=QuarantineUsage(1, 50)),
        [math.inf],
        "kept for mail on its way",
    )
    shared = SharedRoom(lambda: left[0], 1000, 100)
    room = QuarantineRoom(usage, QuarantineLimits(9, 200), lambda: usage.now, shared)

    async def main() -> None:
        assert await room.take({"a": 1}, 40) == ""
        assert kept in await room.take({"b": 1}, 1)
        usage.now, usage.known = 5.0, {}
        left[0] = 1009.0
        assert await room.take({"a": 1}, 9) == ""
        assert kept in await room.take({"a": 1}, 10)
        target = [Target(path("ann@a.example"))]
        for now, free, full in ((10.0, 1009.0, {"a"}), (15.0, 1010.0, set())):
            usage.now, left[0] = now, free
            room.full_for(directory(RULE), "a", target)
            await room._again.ended()
            assert room.full_for(directory(RULE), "a", target) == full

    asyncio.run(main())


def test_who_is_full_is_known_until_there_is_room(
    directory: Callable[[str], Directory], path: Callable[[str], Path]
) -> None:
    usage = Usage(a=QuarantineUsage(3, 10))
    room = QuarantineRoom(usage, QuarantineLimits(3, 100), lambda: usage.now)
    both = directory(RULE + '[[organization.b.accepted_domain]]\nname = "b.example"\n')
    ann, bob, elsewhere = (Target(path(text)) for text in ("ann@a.example", "bob@b.example", "eve@else.example"))

    async def main() -> None:
        assert room.full_for(both, "a", [ann]) == set()
        assert await room.take({"a": 1}, 1) == A_FULL
        assert room.full_for(both, "a", [ann]) == room.full_for(both, "a", [elsewhere]) == {"a"}
        assert room.full_for(both, "b", [ann]) == room.full_for(both, "b", [bob, ann]) == {"a"}
        assert room.full_for(both, "b", [bob]) == room.full_for(both, "b", [elsewhere]) == set()
        usage.now, usage.known = 5.0, {}
        assert await room.take({"a": 1}, 1) == ""
        assert room.full_for(both, "a", [ann]) == set()

    asyncio.run(main())


def test_who_was_full_is_looked_at_again_although_nothing_is_held(
    directory: Callable[[str], Directory], path: Callable[[str], Path]
) -> None:
    """An administrator made room: nothing has to fit first, and a store that is away is asked again later."""
    usage = Usage(a=QuarantineUsage(3, 10))
    room = QuarantineRoom(usage, QuarantineLimits(3, 100), lambda: usage.now)
    ours, target = directory(RULE), [Target(path("ann@a.example"))]

    async def full_at(now: float) -> set[str]:
        usage.now = now
        room.full_for(ours, "a", target)
        await room._again.ended()
        return room.full_for(ours, "a", target)

    async def main() -> None:
        assert await room.take({"a": 1}, 1) == A_FULL
        usage.known = {"a": QuarantineUsage(3, 9)}
        assert await full_at(4.0) == await full_at(5.0) == {"a"}
        usage.known = {"away": QuarantineUsage(1, 1)}
        assert await full_at(10.0) == {"a"}
        assert await full_at(14.0) == {"a"}
        assert usage.asked == 3
        with pytest.raises(StoreBusy):  # what was counted long ago says nothing of a message to be held
            await room.take({"a": 1}, 0)
        usage.known = {"a": QuarantineUsage(2, 99)}
        assert await full_at(15.0) == set()

    asyncio.run(main())


def test_who_has_no_room_for_what_was_refused_stays_full(
    directory: Callable[[str], Directory], path: Callable[[str], Path]
) -> None:
    """Room for less is no reason to take it again, and to refuse it again with what it has for others."""
    usage = Usage(a=QuarantineUsage(1, 60))
    room = QuarantineRoom(usage, QuarantineLimits(5, 100), lambda: usage.now)
    ours, target = directory(RULE), [Target(path("ann@a.example"))]

    async def full_at(now: float, size: int) -> set[str]:
        usage.now, usage.known = now, {"a": QuarantineUsage(1, size)}
        room.full_for(ours, "a", target)
        await room._again.ended()
        return room.full_for(ours, "a", target)

    async def main() -> None:
        assert (await room.take({"a": 1}, 50)) == A_FULL == await room.take({"a": 1}, 60)
        assert await full_at(5.0, 60) == await full_at(10.0, 51) == {"a"}
        assert await full_at(15.0, 50) == set()

    asyncio.run(main())


def test_a_quarantine_is_as_full_as_the_limit_that_is_nearer() -> None:
    assert QuarantineLimits(10, 100).fullness(QuarantineUsage(5, 80)) == 0.8
    assert QuarantineLimits(10, 100).fullness(QuarantineUsage(9, 80)) == 0.9


def test_scanners_hold_for_all_and_rules_by_the_header(
    directory: Callable[[str], Directory], path: Callable[[str], Path]
) -> None:
    target = Target(path("ann@a.example"))
    found = QuarantineFindings(directory(RULE), "eve@else.example", b"Subject: An OFFER\r\n")
    assert found.of("a", target) == [QuarantineHold("a", "mail flow rule 'offers'", "", 30)]
    clean = QuarantineFindings(directory(RULE), "eve@else.example", b"Subject: Hello\r\n")
    assert clean.of("a", target) == []
    clean.scanned((Quarantined("a", "content hook 'av'", "clamav: X"),))
    assert clean.of("a", target) == [QuarantineHold("a", "content hook 'av'", "clamav: X", 30)]
    without_rules = QuarantineFindings(directory(RULE.partition("[[organization.a.mail")[0]), "", b"")
    assert without_rules.of("a", target) == []
    assert count_by_holder([clean.of("a", target), []]) == {"a": 1}
