"""Changeovers in any order against a model: what is presented, what was switched, what may come back.

GATEPOST_STATES says how many runs there are; `make fuzz` does more.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatepost.pki.certificates import lifecycle
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.lifecycle import ROLL_BACK_SECONDS, Refused
from gatepost.protocols.tls.facts import CertificateFacts

BEGIN = 1_800_000_000.0
YEAR = 365 * 86400.0
NAMES = ("mx1.a.example", "mx2.a.example", "b.example")


def certificate(number: int, names: tuple[str, ...], state: State, end: float) -> Entry:
    leaf = CertificateFacts(
        subject=f"CN={names[0]}", issuer="CN=Root", serial=str(number), common_name=names[0], dns_names=names,
        ip_addresses=(), sha256=f"{number:064x}", sha1=f"{number:040x}", spki_sha256=f"{number:064x}",
        not_before=BEGIN - YEAR, not_after=end, key="EC-P-256",
    )  # fmt: skip
    return Entry(id=f"{number:016x}", leaf=leaf, added=BEGIN, state=state, since=BEGIN)


class Changeover(RuleBasedStateMachine):
    """covered: the names that must have a certificate, less those that somebody gave up with a reason.

    switches: of each current one, when it came and what it replaced; as a person would note them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        first = certificate(0, NAMES, State.CURRENT, BEGIN + 10 * YEAR)
        self.entries = {first.id: first}
        self.covered = set(NAMES)
        self.switches: dict[str, tuple[float, tuple[str, ...]]] = {}
        self.retired: set[str] = set()

    def put(self, changed: tuple[Entry, ...]) -> None:
        self.entries |= {entry.id: entry for entry in changed}

    def any_of(self, data: st.DataObject) -> Entry:
        return self.entries[data.draw(st.sampled_from(sorted(self.entries)))]

    @precondition(lambda self: len(self.entries) < 8)
    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1), years=st.integers(0, 3))
    def add(self, names: set[str], years: int) -> None:
        fresh = certificate(len(self.entries), tuple(sorted(names)), State.NEXT, self.now + years * YEAR + 1)
        self.put((fresh,))

    @rule(hours=st.sampled_from([1, 20, 30]))
    def wait(self, hours: int) -> None:
        self.now += 3600.0 * hours

    @rule(data=st.data(), losing=st.booleans())
    def switch(self, data: st.DataObject, losing: bool) -> None:
        entry, before = self.any_of(data), self.entries
        would_lose = {
            name
            for name in self.covered
            if not any(name in other.leaf.dns_names for other in lifecycle.after_switch(entry, before))
        }
        try:
            changed = lifecycle.switch(entry, before, now=self.now, losing=losing)
        except Refused:
            assert entry.state is not State.NEXT or self.now >= entry.leaf.not_after or (would_lose and not losing)
            return
        assert entry.state is State.NEXT
        assert losing or not would_lose
        self.put(changed)
        self.covered -= would_lose
        self.covered |= set(entry.leaf.dns_names)
        self.switches[entry.id] = self.now, tuple(old.id for old in changed[1:])

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        entry = self.any_of(data)
        at, olds = self.switches.get(entry.id, (0.0, ()))
        usable = entry.state is State.CURRENT and bool(olds) and self.now <= at + ROLL_BACK_SECONDS
        usable = usable and all(
            self.entries[old].state is State.DEPRECATED and self.now < self.entries[old].leaf.not_after for old in olds
        )
        try:
            changed = lifecycle.roll_back(entry, self.entries, now=self.now)
        except Refused:
            assert not usable
            return
        assert usable
        self.put(changed)
        assert {other.id for other in changed[1:]} == set(olds)
        left = {name for other in self.presented for name in other.leaf.dns_names}
        self.covered = (self.covered & left) | {name for old in olds for name in self.entries[old].leaf.dns_names}

    @rule(data=st.data())
    def revive(self, data: st.DataObject) -> None:
        entry = self.any_of(data)
        try:
            self.put((lifecycle.revive(entry, self.entries, now=self.now),))
        except Refused:
            return
        assert entry.id not in self.retired

    @rule(data=st.data(), early=st.booleans())
    def withdraw(self, data: st.DataObject, early: bool) -> None:
        entry = self.any_of(data)
        needed = any(
            entry.id in olds and self.now <= at + ROLL_BACK_SECONDS and self.entries[new].state is State.CURRENT
            for new, (at, olds) in self.switches.items()
        )
        try:
            self.put((lifecycle.withdraw(entry, self.entries, now=self.now, early=early),))
        except Refused:
            return
        assert entry.state is State.DEPRECATED
        assert early or not needed
        self.retired.add(entry.id)

    @property
    def presented(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state is State.CURRENT]

    @invariant()
    def every_name_is_covered_unless_somebody_gave_it_up(self) -> None:
        assert self.covered <= {name for entry in self.presented for name in entry.leaf.dns_names}

    @invariant()
    def what_was_withdrawn_never_comes_back(self) -> None:
        assert all(self.entries[number].state is State.RETIRED for number in self.retired)


TestChangeover = Changeover.TestCase
TestChangeover.settings = settings(
    max_examples=int(os.environ.get("GATEPOST_STATES", "40")), stateful_step_count=30, deadline=None
)
