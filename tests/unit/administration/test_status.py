from __future__ import annotations

import os

import pytest

from gatepost.access.principal import Principal, Scope
from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.status import configuration, queue_depth, workers
from gatepost.store.schema import LOCK_FILE

OWNER = Principal("ann", frozenset(Scope))
FABRIKAM = Principal("fab", frozenset(Scope), frozenset({"fabrikam"}))


def test_the_configuration_in_force(gateway):
    assert configuration(gateway) == (0, 0.0, "")
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}}}, author="ann")
    version, at, author = configuration(gateway)
    assert (version, author) == (1, "ann")
    assert at > 0


def test_a_configuration_that_cannot_be_read(gateway):
    gateway.data.write_text("no directory")
    with pytest.raises(Refusal) as caught:
        configuration(gateway)
    assert caught.value.kind is Kind.UNREADABLE


def test_the_depth_of_the_queue(gateway, queued):
    queued(gateway.data, {"contoso": ["a@b.example"]}, {"fabrikam": ["a@b.example"]})
    assert queue_depth(gateway, OWNER) == {"active": 0, "deferred": 2, "held": 0}
    assert queue_depth(gateway, FABRIKAM) == {"active": 0, "deferred": 1, "held": 0}


@pytest.mark.parametrize(
    ("text", "ok"), [("own", True), ("", False), ("x", False), ("999999999", False), ("9" * 30, False)]
)
def test_workers(gateway, text, ok):
    lock = gateway.data / "queue" / "0" / LOCK_FILE
    lock.parent.mkdir(parents=True)
    lock.write_text(str(os.getpid()) if text == "own" else text)
    found = workers(gateway)
    assert (found[0].name, found[0].ok) == ("0", ok)
    assert len(found) == len(os.sched_getaffinity(0))
    assert not any(one.ok for one in found[1:])
