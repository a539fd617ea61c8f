from __future__ import annotations

import pytest

from gatepost.protocols.message.dsn_advice import advice_for, own_fault
from gatepost.protocols.message.dsn_report import DsnActor

# status: (who must act, words of the cause)
ADVICE: dict[str, tuple[DsnActor, str]] = {
    "5.1.1": (DsnActor.SENDER, "no mailbox"),
    "5.1.10": (DsnActor.SENDER, "takes no mail"),
    "5.1.99": (DsnActor.SENDER, "did not accept the address"),
    "5.2.2": (DsnActor.RECIPIENT, "full"),
    "5.2.99": (DsnActor.RECIPIENT, "mailbox"),
    "5.3.4": (DsnActor.SENDER, "larger"),
    "4.4.1": (DsnActor.RECIPIENT, "does not answer"),
    "5.4.6": (DsnActor.SERVICE, "loop"),
    "5.4.14": (DsnActor.SERVICE, "loop"),
    "5.4.300": (DsnActor.RECIPIENT, "in the time allowed"),
    "4.4.316": (DsnActor.RECIPIENT, "refuses connections"),
    "5.4.317": (DsnActor.RECIPIENT, "No connection as it is required"),
    "5.5.3": (DsnActor.SENDER, "more recipients"),
    "5.5.2": (DsnActor.SERVICE, "did not understand"),
    "5.6.7": (DsnActor.SENDER, "SMTPUTF8"),
    "5.6.3": (DsnActor.SENDER, "form"),
    "5.7.1": (DsnActor.RECIPIENT, "does not allow"),
    "5.7.30": (DsnActor.SENDER, "REQUIRETLS"),
    "5.7.64": (DsnActor.SERVICE, "does not forward"),
    "4.7.320": (DsnActor.RECIPIENT, "could not be verified"),
    "5.7.322": (DsnActor.RECIPIENT, "expired"),
    "5.7.323": (DsnActor.RECIPIENT, "DANE"),
    "5.7.999": (DsnActor.RECIPIENT, "security or policy"),
    "5.0.0": (DsnActor.RECIPIENT, "did not accept the message"),
    "5": (DsnActor.RECIPIENT, "did not accept the message"),
    "": (DsnActor.RECIPIENT, "did not accept the message"),
    "what?": (DsnActor.RECIPIENT, "did not accept the message"),
}


@pytest.mark.parametrize("status", ADVICE)
def test_the_most_exact_entry_is_taken(status: str) -> None:
    actor, words = ADVICE[status]
    advice = advice_for(status)
    assert advice.actor is actor
    assert words in advice.cause
    assert advice.fix.endswith(".")


def test_the_class_does_not_matter() -> None:
    assert advice_for("4.7.320") == advice_for("5.7.320")


@pytest.mark.parametrize(
    "status", ["4.4.317", "4.7.5", "4.7.320", "4.7.321", "4.7.322", "4.7.323", "4.7.324", "4.7.325"]
)
def test_failed_protection_says_that_nothing_was_sent_in_clear(status: str) -> None:
    assert "not sent without the protection (TLS)" in advice_for(status).fix


def test_our_own_faults_are_for_our_own_administrators() -> None:
    for status, words in {"4.3.5": "not set up", "5.7.8": "could not log in", "4.4.312": "looked up"}.items():
        advice = own_fault(status)
        assert (advice.actor, words in advice.cause) == (DsnActor.SERVICE, True)
