from __future__ import annotations

from gatepost.administration.refusal import Kind, Refusal
from gatepost.connectors.errors import FieldError


def test_a_refusal_has_its_text_and_all_errors():
    errors = [FieldError("name", "is missing"), FieldError("priority", "is too small")]
    refusal = Refusal(Kind.INPUT, "2 error(s); nothing was changed", iter(errors))
    assert str(refusal) == refusal.text == "2 error(s); nothing was changed"
    assert (refusal.kind, refusal.errors) == (Kind.INPUT, tuple(errors))


def test_what_would_help_is_said_in_the_words_of_a_door():
    refusal = Refusal(Kind.INPUT, "say which", options=["organization", "direction"])
    assert refusal.told(lambda name: f"--{name}") == "say which (--organization or --direction)"
    assert refusal.text == "say which"
    assert Refusal(Kind.INPUT, "no").told(str) == "no"
