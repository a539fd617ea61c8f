"""A tenant fills neither history nor audit log; principals of the gateway are not counted."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from msgspec import json
from support.clock import Clock

from gatepost.manage.access.principal import NOBODY, Principal, Scope
from gatepost.manage.use_cases.record_budget import RESERVE, RecordBudget, added_to_history, check_rules
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.settings.model import Settings

DAY = 86_400
OWNER = Principal("ann", frozenset({Scope.OWNER}))
TINA = Principal("tina", frozenset({Scope.QUEUE}), frozenset({"fabrikam"}))
TOKEN = Principal("token tina", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
OTHER = Principal("liz", frozenset({Scope.QUEUE}), frozenset({"contoso"}))


@pytest.fixture
def ticks():
    return Clock()


@pytest.fixture
def budget(ticks):
    return made("1000", ticks)


def made(most, ticks):
    settings = Settings(server={"hostname": "mx.gate.example"}, limits={"tenant_records_per_day": most})
    return RecordBudget(settings, ticks=ticks)


def test_all_users_and_tokens_of_a_tenant_are_counted_together_and_others_apart(budget):
    budget.charge(TINA, 600)
    budget.charge(TOKEN, 600)
    for who in (TINA, TOKEN):
        with pytest.raises(BusyRefusal, match="tenant_records_per_day"):
            budget.charge(who, 1)
    budget.charge(OTHER, 600)


def test_a_day_later_there_is_room_for_as_much_again(budget, ticks):
    budget.charge(TINA, 1500, is_call=True)
    with pytest.raises(BusyRefusal) as refusal:
        budget.charge(TINA, 1, is_call=True)
    assert refusal.value.again == DAY // 2 + 1, "half a day's worth is too much"
    ticks.now += refusal.value.again
    budget.charge(TINA, 1, is_call=True)
    ticks.now += 10 * DAY
    budget.charge(TINA, 999, is_call=True)
    budget.charge(TINA, 1, is_call=True)
    with pytest.raises(BusyRefusal):
        budget.charge(TINA, 1, is_call=True)


@pytest.mark.parametrize(("who", "is_call"), [(TOKEN, True), (TOKEN, False), (TINA, False)])
def test_neither_a_program_nor_changes_take_the_room_of_what_a_person_does(budget, ticks, who, is_call):
    """A script that runs on, or a large organization, keeps nobody from holding a message or deleting it."""
    for _ in range(75):
        budget.charge(who, 10, is_call=is_call)
    with pytest.raises(BusyRefusal, match=" 750 ") as refusal:
        budget.charge(who, 10, is_call=is_call)
    for _ in range(25):
        budget.charge(TINA, 10, is_call=True)
    with pytest.raises(BusyRefusal, match=" 1000 "):
        budget.charge(TINA, 10, is_call=True)
    assert refusal.value.again == 1
    with pytest.raises(BusyRefusal) as refusal:
        budget.charge(who, 10, is_call=is_call)
    assert refusal.value.again == DAY // 4 + 1
    ticks.now += DAY // 4 + 1
    budget.charge(who, 10, is_call=is_call)


@pytest.mark.parametrize(("added", "words"), [(751, "in 87s,"), (752, "in 3m,"), (1000, "in 361m,")])
def test_a_long_wait_is_told_in_minutes(budget, added, words):
    budget.charge(TOKEN, added)
    with pytest.raises(BusyRefusal, match=words):
        budget.charge(TOKEN, 1)


@pytest.mark.parametrize("who", [OWNER, NOBODY])
def test_principals_of_the_gateway_and_strangers_are_not_counted(budget, who):
    for _ in range(3):
        budget.charge(who, 10**9)


def test_without_a_limit_nothing_is_counted(ticks):
    unlimited = made(0, ticks)
    for _ in range(3):
        unlimited.charge(TINA, 10**12)


def test_a_change_adds_what_was_there_and_what_is():
    stored = {"fabrikam": {"comment": "x" * 88}, "contoso": {"comment": "x" * 1000}}
    assert added_to_history(TINA, stored, {"fabrikam": {"comment": "x" * 188}}, 10_000) == 102 + 202
    assert added_to_history(TINA, stored, {"fabrikam": None}, 10_000) == 102
    assert added_to_history(TINA, {}, {"fabrikam": {}}, 10_000) == 2


def connectors(count, *, entries=0, **fields):
    """An organization with so many connectors, of which the first has a list."""
    own = {"sender_domains": ["d"] * entries, **fields}
    return {"fabrikam": {"inbound_connector": [own, *({"name": "x"} for _ in range(count - 1))]}}


def sized(octets, count=2, **more):
    """The same, of so many octets."""
    table = connectors(count, comment="", **more)
    table["fabrikam"]["inbound_connector"][0]["comment"] = "x" * (octets - len(json.encode(table["fabrikam"])))
    return table


def test_an_organization_that_is_too_large_is_not_stored_for_a_tenant():
    large = sized(1000)
    with pytest.raises(Refusal, match="organization_bytes") as refusal:
        added_to_history(TINA, {}, large, 500)
    assert refusal.value.kind is RefusalKind.INPUT
    assert added_to_history(OWNER, {}, large, 500), "the owner may"


@pytest.mark.parametrize(
    ("before", "after", "is_allowed"),
    [
        (sized(500), sized(516), True),  # such as "enabled":false
        (sized(500), sized(500 + RESERVE), True),
        (sized(500), sized(501 + RESERVE), False),
        (sized(500 + RESERVE), sized(501 + RESERVE), False),  # again and again does not help
        (sized(500 + RESERVE), sized(500 + RESERVE), True),
        (sized(500 + RESERVE), sized(499 + RESERVE, 3), True),  # a connector more, and smaller all the same
        (sized(400), sized(500, 3), True),
        (sized(400), sized(501, 3), False),  # no connector more
        (sized(500), sized(500 + RESERVE // 2, entries=1), True),
        (sized(500), sized(501 + RESERVE // 2, entries=1), False),  # the rest is left to what lengthens no list
        (sized(600 + RESERVE // 2, entries=1), sized(601 + RESERVE // 2, entries=1), True),
        (sized(501 + 5 * RESERVE), sized(500 + 6 * RESERVE), True),  # as the owner wrote it
        (sized(501 + 5 * RESERVE), sized(501 + 6 * RESERVE), False),
        (sized(500 + 6 * RESERVE), sized(501 + 6 * RESERVE), False),
        (sized(501 + 5 * RESERVE), sized(500 + 5 * RESERVE + RESERVE // 2, entries=1), True),
        (sized(501 + 5 * RESERVE), sized(501 + 5 * RESERVE + RESERVE // 2, entries=1), False),
        (sized(500 + 6 * RESERVE), {"fabrikam": None}, True),
    ],
)
def test_an_organization_at_its_limit_can_be_changed_a_little_but_does_not_grow(before, after, is_allowed):
    with nullcontext() if is_allowed else pytest.raises(Refusal, match="organization_bytes"):
        assert added_to_history(TINA, before, after, 500)


def ruled(rules, texts=0):
    return {"fabrikam": {"mail_flow_rule": [{"name": f"r{n}", "header_contains": ["x"] * texts} for n in range(rules)]}}


@pytest.mark.parametrize(
    ("rules", "texts", "words"),
    [
        (1001, 0, "1001 mail flow rules, and its own administrators may store 1000"),
        (11, 100, "1100 texts in header_contains"),
    ],
)
def test_a_tenant_has_no_more_rules_than_a_worker_looks_through_at_once(rules, texts, words):
    many = ruled(rules, texts)
    with pytest.raises(Refusal, match=words) as refusal:
        check_rules(TINA, {}, many)
    assert refusal.value.kind is RefusalKind.INPUT
    check_rules(OWNER, {}, many)
    check_rules(TINA, many, many)
    check_rules(TINA, many, ruled(10, 100))
    check_rules(TINA, many, {"fabrikam": None})
    with pytest.raises(Refusal):
        check_rules(TINA, many, ruled(rules + 1, texts))
