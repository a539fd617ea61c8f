from __future__ import annotations

import asyncio

import pytest

from gatepost.node.outage_post import OutagePost
from gatepost.store.interface import StoreFailure


class Webhook:
    def __init__(self):
        self.takes = True
        self.tried = []

    async def send(self, post, *, now):
        self.tried.append([(str(item.event), item.alarm.key, item.alarm.title) for item in post.news])
        return self.takes


@pytest.fixture
def played(tmp_path):
    """Begins with no file; each call is another process, unless the file is kept."""
    file = tmp_path / "workers" / "outage"

    def run(*steps, keep=False):
        if not keep:
            file.unlink(missing_ok=True)
        return play_steps(file, *steps)

    return run


def play_steps(file, *steps):
    """Tick at some seconds: (second, whether it is cut off, whether the webhook takes posts).

    "silent": it is cut off, and no mail was tried yet.
    """
    webhook, state = Webhook(), {}

    async def play():
        outage = OutagePost(
            "mx2",
            file,
            lambda: bool(state["failed"]),
            lambda: StoreFailure("PostgreSQL cannot be reached") if state["failed"] is True else None,
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


def test_an_outage_that_lasts_is_told_and_its_end(played):
    steps = [(0, True, True), (59, True, True)]
    assert played(*steps) == []
    assert played(*steps, (60, True, True), (120, True, True)) == [RAISED], "once"
    assert played(*steps, (60, True, True), (120, False, True), (180, False, True)) == [RAISED, CLEARED]


def test_an_outage_of_a_moment_is_none(played):
    assert played((0, True, True), (50, False, True), (55, True, True), (70, True, True)) == []


def test_what_the_webhook_does_not_take_is_tried_again_in_order(played):
    steps = [(0, True, True), (60, True, False), (65, False, False), (70, False, True)]
    assert played(*steps) == [RAISED, RAISED, CLEARED]


def test_a_clock_that_is_put_back_delays_nothing(played):
    steps = [(0, True, True), (-5000, True, True), (-4940, True, False)]
    assert played(*steps) == [RAISED]
    assert played(*steps, (-90_000, True, True), (-86_000, True, True)) == [RAISED, RAISED]


def test_the_end_is_told_by_the_next_process_too(played):
    begun = [(0, True, True), (60, True, True)]
    assert played(*begun) == [RAISED]
    assert played((70, "silent", True), (80, True, True), keep=True) == [], "it goes on, and was told"
    assert played((90, False, True), (100, False, True), keep=True) == [CLEARED]
    assert played((110, False, True), keep=True) == []
    assert played(*begun[:1], (60, True, False)) == [RAISED]
    assert played((70, False, True), keep=True) == [RAISED, CLEARED], "what was not taken yet is told, too"
