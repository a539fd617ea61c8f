"""That an answer which was none is asked for again, with all that was filled in: at the queue's last question."""

from __future__ import annotations


def test_an_answer_that_is_none_is_asked_for_again_with_what_was_filled_in(centre, queued):
    """A drop without a reason, a notice that cannot be sent: neither loses what was ticked and written."""
    (identity,) = queued(centre.gateway.data, {"contoso": ["bob@b.example"], "sender": "ann@contoso.example"})
    chosen = {"messages": identity, "back": "/queue?state=held"}
    answer = centre.post("/queue/actions", action="drop", **chosen)
    assert answer.status == 422
    assert 'href="#field-reason"' in answer.text
    assert answer.value("messages") == identity
    answer = centre.post("/queue/actions", action="return", reason="as agreed", text="zurück", **chosen)
    assert answer.status == 422
    assert 'href="#field-text"' in answer.text
    assert (answer.value("text"), answer.value("reason")) == ("zurück", "as agreed")
