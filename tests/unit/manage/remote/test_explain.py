from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import explain
from gatepost.manage.use_cases import explain as here
from gatepost.manage.use_cases.explain import Question
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER, plain

ANN, LIZ, OUT = "ann@contoso.example", "liz@fabrikam.example", "joe@bank.example"
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
QUESTIONS = {
    "to a mailbox": Question(OUT, ANN),
    "to a partner": Question(ANN, OUT, tls="TLSv1.3"),
    "the null reverse-path": Question("<>", ANN),
    "between organizations": Question(ANN, LIZ, ip="192.0.2.7"),
    "with a header": Question(ANN, OUT, headers=("Subject: grüße", "TLS-Required: No")),
    "with REQUIRETLS": Question(ANN, OUT, require_tls=True),
    "nobody's": Question("x@other.test", "y@internet.test"),
    "nobody there": Question(OUT, "nobody@contoso.example"),
}
WRONG = {
    "no address": Question("a b", ""),
    "no session": Question(ANN, OUT, ip="here", tls="none", require_tls=True),
    "no certificate": Question(ANN, OUT, certificate=b"none"),
    "a damaged certificate": Question(ANN, OUT, certificate=b"-----BEGIN CERTIFICATE-----\n\xff\xfe"),
    "no field": Question(ANN, OUT, headers=("no field",)),
}


def said(ask):
    """What is told, or why it is not."""
    try:
        return plain(ask())
    except Refusal as refusal:
        return refusal.kind, refusal.errors, refusal.text


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("who", [OWNER, TENANT], ids=["owner", "tenant"])
def test_what_would_happen_is_the_same(there, question, who):
    there.api.who = who
    expected = said(lambda: here.explained(there.api.gateway, who, question))
    assert said(lambda: explain.explained(there, question)) == expected
    assert who is TENANT or isinstance(expected, dict)


@pytest.mark.parametrize("question", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_the_same(there, question):
    expected = said(lambda: here.explained(there.api.gateway, OWNER, question))
    assert said(lambda: explain.explained(there, question)) == expected
    assert expected[0] is Kind.INPUT


def test_too_many_looks_at_once_are_a_conflict_as_here(there, monkeypatch):
    class Taken:
        def acquire(self, *, blocking):
            return blocking

    monkeypatch.setattr(here, "_LIVE", Taken())
    with pytest.raises(Refusal, match="under way") as refused:
        explain.explained(there, Question(ANN, OUT, live=True))
    assert refused.value.kind is Kind.CONFLICT


def test_an_answer_that_lacks_something_is_none(there, monkeypatch):
    whole = explain.explained(there, Question(ANN, OUT))
    for name in ("withheld", "dkim", "from"):
        told = {key: value for key, value in whole.items() if key != name}
        monkeypatch.setattr(there, "call", lambda *_, told=told, **__: type("Answer", (), {"value": told}))
        with pytest.raises(ValueError, match=name):
            explain.explained(there, Question(ANN, OUT))
