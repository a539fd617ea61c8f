from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from support.clock import Clock

from gatepost.mail.inbound.recipient_lookups import LookupLimits, RecipientLookups
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.values import RecipientValidation
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.values import replace

YES, NO = RecipientAnswer(exists=True, source="yes"), RecipientAnswer(exists=False, source="no")
LATER, DOWN = RecipientAnswer(exists=None, source="later"), RecipientAnswer(exists=None, source="down", is_down=True)
CLIENT = "192.0.2.1"


class Server:
    """The server behind. gate: what questions wait for. asked_about: every address it was asked about."""

    def __init__(self, answer: RecipientAnswer = YES) -> None:
        self.answer = answer
        self.gate = asyncio.Event()
        self.gate.set()
        self.questions: list[str] = []
        self.running = self.most = 0

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        self.questions.append(question.recipient.text)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        return self.answer


def question(address: str = "a@o.example", domain: str = "o.example") -> RecipientQuestion:
    accepted = AcceptedDomain.model_validate(
        {"name": domain, "type": "internal-relay", "recipient_validation": "callout"}
    )
    return RecipientQuestion("o", accepted, parse_address(address))


def lookups(server: Server, clock: Clock, **limits: float) -> RecipientLookups:
    return RecipientLookups({RecipientValidation.CALLOUT: server}, replace(LookupLimits(), **limits), clock)


async def code(pending: Awaitable[tuple[object, str]]) -> str:
    reply, reason = await pending
    return str(getattr(reply, "enhanced", "")) or reason


@pytest.mark.parametrize(("answer", "seconds", "refusal"), [(YES, 4 * 3600, ""), (NO, 599, "5.1.1")])
async def test_an_answer_counts_for_its_time_whatever_the_case(
    answer: RecipientAnswer, seconds: int, refusal: str
) -> None:
    server, clock = Server(answer), Clock()
    tested = lookups(server, clock)
    await tested.ask(question(), CLIENT)
    clock.now += seconds
    known = tested.remembered(question("A@O.example"))
    assert known is not None
    assert (known[0].enhanced if known[0] is not None else "") == refusal
    assert " ago" in known[1]
    clock.now += 1
    assert tested.remembered(question()) is None


async def test_what_was_known_stays_known_while_the_source_is_down_but_not_what_was_unknown() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock)
    await tested.ask(question(), CLIENT)
    server.answer = NO
    await tested.ask(question("b@o.example"), CLIENT)
    server.answer = DOWN
    clock.now += 5 * 3600
    assert "a@o.example exists: yes, 5h ago" in await code(tested.ask(question(), CLIENT))
    assert await code(tested.ask(question("b@o.example"), CLIENT)) == "4.4.3"
    assert len(server.questions) == 3, "a source that is down is left alone"
    clock.now += 10
    server.answer = NO
    assert await code(tested.ask(question(), CLIENT)) == "5.1.1"


async def test_one_recipient_that_gets_no_answer_does_not_make_the_domain_unknown() -> None:
    server, clock = Server(LATER), Clock()
    tested = lookups(server, clock)
    assert await code(tested.ask(question(), CLIENT)) == "4.4.3"
    assert tested.remembered(question()) is None
    server.answer = YES
    assert "exists" in await code(tested.ask(question("b@o.example"), CLIENT))


async def test_a_storm_asks_little_at_a_time_of_each_client_and_each_domain() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, per_client=2, per_domain=3)
    server.gate.clear()
    tasks = [
        spawn(code(tested.ask(question(f"{number}@o.example"), f"192.0.2.{client}")), "q")
        for client in range(3)
        for number in range(client * 10, client * 10 + 10)
    ]
    tasks += [spawn(code(tested.ask(question("0@o.example"), CLIENT)), "q") for _ in range(10)]
    await asyncio.sleep(0.05)
    assert server.running == 3
    server.gate.set()
    assert all("exists" in text for text in await asyncio.gather(*tasks))
    assert server.most == 3
    assert sorted(server.questions) == sorted(f"{number}@o.example" for number in range(30))


