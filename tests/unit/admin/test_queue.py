from __future__ import annotations

import pytest
from starlette.datastructures import ImmutableMultiDict

from gatepost.admin.queue import DONE, _asked
from gatepost.administration.queue import QueueAction
from gatepost.administration.refusal import Refusal


def form(*pairs):
    return ImmutableMultiDict(pairs)


def test_what_is_ticked_is_meant_and_not_the_filter():
    given = form(
        ("action", "hold"), ("messages", "1a"), ("messages", "1b"), ("domain", "a.example"), ("which", "ticked")
    )
    action, messages, wanted = _asked(given)
    assert (action, messages, wanted.domain, wanted.limit) == (QueueAction.HOLD, ["1a", "1b"], "", 0)


def test_all_that_the_filter_matches_is_meant_whatever_is_ticked():
    given = form(("action", "drop"), ("messages", "1a"), ("which", "all"), ("domain", "a.example"), ("state", "held"))
    action, messages, wanted = _asked(given)
    assert (action, messages, wanted.domain, wanted.state, wanted.limit) == (
        QueueAction.DROP,
        (),
        "a.example",
        "held",
        0,
    )


@pytest.mark.parametrize(
    "given",
    [
        form(),
        form(("action", "explode"), ("which", "all")),
        form(("action", "hold")),
        form(("action", "hold"), ("which", "ticked"), ("domain", "a.example")),
        form(("action", "hold"), ("which", "all"), ("state", "x")),
    ],
)
def test_what_is_not_said_is_never_everything(given):
    with pytest.raises(Refusal):
        _asked(given)


def test_every_action_has_its_words():
    assert set(DONE) == set(QueueAction)
