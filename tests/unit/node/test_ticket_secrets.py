from __future__ import annotations

import asyncio
import contextlib
import logging
import os

import pytest

from gatepost.net.tickets import DAY
from gatepost.node.ticket_secrets import ROTATION_SECONDS, SecretRotation, SharedSecrets
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.interface import StoreBusy
from gatepost.store.leases import FixedLeases
from gatepost.store.ticket_secrets import NodeTicketSecrets


class Source:
    """Fails as often as it is told to; remembers which days were asked for."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.asked = []

    def secret(self, day):
        if self.failures:
            raise self.failures.pop(0)
        self.asked.append(day)
        return day.to_bytes(32)


def at(day, seconds=0.0):
    return lambda: day * DAY + seconds


def days(shared, *which):
    return [shared.secret(day) is not None for day in which]


def test_nothing_is_known_at_first():
    assert days(SharedSecrets(), -1, 0, 1, 20000) == [False] * 4


def test_two_days_are_kept_and_a_third_takes_the_place_of_the_first():
    shared, source = SharedSecrets(), Source()
    SecretRotation(shared, source, at(20000)).look()
    assert days(shared, 19999, 20000, 20001, 20002) == [False, True, True, False]
    SecretRotation(shared, source, at(20000, DAY - 1)).look()
    assert source.asked == [20000, 20001], "each is fetched once"
    before = shared.secret(20001)
    SecretRotation(shared, source, at(20001)).look()
    assert days(shared, 20000, 20001, 20002) == [False, True, True]
    assert shared.secret(20001) == before == (20001).to_bytes(32)


def test_processes_that_were_forked_see_what_another_one_writes():
    shared = SharedSecrets()
    child = os.fork()
    if child == 0:
        SecretRotation(shared, Source(), at(20000)).look()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.secret(20001) == (20001).to_bytes(32)


def test_a_process_beside_the_workers_has_none():
    shared = SharedSecrets()
    SecretRotation(shared, Source(), at(20000)).look()
    child = os.fork()
    if child == 0:
        shared.close()
        with contextlib.suppress(ValueError):
            shared.secret(20000)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert days(shared, 20000, 20001) == [True, True]


def test_secrets_of_one_node_are_random():
    shared, other = SharedSecrets(), SharedSecrets()
    for one in (shared, other):
        SecretRotation(one, NodeTicketSecrets(), at(20000)).look()
    assert len({one.secret(day) for one in (shared, other) for day in (20000, 20001)}) == 4


@pytest.mark.parametrize("failure", [StoreBusy("the server is away"), VaultError("another master key")])
def test_what_fails_is_said_once_and_tried_again(caplog, failure):
    shared = SharedSecrets()
    rotation = SecretRotation(shared, Source(failure, failure), at(20000))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rotation.look()
    assert [str(failure) in record.getMessage() for record in caplog.records] == [True]
    assert days(shared, 20000, 20001) == [False, False]
    rotation.look()
    assert days(shared, 20000, 20001) == [True, True]


def test_a_worker_looks_on_a_thread_and_only_if_something_is_due():
    shared, source = SharedSecrets(), Source()

    async def live():
        rotation = SecretRotation(shared, source, at(20000))
        part = rotation.part(FixedLeases(held=True).lease("node"))
        ((duty),) = part.duties
        assert (duty.seconds, duty.at_once) == (ROTATION_SECONDS, True)
        duty.work()
        duty.work()
        await rotation._looking.task
        duty.work()
        assert rotation._looking.task.done(), "nothing was due"

    asyncio.run(live())
    assert source.asked == [20000, 20001]
