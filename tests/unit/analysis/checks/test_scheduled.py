"""Switches at a time, with a clock of our own and gates that a test opens and closes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.analysis.checks.scheduled import ScheduledSwitches
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

AUTHORITY = Authority("Schedule Root")
OLD, NEW = (ServerIdentity(*AUTHORITY.issue(["mx.a.example"])) for _ in range(2))
NOW = entry_from(OLD, now=0.0).leaf.not_before + 86400.0
RED = GateFinding(GateCheck.TLSA, Mark.FAIL, "wait until 14:00")


class Gates:
    """Says what a test wants. meanwhile: is called while gates are looked at."""

    def __init__(self):
        self.findings = ()
        self.looked, self.sighted = [], []
        self.meanwhile = lambda: None

    async def look(self, entry, scene):
        self.looked.append(entry.id)
        await asyncio.sleep(0)
        self.meanwhile()
        return GateReport(entry, scene.now, self.findings)

    async def sight(self, entry, scene):
        del scene
        self.sighted.append(entry.id)


class Scene:
    def __init__(self, path):
        self.store = ConfigStore(path / "config.db")
        self.inventory = Inventory(self.store, Vault(bytes(32)))
        self.old = self.add(OLD, state=State.CURRENT)
        self.new = self.add(NEW)
        self.now = NOW
        self.gates = Gates()
        limits = PrefixLimits()
        self.switches = ScheduledSwitches(self.store, self.inventory, self.gates, limits, clock=lambda: self.now)

    def add(self, identity, **fields):
        entry = replace(entry_from(identity, now=0.0), **fields)
        self.inventory.add(entry, identity, author="ann")
        return entry

    def plan(self, at, forced=""):
        self.inventory.change([course.schedule(self.new, at, now=NOW, forced=forced)], author="ann")

    def tick(self, work="switch_due"):
        async def run():
            getattr(self.switches, work)()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)

        asyncio.run(run())

    @property
    def states(self):
        _, entries = self.inventory.entries()
        return entries[self.old.id].state, entries[self.new.id].state

    @property
    def stored(self):
        return self.inventory.entries()[1][self.new.id]


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


BEFORE, AFTER = (State.CURRENT, State.NEXT), (State.DEPRECATED, State.CURRENT)


def test_nothing_is_done_before_its_time(scene):
    scene.tick()
    scene.plan(NOW + 10)
    scene.now = NOW + 9.9
    scene.tick()
    assert (scene.states, scene.gates.looked) == (BEFORE, [])
    scene.now = NOW + 10
    scene.tick()
    assert (scene.states, scene.gates.looked) == (AFTER, [scene.new.id])
    assert scene.store.history("certificate")[0].author == "gatepost"
    scene.tick()
    assert scene.gates.looked == [scene.new.id]


def test_a_red_gate_holds_it_and_says_why(scene, caplog):
    scene.gates.findings = (RED,)
    scene.plan(NOW)
    scene.tick()
    assert scene.states == BEFORE
    assert (scene.stored.held, scene.stored.switch_at) == ("tlsa: wait until 14:00", 0.0)
    assert "and did not: tlsa: wait until 14:00" in caplog.text
    scene.tick()
    assert scene.gates.looked == [scene.new.id]  # not again


def test_what_cannot_be_told_holds_it_too(scene):
    scene.gates.findings = (replace(RED, verdict=Mark.UNKNOWN),)
    scene.plan(NOW)
    scene.tick()
    assert scene.states == BEFORE


def test_a_reason_overrides_the_gates_and_is_in_the_history(scene):
    scene.gates.findings = (RED,)
    scene.plan(NOW, forced="stolen")
    scene.tick()
    assert scene.states == AFTER
    assert scene.store.history("certificate")[0].note.endswith("forced: stolen (tlsa: wait until 14:00)")


def test_a_key_that_cannot_be_opened_is_not_overridden(scene):
    scene.gates.findings = (GateFinding(GateCheck.KEY, Mark.FAIL, "no key", "it is sealed"),)
    scene.plan(NOW, forced="stolen")
    scene.tick()
    assert scene.states == BEFORE
    assert scene.stored.held == "no key: it is sealed"


def test_a_fault_does_not_come_every_second(scene, caplog):
    def fault():
        raise RuntimeError("a fault of ours")

    scene.gates.meanwhile = fault
    scene.plan(NOW)
    scene.tick()
    scene.tick()
    assert scene.stored.held == "an internal error, see the log"
    assert scene.gates.looked == [scene.new.id]
    assert "a fault of ours" in caplog.text


def test_records_that_cannot_be_looked_at_in_time(scene, caplog):
    async def late(*_):
        raise TimeoutError

    scene.gates.sight = late
    scene.tick("sight")
    assert "could not be looked at in time" in caplog.text


def test_what_the_course_refuses_is_held(scene):
    scene.plan(NOW)
    scene.now = scene.new.leaf.not_after + 1
    scene.tick()
    assert scene.states == BEFORE
    assert "expires at" in scene.stored.held


def test_a_plan_that_was_cancelled_meanwhile_is_left_alone(scene):
    scene.plan(NOW)
    scene.gates.meanwhile = lambda: scene.inventory.change([course.cancel(scene.stored)], author="ann")
    scene.tick()
    assert scene.states == BEFORE
    assert scene.stored.held == ""


def test_records_of_what_is_staged_are_looked_at(scene):
    scene.tick("sight")
    assert scene.gates.sighted == [scene.new.id]
    scene.inventory.change(course.switch(scene.new, scene.inventory.entries()[1], now=NOW), author="ann")
    scene.tick("sight")
    assert scene.gates.sighted == [scene.new.id]


def test_one_thing_at_a_time_and_an_end(scene):
    scene.plan(NOW)

    async def run():
        scene.switches.switch_due()
        scene.switches.switch_due()
        scene.switches.sight()
        scene.switches.sight()
        scene.switches.close()
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert scene.states == BEFORE
    assert scene.gates.sighted == []


def test_what_is_stored_by_another_version(scene, caplog):
    scene.store.apply({"certificate": {scene.new.id: {"leaf": {}}}}, author="ann")
    scene.tick()
    assert "no certificate is switched" in caplog.text
    scene.store.apply({"certificate": {scene.new.id: None}, "organization": {"contoso": {"x": 1}}}, author="ann")
    scene.add(NEW, switch_at=NOW)
    scene.tick()
    assert "gates are looked at without them" in caplog.text
    assert scene.states == AFTER


def test_what_the_store_could_not_say_is_asked_again(scene, monkeypatch):
    def unavailable(_):
        raise StoreFailure("away")

    scene.plan(NOW)
    with monkeypatch.context() as away:
        away.setattr(Inventory, "entries", unavailable)
        with pytest.raises(StoreFailure):
            scene.switches.switch_due()
    scene.tick()
    assert scene.states == AFTER


@pytest.mark.parametrize("findings", [(), (RED,)])
def test_an_event_loop_waits_for_no_change(scene, monkeypatch, findings):
    """A disk, a server or another process may take its time."""
    scene.plan(NOW - 1)
    scene.gates.findings = findings
    apply, threads = ConfigStore.apply, []

    def noted(*words, **how):
        threads.append(threading.current_thread())
        return apply(*words, **how)

    monkeypatch.setattr(ConfigStore, "apply", noted)
    scene.tick()
    assert threads
    assert threading.main_thread() not in threads
