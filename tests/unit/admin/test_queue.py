from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.datastructures import ImmutableMultiDict

from gatepost.admin import queue
from gatepost.admin.queue import DONE, _asked
from gatepost.administration.queue import QueueAction
from gatepost.administration.refusal import Kind, Refusal
from gatepost.connectors.errors import FieldError


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


def test_an_answer_that_is_none_is_asked_for_again_with_what_was_filled_in(centre, monkeypatch):
    """A drop without a reason, a notice that cannot be sent: neither loses what was ticked and written."""
    message = SimpleNamespace(id=1, reverse_path="ann@contoso.example", organization="contoso")
    waiting = SimpleNamespace(message=message, recipients=[SimpleNamespace(address="bob@b.example")])

    def act(*_, dry_run=False, **given):
        if not dry_run:
            raise Refusal(Kind.INPUT, "Nothing was done.", [FieldError("text", "is one line")])
        return [SimpleNamespace(delivery=waiting)]

    monkeypatch.setattr(queue, "act", act)
    chosen = {"messages": "1a", "back": "/queue?state=held"}
    answer = centre.post("/queue/actions", action="drop", **chosen)
    assert answer.status == 422
    assert 'href="#field-reason"' in answer.text
    assert answer.value("messages") == "1a"
    answer = centre.post("/queue/actions", action="return", reason="as agreed", text="zurück", **chosen)
    assert answer.status == 422
    assert 'href="#field-text"' in answer.text
    assert (answer.value("text"), answer.value("reason")) == ("zurück", "as agreed")
