from __future__ import annotations

import asyncio

from gatepost.node.outage_post import OutagePost
from gatepost.store.interface import StoreFailure


class Webhook:
    def __init__(self):
        self.takes = True
        self.tried = []

    async def send(self, post, *, now):
        self.tried.append([(str(item.event), item.alarm.key, item.alarm.title) for item in post.news])
        return self.takes


def played(*steps):
    """Tick at some seconds: (second, whether it is cut off, whether the webhook takes posts)."""
    webhook, state = Webhook(), {}

    async def play():
        outage = OutagePost(
            "mx2",
            lambda: StoreFailure("PostgreSQL cannot be reached") if state["failed"] else None,
            webhook,
            patience=60.0,
            clock=lambda: state["now"],
        )
        for now, failed, takes in steps:
            state.update(now=1000.0 + now, failed=failed)
            webhook.takes = takes
            outage.tick()
            await outage._posting.ended()

    asyncio.run(play())
    return webhook.tried


RAISED = [("raised", "mail-refused - mx2", "on mx2, no mail is accepted, as it cannot be stored")]
CLEARED = [("cleared", *RAISED[0][1:])]


def test_an_outage_that_lasts_is_told_and_its_end():
    steps = [(0, True, True), (59, True, True)]
    assert played(*steps) == []
    assert played(*steps, (60, True, True), (120, True, True)) == [RAISED], "once"
    assert played(*steps, (60, True, True), (120, False, True), (180, False, True)) == [RAISED, CLEARED]


def test_an_outage_of_a_moment_is_none():
    assert played((0, True, True), (50, False, True), (55, True, True), (70, True, True)) == []


def test_what_the_webhook_does_not_take_is_tried_again_in_order():
    steps = [(0, True, True), (60, True, False), (65, False, False), (70, False, True)]
    assert played(*steps) == [RAISED, RAISED, CLEARED]


def test_a_clock_that_is_put_back_delays_nothing():
    steps = [(0, True, True), (-5000, True, True), (-4940, True, False)]
    assert played(*steps) == [RAISED]
    assert played(*steps, (-90_000, True, True), (-86_000, True, True)) == [RAISED, RAISED]
