from __future__ import annotations

import json
import os

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.listening import Found
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.status import (
    Logins,
    configuration,
    queue_depth,
    status,
    status_of,
    status_record,
    workers,
)
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
    assert queue_depth(gateway, OWNER) == ({"active": 0, "deferred": 2, "held": 0}, 0)
    assert queue_depth(gateway, FABRIKAM) == ({"active": 0, "deferred": 1, "held": 0}, 0)


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


def test_all_of_it_for_machines_and_back(gateway):
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}}}, author="ann")
    found = status(gateway, OWNER)
    assert (found.hostname, found.ok, found.logins) == (gateway.settings.server.hostname, False, None)
    assert (found.certificates, found.mail) == ((0, "no alarms"), (0, "no alarms"))
    assert status_of(json.loads(json.dumps(status_record(found)))) == found
    logins = Logins(["PLAIN"], {"contoso": ["entra"]}, ["contoso"])
    assert status_of(status_record(found._replace(logins=logins))).logins == logins


@pytest.mark.parametrize(
    ("listeners", "workers", "nameservers", "ok"),
    [
        ((True,), (True,), True, True),
        ((), (True,), True, False),
        ((True, False), (True,), True, False),
        ((True,), (False,), True, False),
        ((True,), (True,), False, False),
    ],
)
def test_whether_it_is_well(gateway, listeners, workers, nameservers, ok):
    found = status(gateway, OWNER)
    told = ([Found("x", one, "") for one in some] for some in (listeners, workers))
    asked = Found("127.0.0.1:53", nameservers, "")
    assert found._replace(listeners=next(told), workers=next(told), nameservers=asked).ok is ok


def test_it_is_for_who_sees_the_gateway(gateway):
    with pytest.raises(Refusal) as caught:
        status(gateway, FABRIKAM)
    assert caught.value.kind is Kind.FORBIDDEN
