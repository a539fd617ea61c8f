from __future__ import annotations

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.move import Move, MoveDiffers, MoveRefused, reopened
from gatepost.store.move_mark import MoveMark, MoveState
from gatepost.store.move_parts import MoveRecord, UnnumberedPart


class Killed(BaseException):
    pass


class Memory(UnnumberedPart):
    def __init__(self, name, records=()):
        self.name = name
        self.kept = {key: MoveRecord((key,), (value,)) for key, value in records}

    def count(self):
        return len(self.kept)

    def records(self):
        yield from self.kept.values()

    def present(self, keys):
        return {key for key in keys if key[0] in self.kept}

    def add(self, records):
        self.kept |= {record.key[0]: record for record in records}

    def clear(self):
        self.kept.clear()


class Side:
    """A store in memory. busy: whether a gateway uses it, each time it is asked. until: steps before it is killed."""

    def __init__(self, place, records=(), steps=None):
        self.place = place
        self.own = None
        self.busy = []
        self.keys = {place}
        self.tables = [Memory("mail", records), Memory("rest")]
        self.is_finished = False
        self.steps = steps if steps is not None else [1000]

    def _step(self):
        self.steps[0] -= 1
        if self.steps[0] < 0:
            raise Killed

    def mark(self):
        return self.own

    def set_mark(self, mark):
        self._step()
        self.own = mark
        self._step()

    def check_idle(self):
        if self.busy and self.busy.pop(0):
            raise MoveRefused(f"{self.place} is in use")

    def contents(self):
        return ", ".join(table.name for table in self.tables if table.kept)

    def settle(self):
        self._step()

    def parts(self):
        return self.tables

    def public_keys(self):
        return sorted(self.keys)

    def add_public_keys(self, keys):
        self._step()
        self.keys |= set(keys)

    def finish(self):
        self._step()
        self.is_finished = True


MAIL = [("1", "one"), ("2", "two")]


def move(source, target, progress=None):
    told = progress if progress is not None else []
    return Move(source, target, clock=lambda: 1_800_000_000.0, on_progress=told.append)


@pytest.fixture
def sides():
    return Side("a", MAIL), Side("b")


def test_a_move_copies_compares_and_closes_the_source(sides):
    source, target = sides
    told = []
    running = move(source, target, told)
    assert running.check() is False
    assert running.counts() == [("mail", 2), ("rest", 0)]
    results = running.run()
    assert [(result.name, result.same, result.source.records) for result in results] == [
        ("mail", True, 2),
        ("rest", True, 0),
    ]
    assert target.tables[0].kept == source.tables[0].kept
    assert (source.own.state, source.own.other) == (MoveState.LEFT, "b")
    assert (target.own.state, target.own.other) == (MoveState.ARRIVED, "a")
    assert source.own.move == target.own.move
    assert target.is_finished
    assert target.keys == {"a", "b"}
    assert {(one.verb, one.name, one.done, one.total) for one in told} >= {
        ("copied", "mail", 2, 2),
        ("compared", "mail", 2, 2),
    }
    again = move(source, target)
    assert again.check() is True
    assert again.run() == []
    assert again.completed_before == 1_800_000_000.0


@pytest.mark.parametrize("steps", range(11))
def test_a_move_that_is_killed_anywhere_goes_on(steps):
    left = [steps]
    source, target = Side("a", MAIL, left), Side("b", steps=left)
    with pytest.raises(Killed):
        move(source, target).run()
    states = [side.own and side.own.state for side in (source, target)]
    opened = [state in {None, MoveState.ARRIVED} for state in states]
    assert opened != [True, True] or states == [None, None]
    left[0] = 1000
    running = move(source, target)
    assert running.check() is (source.own is not None)
    running.run()
    assert target.tables[0].kept == source.tables[0].kept
    assert [side.own.state for side in (source, target)] == [MoveState.LEFT, MoveState.ARRIVED]


def test_there_and_back(sides):
    source, target = sides
    move(source, target).run()
    back = Side("c")
    move(target, back).run()
    assert target.own.state is MoveState.LEFT
    assert back.tables[0].kept == source.tables[0].kept


def test_a_copy_that_differs_is_taken_back_and_made_anew(sides):
    source, target = sides
    target.add_public_keys = lambda _keys: target.tables[0].kept.pop("1")
    with pytest.raises(MoveDiffers, match=r"in: mail \(2 there, 1 here\)"):
        move(source, target).run()
    assert target.tables[0].kept == {}
    assert (source.own.state, target.own.state) == (MoveState.LEAVING, MoveState.ARRIVING)
    del target.add_public_keys
    assert all(result.same for result in move(source, target).run())


def test_a_store_in_use_is_not_moved(sides):
    source, target = sides
    for busy in (source, target):
        busy.busy = [True]
        with pytest.raises(MoveRefused, match="is in use"):
            move(source, target).run()
        assert (source.own, target.own) == (None, None)
        busy.busy = [False, True]  # somebody began before the mark was there
        with pytest.raises(MoveRefused, match="is in use"):
            move(source, target).run()
        assert (source.own, target.own) == (None, None)


def test_on_a_move_that_goes_on_both_stay_closed_if_one_is_in_use(sides):
    source, target = sides
    source.own = MoveMark("word", MoveState.LEAVING, "b", 1.0)
    source.busy = [False, True]
    with pytest.raises(MoveRefused, match="is in use"):
        move(source, target).run()
    assert source.own.state is MoveState.LEAVING


def marked(state, other, word="word"):
    return MoveMark(word, state, other, 1.0)


@pytest.mark.parametrize(
    ("source_mark", "target_mark", "why"),
    [
        (marked(MoveState.LEAVING, "other"), None, "a: this store is being moved to other"),
        (marked(MoveState.LEFT, "other"), None, "a: this store was moved to other"),
        (marked(MoveState.LEFT, "b"), None, "a: this store was moved to b"),
        (marked(MoveState.ARRIVING, "b"), None, "a: this is an incomplete copy"),
        (None, marked(MoveState.ARRIVED, "x"), "b is not empty: x was moved into it"),
        (None, marked(MoveState.ARRIVING, "x"), "b: this is an incomplete copy of x.*empty it first"),
        (None, marked(MoveState.LEFT, "x"), "b: this store was moved to x.*empty it first"),
        (marked(MoveState.LEAVING, "b", "one"), marked(MoveState.ARRIVING, "a", "two"), "incomplete copy of a"),
    ],
)
def test_marks_that_forbid_a_move(sides, source_mark, target_mark, why):
    source, target = sides
    source.own, target.own = source_mark, target_mark
    with pytest.raises(MoveRefused, match=f"(?s){why}"):
        move(source, target).check()


def test_a_store_that_is_not_empty_takes_nothing(sides):
    source, target = sides
    target.tables[1].kept = {"x": 1}
    with pytest.raises(MoveRefused, match="b is not empty: it has rest"):
        move(source, target).check()


def test_a_store_is_reopened(sides):
    source, target = sides
    assert reopened(source, really=True) is None
    move(source, target).run()
    assert reopened(target, really=True) is None
    assert reopened(source, really=False).state is MoveState.LEFT
    assert reopened(source, really=True).state is MoveState.LEFT
    assert source.own is None
    target.own = marked(MoveState.ARRIVING, "a")
    with pytest.raises(StoreFailure, match="incomplete copy"):
        reopened(target, really=True)
