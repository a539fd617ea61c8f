"""What a changeover does to the entries: tables of what is refused, properties of what never happens."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.lifecycle import ROLL_BACK_SECONDS, Refused
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.values import replace

NOW = 1_800_000_000.0
YEAR = 365 * 86400.0


def entry(name="a", *, names=("mx.a.example",), key="EC-P-256", begin=NOW - YEAR, end=NOW + YEAR, **fields):
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    leaf = CertificateFacts(
        subject=f"CN={names[0]}",
        issuer="CN=Root",
        serial="1",
        common_name=names[0],
        dns_names=tuple(one for one in names if not one[0].isdigit()),
        ip_addresses=tuple(one for one in names if one[0].isdigit()),
        sha256=sha256,
        sha1=sha256[:40],
        spki_sha256=sha256,
        not_before=begin,
        not_after=end,
        key=key,
    )
    return Entry(id=sha256[:16], leaf=leaf, added=NOW - YEAR, **fields)


def current(name="old", **fields):
    return entry(name, **{"state": State.CURRENT, "since": NOW - YEAR, "current_from": NOW - YEAR, **fields})


def by_id(*entries):
    return {one.id: one for one in entries}


def applied(entries, changed):
    return {**entries, **{one.id: one for one in changed}}


REPLACES = {
    # what is current -> whether a next one for mx.a.example with a P-256 key takes its place
    "the same name and kind of key": (current(), True),
    "a key of another size": (current(key="EC-P-384"), True),
    "another kind of key": (current(key="RSA-2048"), False),
    "another name": (current(names=("mx2.a.example",)), False),
    "one name of several": (current(names=("mx.a.example", "b.example")), True),
    "a wildcard that goes on to cover others": (current(names=("*.a.example",)), False),
    "a client's": (current(purpose=Purpose.CLIENT), False),
    "one that is not current": (replace(current(), state=State.DEPRECATED), False),
    "of an organization": (current(organization="contoso"), False),
}


@pytest.mark.parametrize(("other", "wanted"), REPLACES.values(), ids=REPLACES)
def test_what_is_replaced(other, wanted):
    new = entry("new")
    assert course.replaced(new, by_id(new, other)) == ((other,) if wanted else ())


def test_a_wildcard_takes_the_place_of_what_it_covers():
    new, old, deep = entry("new", names=("*.a.example",)), current(), current("deep", names=("x.mx.a.example",))
    entries = by_id(new, old, deep)
    assert course.replaced(new, entries) == (old,)
    assert course.lost_names(new, entries) == ()


def test_an_address_is_a_name():
    new, old = entry("new", names=("192.0.2.1",)), current(names=("192.0.2.1",))
    assert course.replaced(new, by_id(new, old)) == (old,)


def test_a_client_certificate_takes_the_place_of_the_one_with_its_label():
    client = {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "bank"}
    new, old = entry("new", **client), current(key="RSA-2048", names=("other.example",), **client)
    other = current("other", **(client | {"label": "tax"}))
    entries = by_id(new, old, other)
    assert course.replaced(new, entries) == (old,)
    assert course.lost_names(new, entries) == ()


def test_staging_names_what_is_replaced():
    new, old, rsa = entry("new"), current(), current("rsa", key="RSA-2048")
    entries = by_id(new, old, rsa)
    assert course.stage(new, entries).replaces == (old.id,)
    both = course.stage(new, entries, [rsa])
    assert set(both.replaces) == {old.id, rsa.id}
    assert {one.id for one in course.replaced(both, entries)} == {old.id, rsa.id}
    with pytest.raises(Refused, match="is not a current server certificate"):
        course.stage(new, entries, [replace(old, state=State.RETIRED)])


def test_a_switch_and_its_times():
    new, old, other = (
        entry("new", switch_at=NOW - 1, held="x", forced="y"),
        current(),
        current("o", names=("b.example",)),
    )
    entries = by_id(new, old, other)
    changed = course.switch(new, entries, now=NOW)
    assert [(one.id, one.state) for one in changed] == [(new.id, State.CURRENT), (old.id, State.DEPRECATED)]
    made, gone = changed
    assert (made.since, made.current_from, made.current_until, made.switch_at) == (NOW, NOW, 0.0, 0.0)
    assert (made.replaces, made.held, made.forced) == ((old.id,), "", "")
    assert (gone.since, gone.current_from, gone.current_until) == (NOW, old.current_from, NOW)
    after = applied(entries, changed)
    assert course.successor(gone, after) == made
    assert course.successor(other, after) is None
    assert course.roll_back_until(made) == NOW + ROLL_BACK_SECONDS
    assert course.roll_back_until(other) == 0.0


def test_one_that_is_current_takes_nobodys_place():
    one, other = current("a"), current("b", names=("mx.a.example", "b.example"))
    entries = by_id(one, other)
    assert course.after_switch(one, entries) == (one, other)
    assert course.lost_names(one, entries) == ()


def test_names_are_lost_only_if_somebody_says_so():
    new, old = entry("new"), current(names=("mx.a.example", "b.example", "*.c.example"))
    entries = by_id(new, old)
    assert course.lost_names(new, entries) == ("b.example", "*.c.example")
    with pytest.raises(Refused, match=r"no certificate would cover b\.example, \*\.c\.example any more"):
        course.switch(new, entries, now=NOW)
    assert course.switch(new, entries, now=NOW, losing=True)[0].state is State.CURRENT


@pytest.mark.parametrize("state", [State.CURRENT, State.DEPRECATED, State.RETIRED])
@pytest.mark.parametrize(
    "step",
    [
        lambda one: course.stage(one, {}),
        lambda one: course.schedule(one, NOW + 1, now=NOW),
        course.cancel,
        lambda one: course.switch(one, {}, now=NOW),
    ],
    ids=["stage", "schedule", "cancel", "switch"],
)
def test_only_a_next_one_is(step, state):
    with pytest.raises(Refused, match=f"is {state}: only a next certificate can be"):
        step(entry(state=state))


def test_it_must_be_valid_when_it_becomes_current():
    late, early = entry(end=NOW + 10), entry(begin=NOW + 10)
    for one, at, why in ((late, NOW + 10, "expires at"), (early, NOW + 9, "is valid from")):
        with pytest.raises(Refused, match=why):
            course.schedule(one, at, now=NOW)
        with pytest.raises(Refused, match=why):
            course.switch(one, {}, now=at)
    assert course.schedule(early, NOW + 10, now=NOW, forced="why").forced == "why"
    with pytest.raises(Refused, match="expires at"):  # a time that is past is now
        course.schedule(entry(end=NOW - 5), NOW - 10, now=NOW)


def test_a_plan_is_made_dropped_and_held():
    planned = course.schedule(entry(held="red"), NOW + 1, now=NOW)
    assert (planned.switch_at, planned.held) == (NOW + 1, "")
    assert course.cancel(planned) == replace(planned, switch_at=0.0)
    held = course.hold(planned, "tlsa: wait")
    assert (held.switch_at, held.held, held.state) == (0.0, "tlsa: wait", State.NEXT)
    with pytest.raises(Refused, match="is scheduled"):
        course.cancel(held)


def switched():
    new, old = entry("new"), current()
    entries = by_id(new, old)
    after = applied(entries, course.switch(new, entries, now=NOW))
    return entries, after, after[new.id], after[old.id]


def test_rolling_back():
    entries, after, new, old = switched()
    assert course.can_roll_back(new, after, now=NOW + ROLL_BACK_SECONDS)
    changed = course.roll_back(new, after, now=NOW + ROLL_BACK_SECONDS)
    assert [(one.id, one.state) for one in changed] == [(new.id, State.NEXT), (old.id, State.CURRENT)]
    assert changed[1].current_until == 0.0
    assert changed[1].current_from == entries[old.id].current_from


ROLL_BACKS = {
    "a next one": (lambda new, old: (replace(new, state=State.NEXT), old), NOW, "only a current certificate"),
    "one that replaced nothing": (lambda new, old: (replace(new, replaces=()), old), NOW, "replaced nothing"),
    "too late": (
        lambda new, old: (new, old),
        NOW + ROLL_BACK_SECONDS + 1,
        "more than 24 hours ago: run gatepost certificate changeover stage",
    ),
    "files that hold another one by now": (
        lambda new, old: (new, replace(old, origin=Origin.FILES)),
        NOW,
        "its key was destroyed",
    ),
    "a key that is gone": (lambda new, old: (new, replace(old, state=State.RETIRED)), NOW, "its key was destroyed"),
    "one that is current elsewhere": (lambda new, old: (new, replace(old, state=State.CURRENT)), NOW, "it is current"),
    "one that ended": (
        lambda new, old: (new, replace(old, leaf=replace(old.leaf, not_after=NOW))),
        NOW + 1,
        "expires at",
    ),
}


@pytest.mark.parametrize(("made", "now", "why"), ROLL_BACKS.values(), ids=ROLL_BACKS)
def test_rolling_back_is_refused(made, now, why):
    _, _, new, old = switched()
    new, old = made(new, old)
    with pytest.raises(Refused, match=why):
        course.roll_back(new, by_id(new, old), now=now)
    assert not course.can_roll_back(new, by_id(new, old), now=now)


def test_a_deprecated_one_is_staged_when_it_is_too_late_to_roll_back():
    _, after, new, old = switched()
    with pytest.raises(Refused, match=f"you can still roll back to .* at once: .* roll-back {new.id}"):
        course.revive(old, after, now=NOW + ROLL_BACK_SECONDS)
    late = NOW + ROLL_BACK_SECONDS + 1
    again = course.revive(replace(old, told=("bank.example",)), after, now=late)
    assert (again.state, again.since, again.current_from, again.current_until) == (State.NEXT, late, 0.0, 0.0)
    assert (again.replaces, again.told) == ((), ())
    assert course.stage(again, {**after, again.id: again}).replaces == (new.id,)
    alone = replace(old, id="0" * 16)  # deprecated by whoever renewed its file
    assert course.revive(alone, by_id(alone), now=NOW).state is State.NEXT
    for gone in (replace(old, state=State.RETIRED), replace(old, origin=Origin.FILES)):
        with pytest.raises(Refused, match="its key was destroyed"):
            course.revive(gone, after, now=late)


def test_rolling_back_to_nobody_known():
    _, _, new, _ = switched()
    with pytest.raises(Refused, match="no longer in the inventory"):
        course.roll_back(new, by_id(new), now=NOW)


def test_withdrawing():
    _, after, new, old = switched()
    with pytest.raises(Refused, match=r"its key is needed to roll back .*; wait"):
        course.withdraw(old, after, now=NOW + ROLL_BACK_SECONDS)
    assert course.withdraw(old, after, now=NOW, early=True).state is State.RETIRED
    retired = course.withdraw(old, after, now=NOW + ROLL_BACK_SECONDS + 1)
    assert (retired.state, retired.since, retired.current_until) == (State.RETIRED, NOW + ROLL_BACK_SECONDS + 1, NOW)
    alone = replace(old, id="0" * 16)  # deprecated by whoever renewed its file
    assert course.withdraw(alone, by_id(alone), now=NOW).state is State.RETIRED
    for one, why in ((new, "switch to another one first"), (replace(new, state=State.NEXT), "certificate remove")):
        with pytest.raises(Refused, match=why):
            course.withdraw(one, after, now=NOW)
    with pytest.raises(Refused, match="only a deprecated certificate is withdrawn"):
        course.withdraw(retired, after, now=NOW)


def test_partners_are_told_once():
    told = course.tell(course.tell(entry(), ["b.example"]), ["a.example", "b.example"])
    assert told.told == ("a.example", "b.example")
    with pytest.raises(Refused, match="partners need no notice"):
        course.tell(entry(state=State.RETIRED), ["a.example"])


# properties

NAMES = ("mx.a.example", "mx2.a.example", "*.a.example", "b.example", "192.0.2.1")
HOSTS = ("mx.a.example", "mx2.a.example", "mx3.a.example", "b.example", "192.0.2.1")
_entries = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.sampled_from(["EC-P-256", "RSA-2048"])),
    min_size=2,
    max_size=6,
)
_steps = st.lists(
    st.tuples(
        st.sampled_from(["switch", "roll back", "withdraw", "schedule", "stage"]),
        st.integers(0, 5),
        st.floats(0, 2 * ROLL_BACK_SECONDS),
    ),
    max_size=20,
)
ALLOWED = {
    (State.NEXT, State.CURRENT),
    (State.CURRENT, State.DEPRECATED),
    (State.DEPRECATED, State.RETIRED),
    (State.DEPRECATED, State.CURRENT),  # a roll back,
    (State.CURRENT, State.NEXT),  # and what was rolled back
}


def covered(entries):
    presented = [one for one in entries.values() if one.state is State.CURRENT]
    return {name for name in (*NAMES, *HOSTS) if course.is_covered(name, presented)}


def taken(step, one, entries, now):
    match step:
        case "switch":
            return course.switch(one, entries, now=now)
        case "roll back":
            return course.roll_back(one, entries, now=now)
        case "withdraw":
            return (course.withdraw(one, entries, now=now),)
        case "schedule":
            return (course.schedule(one, now + 1, now=now),)
        case _:
            return (course.stage(one, entries),)


@given(_entries, _steps)
def test_whatever_is_done_no_name_that_was_covered_is_lost(made, steps):
    """A roll back gives up what only the new one covered, and nothing that was covered before the switch."""
    entries = by_id(
        *(entry(f"c{n}", names=names, key=key, state=State.NEXT) for n, (names, key) in enumerate(made[1:])),
        current(names=made[0][0], key=made[0][1]),
    )
    now, before = NOW, {}
    for step, number, seconds in steps:
        now += seconds
        one = list(entries.values())[number % len(entries)]
        try:
            changed = taken(step, one, entries, now)
        except Refused:
            continue
        after = applied(entries, changed)
        for each in changed:
            was = entries[each.id].state
            assert each.state is was or (was, each.state) in ALLOWED
        if step == "roll back":
            assert before[one.id] <= covered(after)
        else:
            assert covered(entries) <= covered(after)
        if step == "switch":
            before[one.id] = covered(by_id(*(entries[each.id] for each in changed[1:])))
        entries = after


@given(_entries)
def test_a_roll_back_undoes_a_switch_but_for_times(made):
    entries = by_id(
        entry("new", names=made[0][0], key=made[0][1]),
        *(current(f"c{n}", names=names, key=key) for n, (names, key) in enumerate(made[1:])),
    )
    new = next(one for one in entries.values() if one.state is State.NEXT)
    new = course.stage(new, entries)
    entries[new.id] = new
    try:
        after = applied(entries, course.switch(new, entries, now=NOW))
        back = applied(after, course.roll_back(after[new.id], after, now=NOW + 5))
    except Refused:
        return
    assert {number: replace(one, since=0.0) for number, one in back.items()} == {
        number: replace(one, since=0.0) for number, one in entries.items()
    }
