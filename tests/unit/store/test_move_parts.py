from __future__ import annotations

from gatepost.store.move_parts import MoveRecord, UnnumberedPart, batches, copy_part, digest_of


class Memory(UnnumberedPart):
    """A part in memory. failing: adding ends after so many transactions."""

    name = "memory"

    def __init__(self, records=(), failing=-1):
        self.kept = {record.key: record for record in records}
        self.added = []
        self.failing = failing

    def records(self):
        yield from self.kept.values()

    def present(self, keys):
        return {key for key in keys if key in self.kept}

    def add(self, records):
        if not self.failing:
            raise InterruptedError
        self.failing -= 1
        self.added.append(len(records))
        self.kept |= {record.key: record for record in records}


def records(count):
    return [MoveRecord((number,), (f"value {number}", None, number / 3)) for number in range(count)]


def nothing(_done):
    pass


def test_a_copy_goes_on_where_it_was_cut_off():
    source, target = Memory(records(2500)), Memory(failing=1)
    seen = []
    try:
        copy_part(source, target, seen.append)
    except InterruptedError:
        target.failing = -1
    copy_part(source, target, seen.append)
    assert target.added == [1000, 1000, 500]
    assert seen == [1000, 1000, 2000, 2500]
    assert digest_of(source, nothing) == digest_of(target, nothing)


def test_the_order_does_not_matter_and_every_value_does():
    some = records(3)
    whole = digest_of(Memory(some), nothing)
    assert whole.records == 3
    assert len(whole.sha256) == 64
    assert digest_of(Memory(reversed(some)), nothing) == whole
    changed = [*some[:2], MoveRecord((2,), ("value 2", None, 0.5))]
    assert digest_of(Memory(changed), nothing) != whole
    assert digest_of(Memory(), nothing) == (0, "0" * 64)


def test_it_says_how_much_was_read():
    seen = []
    digest_of(Memory(records(2001)), seen.append)
    assert seen == [1000, 2000, 2001]


def test_a_transaction_has_some_megabytes_at_most():
    large = [MoveRecord((number,), (b"x" * (3 << 20), 7)) for number in range(5)]
    assert [len(batch) for batch in batches(large)] == [2, 2, 1]
    assert list(batches([])) == []


def test_nothing_is_numbered():
    assert UnnumberedPart().sequence() == 0
    UnnumberedPart().finish(0)
