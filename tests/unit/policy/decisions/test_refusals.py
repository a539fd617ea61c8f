from __future__ import annotations

from gatepost.policy.connectors.credentials import CredentialFault
from gatepost.policy.decisions import refusals
from gatepost.protocols.smtp.replies import Reply


def test_a_refusal_says_what_is_wrong_with_the_certificate() -> None:
    told = refusals.untrusted(refusals.RELAY_DENIED, "chain-incomplete")
    assert (told.code, told.enhanced) == (550, "5.7.64")
    assert told.text.endswith("Relay Access Denied: your certificate is not trusted, chain-incomplete")


def test_the_class_of_each_code_is_that_of_its_status() -> None:
    made = [reply for reply in vars(refusals).values() if isinstance(reply, Reply)]
    assert len(made) > 10
    assert all(str(reply.code)[0] == reply.enhanced[0] for reply in made)
    assert set(refusals.LOCKED_BY_FAULT) < set(CredentialFault)
