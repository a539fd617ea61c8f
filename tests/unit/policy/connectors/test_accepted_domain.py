from __future__ import annotations

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.values import RecipientValidation, ValidationUnavailable


def test_nothing_is_validated_unless_it_is_written() -> None:
    domain = AcceptedDomain(name="o.example")
    assert domain.recipient_validation is RecipientValidation.NONE
    assert domain.recipient_validation_unavailable is ValidationUnavailable.DEFER
    assert domain.recipients == ()
