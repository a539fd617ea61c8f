from __future__ import annotations

import re
from typing import get_args

import pytest

from gatepost.manage.access.actions import (
    ACTIONS,
    LABELS,
    RENAMED,
    Action,
    action_label,
    action_name,
    named,
    present,
    spellings,
)
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.queue_actions import QueueAction

FORM = re.compile(r"[a-z]+(?:-[a-z]+)*")


def test_all_names_have_one_form():
    assert [one for one in ACTIONS if not FORM.fullmatch(one) or len(one) > 64] == []
    assert len(ACTIONS) == len(set(ACTIONS))


def test_every_action_has_a_label_of_its_own():
    assert get_args(Action.__value__) == ACTIONS
    assert {case.action for case in USE_CASES if case.action} <= LABELS.keys()
    assert [label for label in LABELS.values() if not re.fullmatch(r"[A-Z][A-Za-z ]+", label)] == []
    assert len({label.lower() for label in LABELS.values()}) == len(LABELS)


@pytest.mark.parametrize(
    ("text", "name", "label"),
    [
        ("queue-drop", "queue-drop", "Drop mail"),
        ("queue drop", "queue-drop", "Drop mail"),
        ("drop mail", "queue-drop", "drop mail"),
        ("nothing of ours", "nothing of ours", "nothing of ours"),
        ("", "", ""),
    ],
)
def test_the_label_of_an_action_and_the_action_of_a_label(text, name, label):
    assert action_name(text) == name
    assert action_label(text) == label


def test_a_former_name_is_none_of_now_and_leads_to_one():
    assert not RENAMED.keys() & set(ACTIONS)
    assert set(RENAMED.values()) <= set(ACTIONS)


@pytest.mark.parametrize(
    ("name", "now", "stored"),
    [
        ("queue drop", "queue-drop", ["queue-drop", "queue drop"]),
        ("queue-drop", "queue-drop", ["queue-drop", "queue drop"]),
        ("evidence.export", "evidence-export", ["evidence-export", "evidence.export"]),
        ("log-in", "log-in", ["log-in"]),
        ("nothing of ours", "nothing of ours", ["nothing of ours"]),
        ("", "", [""]),
    ],
)
def test_what_something_is_called_now_and_was_called(name, now, stored):
    assert present(name) == now
    assert spellings(name) == stored


@pytest.mark.parametrize("words", [("queue", one) for one in QueueAction] + [("check", "host"), ("check", "partner")])
def test_the_name_of_several_words(words):
    assert named(*words) == "-".join(words)


def test_a_name_that_nobody_gave_is_refused():
    for words in ((), ("queue", "burn"), ("queue drop",)):
        with pytest.raises(ValueError, match=r"not an action .* gatepost\.manage\.access\.actions"):
            named(*words)
