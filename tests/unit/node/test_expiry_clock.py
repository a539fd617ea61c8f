"""When the wall clock is not believed, and for how long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.node.expiry_clock import BRAKE_SECONDS, CLOCK_CONTENT, ExpiryClock
from gatepost.store.interface import StoreBusy

NOW = 1_800_000_000.0
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0


class Machine:
    """A wall clock that is set as one likes, and the time that passes; what is kept in the store."""

    def __init__(self) -> None:
        self.wall, self.passed = NOW, 5000.0
        self.kept: dict[str, bytes] = {}
        self.away = False
        self.clock = self.start()

    def start(self) -> ExpiryClock:
        """Start a process."""
        self.clock = ExpiryClock(self.kept.get(CLOCK_CONTENT), clock=lambda: self.wall, passed=lambda: self.passed)
        return self.clock

    def wait(self, seconds: float) -> bool:
        """Let time pass; whether the clock is believed then."""
        self.wall += seconds
        self.passed += seconds
        return self.clock.is_trusted()

    def put(self, seconds: float) -> bool:
        """Set the clock ahead or back."""
        self.wall += seconds
        return self.clock.is_trusted()

    def keep_apart(self, content: dict[str, bytes]) -> None:
        if self.away:
            raise StoreBusy("away")
        self.kept |= content

    def note(self) -> None:
        async def main() -> None:
            resources: Any = SimpleNamespace(keep_apart=self.keep_apart)
            self.clock.note(resources)
            self.clock.note(resources)  # while the first is under way
            await self.clock.close()

        asyncio.run(main())

    def restart(self, off: float = 1.0, ahead: float = 0.0) -> bool:
        self.wall += off + ahead
        self.passed = 10.0  # the machine booted
        self.start()
        return self.clock.is_trusted()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("ahead", [HOUR, DAY, YEAR])
def test_what_was_put_ahead_is_believed_after_a_day(machine: Machine, ahead: float) -> None:
    assert machine.wait(3 * DAY)
    assert not machine.put(ahead)
    assert machine.clock.ahead == ahead
    assert not machine.wait(BRAKE_SECONDS - 1)
    assert machine.wait(2)
    assert machine.clock.ahead == 0.0
    assert machine.wait(10 * DAY)
    assert not machine.put(HOUR), "once more"


def test_it_is_believed_when_it_is_put_back(machine: Machine) -> None:
    assert not machine.put(YEAR)
    assert not machine.put(-DAY), "not far enough"
    assert machine.put(DAY - YEAR + 5)


def test_small_steps_and_steps_back_are_none(machine: Machine) -> None:
    assert machine.put(300)
    assert machine.put(-DAY)
    assert machine.put(300)
    assert not machine.put(DAY), "it is a day ahead of what passed since it was put back"


def test_steps_add_up(machine: Machine) -> None:
    assert [machine.put(200) for _ in range(4)] == [True, True, True, False]


def test_the_day_goes_on_after_a_restart(machine: Machine) -> None:
    machine.put(HOUR)
    machine.wait(20 * HOUR)
    machine.note()
    assert not machine.restart()
    assert machine.clock.ahead == pytest.approx(HOUR)
    assert not machine.wait(3.9 * HOUR)
    assert machine.wait(0.2 * HOUR)


def test_who_puts_it_back_and_starts_again_is_believed(machine: Machine) -> None:
    machine.put(YEAR)
    machine.note()
    assert machine.restart(ahead=-YEAR)


@pytest.mark.parametrize(("off", "believed"), [(HOUR, True), (23 * HOUR, True), (2 * DAY, False), (YEAR, False)])
def test_a_start_long_after_what_was_seen_last(machine: Machine, off: float, believed: bool) -> None:
    machine.note()
    assert machine.restart(off) is believed
    assert machine.clock.ahead == (0.0 if believed else off)
    assert machine.wait(BRAKE_SECONDS + 1)


def test_the_first_start_of_all_knows_nothing(machine: Machine) -> None:
    assert machine.clock.is_trusted()
    machine.kept[CLOCK_CONTENT] = b"{"
    assert machine.restart(YEAR)


def test_a_store_that_is_away_is_no_trouble(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.away = True
    machine.note()
    assert "what is seen of the clock is not stored: away" in caplog.text
    assert ExpiryClock().is_trusted(), "by the clocks of this machine"


@pytest.mark.parametrize("off", [120.0, HOUR, 23 * HOUR])
@pytest.mark.parametrize("at_start", [0.0, NOW])
def test_a_clock_without_battery_is_right_once_somebody_was_asked(
    machine: Machine, caplog: pytest.LogCaptureFixture, off: float, at_start: float
) -> None:
    """Each boot begins in 1970, or at the time of the last shutdown: that would be a day without expiry each time."""
    machine.note()
    right = machine.wall + off + 60
    assert machine.restart(ahead=at_start - machine.wall)
    machine.wait(60)
    assert machine.put(right - machine.wall)
    assert not caplog.records
    assert not machine.put(25 * HOUR)


def test_who_starts_before_the_clock_is_right_knows_as_much(machine: Machine) -> None:
    machine.note()
    machine.restart(ahead=-NOW)
    machine.note()  # at the start
    machine.start()
    assert machine.put(NOW)


def test_it_is_no_excuse_later_or_for_more(machine: Machine) -> None:
    machine.note()
    machine.restart(ahead=-NOW)
    assert not machine.put(NOW + 2 * DAY), "longer than a gateway may have been off without anything being said"
    machine.restart(ahead=-NOW - 2 * DAY)
    machine.wait(2 * HOUR)
    assert not machine.put(NOW), "the machine started long ago"


def test_a_time_that_was_noted_as_wrong_proves_nothing(machine: Machine) -> None:
    assert not machine.put(YEAR)
    machine.note()
    assert machine.restart(ahead=-YEAR)
    assert not machine.put(YEAR)


def test_a_time_that_was_noted_before_proves_nothing_without_a_boot(machine: Machine) -> None:
    machine.note()
    assert not machine.put(HOUR)
