"""That an answer which was none is asked for again, with all that was filled in: at the queue's last question."""

from __future__ import annotations

from types import SimpleNamespace

from gatepost.manage.pages import queue
from gatepost.manage.use_cases.queue import Chosen
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.errors import FieldError


def test_an_answer_that_is_none_is_asked_for_again_with_what_was_filled_in(centre, monkeypatch):
    """A drop without a reason, a notice that cannot be sent: neither loses what was ticked and written."""
    message = SimpleNamespace(id=1, reverse_path="ann@contoso.example", organization="contoso")
    waiting = SimpleNamespace(message=message, recipients=[SimpleNamespace(address="bob@b.example")])

    def act(*_, **given):
        raise Refusal(Kind.INPUT, "Nothing was done.", [FieldError("text", "is one line")])

    monkeypatch.setattr(queue, "act", act)
    monkeypatch.setattr(queue, "chosen", lambda *_, **given: Chosen(1, 1, [SimpleNamespace(delivery=waiting)]))
    chosen = {"messages": "1a", "back": "/queue?state=held"}
    answer = centre.post("/queue/actions", action="drop", **chosen)
    assert answer.status == 422
    assert 'href="#field-reason"' in answer.text
    assert answer.value("messages") == "1a"
    answer = centre.post("/queue/actions", action="return", reason="as agreed", text="zurück", **chosen)
    assert answer.status == 422
    assert 'href="#field-text"' in answer.text
    assert (answer.value("text"), answer.value("reason")) == ("zurück", "as agreed")
