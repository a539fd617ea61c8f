from __future__ import annotations

import pytest

from gatepost.policy.connectors import facts as connector_facts
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.requirement import MxLevel


def test_the_session_is_the_one_that_connectors_know() -> None:
    assert SessionFacts is connector_facts.SessionFacts


def test_of_a_connection_nothing_good_is_assumed() -> None:
    facts = HopFacts("mail.b.example", "192.0.2.1:25")
    assert (facts.starttls_offered, facts.tls, facts.chain, facts.mx) == (False, None, None, MxLevel.NONE)
    with pytest.raises(AttributeError):
        facts.starttls_offered = True  # type: ignore[misc]