async def test_one_client_does_not_use_up_the_places_of_the_domain() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, per_client=2, per_domain=3)
    server.gate.clear()
    tasks = [spawn(code(tested.ask(question(f"{n}@o.example"), "2001:db8::1")), "q") for n in range(5)]
    tasks.append(spawn(code(tested.ask(question("x@o.example"), "2001:db8:0:1::1")), "q"))
    await asyncio.sleep(0.05)
    assert "x@o.example" in server.questions
    server.gate.set()
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_the_turn_of_another_client_that_asks_the_same() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, per_client=2, per_domain=3)
    server.gate.clear()
    tasks = [spawn(code(tested.ask(question(f"{n}@o.example"), "192.0.2.66")), "q") for n in range(3)]
    tasks += [spawn(code(tested.ask(question("2@o.example"), CLIENT)), "q") for _ in range(2)]
    await asyncio.sleep(0.05)
    assert server.questions == [f"{n}@o.example" for n in range(3)], "it has a turn of its own"
    server.gate.set()
    assert all("exists" in text for text in await asyncio.gather(*tasks))
    assert len(server.questions) == 3, "who waited longer is told"


async def test_a_client_has_so_many_questions_a_minute_and_spends_none_of_the_domains() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, client_minute=2, domain_minute=4)
    replies = [await code(tested.ask(question(f"{n}@o.example"), "2001:db8::1")) for n in range(6)]
    assert replies[2:] == ["4.4.3"] * 4
    assert "exists" in await code(tested.ask(question("x@o.example"), CLIENT))
    assert "exists" in await code(tested.ask(question("y@o.example"), "192.0.2.2"))
    assert await code(tested.ask(question("z@o.example"), "192.0.2.3")) == "4.4.3"
    assert "exists" in await code(tested.ask(question("z@p.example", "p.example"), "192.0.2.3"))
    clock.now += 60
    assert "exists" in await code(tested.ask(question("z@o.example"), "2001:db8::2"))


async def test_clients_beyond_those_that_are_counted_share_one_count() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, client_minute=2, clients=1, domain_minute=100)
    replies = [await code(tested.ask(question(f"{n}@o.example"), f"192.0.2.{n}")) for n in range(4)]
    assert replies[3] == "4.4.3"
    assert "exists" in await code(tested.ask(question("x@o.example"), "::ffff:192.0.2.0"))


async def test_waiting_for_a_turn_ends() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, per_domain=1, seconds=0.05)
    server.gate.clear()
    first, second = (spawn(tested.ask(question(f"{n}@o.example"), CLIENT), "q") for n in range(2))
    assert "no answer within 0.05 s" in (await second)[1]
    await first
    assert len(server.questions) == 1


async def test_who_waited_is_not_asked_about_once_the_source_is_down() -> None:
    server, clock = Server(DOWN), Clock()
    tested = lookups(server, clock, per_domain=1)
    server.gate.clear()
    tasks = [spawn(code(tested.ask(question(f"{n}@o.example"), CLIENT)), "q") for n in range(3)]
    await asyncio.sleep(0.05)
    server.gate.set()
    assert await asyncio.gather(*tasks) == ["4.4.3"] * 3
    assert len(server.questions) == 1


async def test_memory_is_bounded_and_can_be_emptied() -> None:
    server, clock = Server(), Clock()
    tested = lookups(server, clock, octets=40_000, client_minute=10_000, domain_minute=10_000)
    for number in range(500):
        await tested.ask(question(f"{number}@o.example"), CLIENT)
    kept = sum(tested.remembered(question(f"{number}@o.example")) is not None for number in range(500))
    assert 50 < kept < 140
    assert tested.remembered(question("499@o.example")) is not None
    tested.forget()
    assert tested.remembered(question("499@o.example")) is None
    await tested.close()


async def test_a_source_at_hand_is_asked_each_time_and_whoever_wants_is_told() -> None:
    file, told = Server(NO), []
    tested = RecipientLookups(
        {},
        clock=Clock(),
        at_hand={RecipientValidation.CALLOUT: file},
        told=lambda _, answer: told.append(answer.source),
    )
    for _ in range(300):
        assert await code(tested.ask(question(), CLIENT)) == "5.1.1"
    assert len(file.questions) == 300
    assert told == ["no"] * 300
    assert tested.remembered(question()) is None


def test_an_answer_counts_for_the_addresses_that_were_asked_for() -> None:
    async def ask() -> None:
        server = Server(NO)
        tested = lookups(server, Clock())
        plain = replace(question("a+b@o.example"), keys=("a+b@o.example",))
        await tested.ask(plain, CLIENT)
        assert tested.remembered(plain) is not None
        assert tested.remembered(replace(plain, keys=("a+b@o.example", "a@o.example"))) is None

    asyncio.run(ask())
